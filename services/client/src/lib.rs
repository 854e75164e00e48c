#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! | module | what |
//! | --- | --- |
//! | `session` | the protocol as a state machine without I/O: connecting, following, submitting, presence |
//! | `driver` | the task that gives it time, a transport, a store and the documents |
//! | `replica` | one automerge document, and taking out of it what the server refuses |
//! | `store` | the offline store: a file of records with checksums, written by a thread |
//! | `transport` | Quantum, WebSocket, and the race between them |
//! | `client`, `document`, `receipt`, `presence`, `guard`, `status` | what applications hold |

mod address;
mod client;
mod document;
mod driver;
mod error;
mod gate;
mod guard;
mod options;
mod presence;
mod receipt;
mod replica;
mod session;
mod status;
mod store;
mod transport;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use aetherflow_schema::{
    close::CloseCode,
    id::{ChangeHash, DocumentId, Offset, SessionId},
    native::wire::RejectCode,
};
pub use automerge;
pub use quantum::{CertificateDer, Fingerprint, certificates_from_pem_file};

pub use self::{
    address::{Address, AddressError, Scheme},
    client::Client,
    document::{Document, DocumentState},
    error::{
        ChangeError, CloseError, ConnectError, KeepError, LoadError, LockError, LockLost, OpenError, PresenceError,
        Retry, StoreError, SubmitError,
    },
    guard::{LockGuard, LockOptions},
    options::{Backoff, Fallback, Options, Timeouts, Trust},
    presence::{Everybody, Presence, Present},
    receipt::{Committed, Receipt, Tier},
    session::Refusal,
    status::{Carrier, Link, Status},
};

/// Nothing that is locked is left in between by a panic: an edit that panics is rolled back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
