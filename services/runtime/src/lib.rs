//! What every service needs and none should do its own way.
//!
//! | module | what |
//! | --- | --- |
//! | [`config`] | defaults, file, environment and flags merged into one typed tree |
//! | [`logs`] | tracing to standard error, as text or JSON |
//! | [`health`] | named components, each healthy or degraded for a reason |
//! | [`metrics`] | the registry behind `/metrics` |
//! | [`process`] | limits and figures of this process |
//! | [`listen`] | TCP listeners |
//! | [`shutdown`] | one token that everything watches, one tracker that everything is spawned on |
//! | [`tls`] | certificates, handshakes, and connections with or without TLS |
//!
//! Invariant: nothing here is global but tracing's subscriber; everything else is handed to who needs it.

pub mod config;
pub mod health;
pub mod listen;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod tls;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data is consistent between any two statements, so that a panic elsewhere does not spread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
