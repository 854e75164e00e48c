//! How a client is doing.

use std::time::Instant;

use aetherflow_schema::{close::CloseCode, id::SessionId};

pub use crate::transport::Carrier;

/// How a client is doing, as of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The connection to the server.
    pub link: Link,
    /// Edits that have no receipt yet.
    pub unsettled: usize,
    /// The offline store failed: edits are not kept on this machine any more.
    pub store_failure: Option<String>,
}

/// The connection to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// There is none; the next attempt follows by itself.
    Offline {
        /// When.
        retry_at: Instant,
        /// How the last connection or attempt ended.
        reason: String,
    },
    /// One is being made.
    Connecting,
    /// Edits get through.
    Online {
        /// By what.
        carrier: Carrier,
        /// The session that the server has given it.
        session: SessionId,
        /// Who the client is to the server: the name stored with its edits.
        principal: String,
    },
    /// The server does not want this client as it is. It comes back with
    /// [`Client::set_token`](crate::Client::set_token) or [`Client::reconnect`](crate::Client::reconnect).
    Stopped {
        /// Why, if the server said so with a code known here.
        code: Option<CloseCode>,
        /// Why, in words.
        reason: String,
    },
    /// The client is closed.
    Closed,
}

impl Link {
    /// Whether edits get through.
    pub fn is_online(&self) -> bool {
        matches!(self, Self::Online { .. })
    }
}
