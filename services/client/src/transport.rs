//! What carries frames: whole messages, reliable, in order for each document.
//!
//! | module | what |
//! | --- | --- |
//! | `websocket` | on TCP, with or without TLS |
//! | `quantum` | on UDP |
//! | `pulse` | noticing that a server on Quantum is gone |
//! | `race` | whichever of two gets through |
//! | `tls` | which servers are trusted |
//!
//! Invariants: a transport knows no frame from another; how frames are spread over channels is said in
//! [`aetherflow_schema::native::lanes`].

mod pulse;
mod quantum;
mod race;
#[cfg(test)]
mod tests;
mod tls;
mod websocket;

use std::{pin::Pin, sync::Arc};

use aetherflow_schema::{close::CloseCode, id::DocumentId};
use bytes::Bytes;

use crate::{
    address::{Address, Scheme},
    error::ConnectError,
    options::{Fallback, Options},
    session::Parting,
};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// Quantum, over UDP.
    Quantum,
    /// WebSocket, over TCP.
    WebSocket,
}

/// Makes connections to one server.
pub(crate) trait Transport: Send + Sync {
    /// Connects. The caller bounds the time.
    fn dial(&self) -> BoxFuture<Result<Arc<dyn Connection>, Parting>>;
}

/// A connection. Dropping it ends it.
pub(crate) trait Connection: Send + Sync {
    fn carrier(&self) -> Carrier;

    /// Bytes that a frame may have.
    fn frame_bytes(&self) -> usize;

    /// Bytes that a frame of the server may have. A longer one ends the connection.
    fn takes(&self) -> u32;

    /// Sends a frame, waiting as long as flow control demands. One at a time.
    fn send(self: Arc<Self>, document: Option<DocumentId>, frame: Bytes) -> BoxFuture<Result<(), Parting>>;

    /// The next frame. One at a time.
    fn receive(self: Arc<Self>) -> BoxFuture<Result<Bytes, Parting>>;

    /// Ends the connection; what was sent before is delivered if possible. The caller bounds the time.
    fn close(self: Arc<Self>, code: CloseCode) -> BoxFuture<()>;
}

/// What an address and options ask for.
pub(crate) fn new(address: &Address, options: &Options) -> Result<Box<dyn Transport>, ConnectError> {
    if address.scheme != Scheme::Quantum {
        return Ok(Box::new(websocket::WebSocket::new(address.clone(), options)?));
    }
    let quantum = quantum::Quantum::new(address.clone(), options)?;
    let fallback = match &options.fallback {
        Fallback::None => return Ok(Box::new(quantum)),
        Fallback::Same => Address {
            scheme: Scheme::SecureWebSocket,
            ..address.clone()
        },
        Fallback::At(fallback) => fallback.parse()?,
    };
    if fallback.scheme == Scheme::Quantum {
        let expected = "the address of a WebSocket, as wss://host";
        let field = "fallback";
        return Err(ConnectError::Option { field, expected });
    }
    let websocket = websocket::WebSocket::new(fallback, options)?;
    Ok(Box::new(race::Race::new(
        quantum,
        websocket,
        options.timeouts.head_start,
    )))
}

/// An end of which the server said nothing.
fn broken(reason: impl std::fmt::Display) -> Parting {
    Parting {
        code: None,
        reason: reason.to_string(),
    }
}
