//! The seam between a transport and what is spoken on it.
//!
//! A transport owns the socket, deadlines for silence, and the connection's [`Outbound`](crate::outbound::Outbound) queue,
//! which it empties. It hands whole frames to the protocol in the order in which they came, as long as there is room, polls
//! it together with everything else it waits for, and closes as it is told. A protocol never waits for the transport.

use std::task::{Context, Poll};

use aetherflow_schema::{id::PeerId, sessions::SessionHandle};
use bytes::Bytes;

use crate::close::Close;

/// What is spoken on one connection.
pub(crate) trait Protocol: Send + 'static {
    /// Acts on the next frame from the client.
    ///
    /// # Errors
    /// How to close the connection.
    fn on_frame(&mut self, frame: Bytes) -> Result<(), Parting>;

    /// Goes on with what is under way; ready whenever some of it was done, pending too when there is nothing. An error
    /// says how to close the connection.
    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Close>>;

    /// Whether more may be read from the client.
    fn has_room(&self) -> bool;

    /// Whether nothing is under way for the client.
    fn is_idle(&self) -> bool;

    /// Whether the client has said who it is, for which it has limited time.
    fn is_introduced(&self) -> bool;

    /// The server stops, and no more is read: what is under way comes to its end.
    fn stop(&mut self, close: &Close);

    /// Whether a client that did nothing wrong sees the end of the stream rather than a close code.
    fn hangs_up(&self) -> bool {
        false
    }

    /// The client's session, while it has one here.
    fn session(&self) -> Option<&dyn SessionHandle>;

    /// Called every `timeouts.keepalive_ms` once the client has said who it is: for what is to be said again and again.
    fn on_tick(&mut self) {}

    /// The client said goodbye: it will not come back.
    fn goodbye(&mut self) {}

    /// The name under which it is known to other connections.
    fn peer(&self) -> Option<&PeerId> {
        None
    }
}

/// How to end a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parting {
    /// Said first.
    pub(crate) last: Option<Bytes>,
    pub(crate) close: Close,
}

impl From<Close> for Parting {
    fn from(close: Close) -> Self {
        Self { last: None, close }
    }
}
