//! Drives a real server process the way its users do, breaks it on purpose, and checks what it promised.
//!
//! | module | what |
//! | --- | --- |
//! | [`server`] | the server as a process: start, kill, freeze, health, memory |
//! | [`http`] | one HTTP request |
//! | [`wire`] | one WebSocket connection of the automerge-repo protocol |
//! | [`link`] | a connection of either transport, in two halves |
//! | [`native`] | one connection of the native protocol |
//! | [`replica`] | a document, its sync with the server, and what the server acknowledged of it |
//! | [`client`] | replicas on a connection that comes back by itself, in either protocol, on either transport |
//! | [`edits`] | random edits of every kind |
//! | [`crew`] | several writers on several documents |
//! | [`audit`] | the checker: what was acknowledged against what the server holds |
//! | [`torture`] | rounds of SIGKILL |
//! | [`tail`] | cutting off what was never synced, as a power cut would |
//! | [`device`], [`powercut`] | rounds of power cuts on a loop device |
//! | [`trace`] | recorded typing sessions |
//!
//! **Invariants.** A checker never believes the server about the past: what counts as acknowledged was recorded by the
//! clients before the fault. Every wait has a deadline and says what it waited for. Every drill prints its seed, and a
//! drill whose checker cannot fail is a defect: each has a negative control.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod audit;
pub mod client;
pub mod crew;
pub mod device;
pub mod edits;
pub mod http;
pub mod link;
pub mod native;
pub mod places;
pub mod powercut;
pub mod replica;
pub mod server;
pub mod tail;
pub mod torture;
pub mod trace;
pub mod wire;

/// Locks; a panic elsewhere is reported by whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seed of a drill: `AETHERFLOW_SEED`, or one drawn at random. To be printed by whoever uses it.
pub fn seed() -> u64 {
    std::env::var("AETHERFLOW_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random)
}
