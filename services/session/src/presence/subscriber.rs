//! A watcher with a queue of its own, for those who read at their own pace.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use aetherflow_schema::{
    id::{ConnectionId, DocumentId, SessionId},
    presence::{Presence, PresenceEvent, PresenceWatcher},
};
use tokio::sync::mpsc;

/// Events that may wait: at worst 16 MiB, when all states are as long as they may be.
const WAITING: usize = 1024;

/// The end that hears.
pub struct Subscriber {
    connection: ConnectionId,
    session: SessionId,
    events: mpsc::Sender<Arc<PresenceEvent>>,
    lagged: AtomicBool,
}

impl PresenceWatcher for Subscriber {
    fn connection(&self) -> ConnectionId {
        self.connection
    }

    fn session(&self) -> SessionId {
        self.session
    }

    fn hear(&self, event: &Arc<PresenceEvent>) {
        // After one that was lost nothing makes sense any more.
        if !self.lagged.load(Relaxed) && self.events.try_send(event.clone()).is_err() {
            self.lagged.store(true, Relaxed);
        }
    }
}

/// The end that reads. Dropping it ends the subscription.
pub struct PresenceSubscription {
    presence: Arc<dyn Presence>,
    document: DocumentId,
    subscriber: Arc<Subscriber>,
    events: mpsc::Receiver<Arc<PresenceEvent>>,
}

/// The reader was too slow, and has to subscribe anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {WAITING} events were waiting")]
pub struct Lagged;

impl PresenceSubscription {
    /// Hears, on a connection, of everybody on a document but of this session.
    pub fn new(
        presence: Arc<dyn Presence>,
        document: DocumentId,
        (connection, session): (ConnectionId, SessionId),
    ) -> Self {
        let (sender, events) = mpsc::channel(WAITING);
        let subscriber = Arc::new(Subscriber {
            connection,
            session,
            events: sender,
            lagged: AtomicBool::new(false),
        });
        presence.watch(&document, subscriber.clone());
        Self {
            presence,
            document,
            subscriber,
            events,
        }
    }

    /// What happens next. Safe to cancel.
    ///
    /// # Errors
    /// When something was lost, once all that came before it was read.
    pub async fn next(&mut self) -> Result<Arc<PresenceEvent>, Lagged> {
        if let Ok(event) = self.events.try_recv() {
            return Ok(event);
        }
        if self.subscriber.lagged.load(Relaxed) {
            return Err(Lagged);
        }
        self.events.recv().await.ok_or(Lagged)
    }
}

impl Drop for PresenceSubscription {
    fn drop(&mut self) {
        self.presence.unwatch(&self.document, self.subscriber.connection);
    }
}
