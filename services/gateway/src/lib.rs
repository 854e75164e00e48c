//! The gateway: WebSocket and HTTP in front of documents.
//!
//! Owns: listeners, connections and what is queued on them. Knows documents by the traits of `aetherflow-schema` only.
//!
//! | module | what |
//! | --- | --- |
//! | `listener` | accepts connections, within limits, and hands them to HTTP |
//! | `upgrade` | turns an HTTP request into a WebSocket connection |
//! | `websocket`, `writer` | frames on the wire |
//! | `caller` | who is at the other end of a connection, and for how long |
//! | `connection` | one connection's task: waits for socket, queue, protocol and timer |
//! | `protocol` | the seam between a connection and what is spoken on it |
//! | `repo_protocol`, `repo_session` | the automerge-repo protocol; what a frame of it means, without I/O |
//! | `reader` | one peer of one document: what it is told, as long as it may read |
//! | `sessions` | one connection's documents in that protocol, and the frames waiting for them |
//! | `native` | the native protocol, whatever carries it |
//! | `outbound` | one connection's queue, filled by documents and other connections |
//! | `audience` | who has which document open |
//! | `ephemeral` | passing ephemeral messages between them |
//! | `stay` | a connection's session |
//! | `peers` | connections, and who joined under which name |
//! | `http` | the HTTP API, health, console, administration |
//!
//! Invariants:
//! * Nothing waits for a client: a queue that reaches its bound ends the connection that does not read it.
//! * Nothing is read from a client for which there is no room; what is queued for it is written meanwhile.
//! * A connection that is idle holds a task, a socket, its TLS session if there is one, and an entry in each table it is in, and no
//!   buffer.
//! * No frame reaches a document before the access policy agreed to it.

pub mod admin;
pub mod assets;
mod audience;
mod caller;
mod close;
mod connection;
mod ephemeral;
pub mod error;
mod http;
mod listener;
mod metrics;
mod native;
pub mod options;
mod outbound;
mod patience;
mod peers;
mod protocol;
mod reader;
mod repo_protocol;
mod repo_session;
mod server;
mod sessions;
mod shared;
mod stay;
mod upgrade;
mod websocket;
mod writer;

pub use crate::{
    error::StartError,
    native::carrier::Carrier,
    options::GatewayOptions,
    server::{Gateway, GatewaySettings, NativeService, Parts},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data is consistent between any two statements, so that a panic elsewhere does not spread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
