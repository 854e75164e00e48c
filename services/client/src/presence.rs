//! Who else is on a document.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aetherflow_schema::{
    id::SessionId,
    native::{PRESENCE_BYTES, PRESENCE_TTL_MS_MAX},
};
use bytes::Bytes;
use tokio::sync::watch;

use crate::{document::Shared, driver::Command, error::PresenceError};

/// Everybody on a document but oneself, by session.
pub type Everybody = Arc<BTreeMap<SessionId, Present>>;

/// Somebody on a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Who, to the server.
    pub principal: String,
    /// What they show: whatever the application likes.
    pub state: Bytes,
}

/// A document's presence: what this client shows of itself, and what others do. Never stored.
#[derive(Debug, Clone)]
pub struct Presence {
    pub(crate) shared: Arc<Shared>,
}

impl Presence {
    /// Shows this to others, until it is set again, cleared, or the document is closed. It is repeated as often as
    /// needed; `ttl`, a second to an hour, is for how long others see it after this client has vanished.
    ///
    /// # Errors
    /// See [`PresenceError`].
    pub async fn set(&self, state: impl Into<Bytes>, ttl: Duration) -> Result<(), PresenceError> {
        let state = state.into();
        if state.len() > PRESENCE_BYTES {
            return Err(PresenceError::TooLong {
                found: state.len(),
                limit: PRESENCE_BYTES,
            });
        }
        if ttl < Duration::from_secs(1) || ttl > Duration::from_millis(PRESENCE_TTL_MS_MAX.into()) {
            return Err(PresenceError::Ttl);
        }
        self.send(Some((state, ttl))).await
    }

    /// Shows nothing any more.
    ///
    /// # Errors
    /// The document or the client is closed.
    pub async fn clear(&self) -> Result<(), PresenceError> {
        self.send(None).await
    }

    async fn send(&self, mine: Option<(Bytes, Duration)>) -> Result<(), PresenceError> {
        let document = self.shared.id.clone();
        let command = Command::Presence { document, mine };
        self.shared.command(command).await.map_err(|_| PresenceError::Closed)
    }

    /// Everybody now.
    pub fn everybody(&self) -> Everybody {
        self.shared.presence.borrow().clone()
    }

    /// Everybody, and again whenever that changes. What changes while nobody looks is seen as one change.
    pub fn subscribe(&self) -> watch::Receiver<Everybody> {
        self.shared.presence.subscribe()
    }
}
