//! How a client connects and sends.

use std::time::Duration;

use crate::{native::Transport, wire::Endpoint};

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The automerge-repo protocol.
    Repo,
    /// The native protocol, `aether/1`.
    Native(Transport),
}

/// How a client connects and sends.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Where to.
    pub endpoint: Endpoint,
    /// The shortest time between two messages about a document that are sent only because it was edited.
    pub edit_interval: Duration,
    /// In which protocol.
    pub dialect: Dialect,
}

impl<E: Into<Endpoint>> From<E> for ClientOptions {
    /// As a stock client: `syncDebounceRate` of automerge-repo is 100 ms.
    fn from(endpoint: E) -> Self {
        Self {
            endpoint: endpoint.into(),
            edit_interval: Duration::from_millis(100),
            dialect: Dialect::Repo,
        }
    }
}
