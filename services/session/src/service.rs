//! Sessions: what stands around the core. Owns the lock on it, its tasks, and the order in which things become durable and
//! are told.
//!
//! | module | what |
//! | --- | --- |
//! | `options` | what the operator may choose |
//! | `inner` | the registry under its lock, and what is done about its effects |
//! | `open` | connections get their sessions |
//! | `handle` | a session as its connection holds it |
//! | `writing` | stored copies, made anew and deleted |
//! | `tasks` | timers, writing, and following the store |
//! | `watchers` | who wants to hear of sessions |
//!
//! Invariants: nothing waits while the registry's lock is held; a look-up takes it for reading; whatever is due at once is
//! done in slices, between which others get it. Two writes of one session follow one another, each on top of the other.

mod handle;
mod inner;
mod open;
mod options;
mod tasks;
#[cfg(test)]
mod tests;
mod watchers;
mod writing;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aetherflow_schema::{
    access::Principal,
    documents::BoxFuture,
    id::SessionId,
    sessions::{
        Attributes, ClientId, NewConnection, Opened, SessionError, SessionFilter, SessionInfo, SessionPage,
        SessionState, SessionStatistics, Sessions,
    },
};
use tokio::task::JoinSet;

use self::inner::Inner;
pub use self::{
    options::{OptionsError, SessionOptions},
    watchers::{SessionWatch, Watched},
};
use crate::{
    clock::Clock,
    core::lifecycle::SessionPatch,
    store::{SessionStore, StoreError},
};

/// Whoever keeps something for as long as a session lasts.
pub trait SessionCompanion: Send + Sync + 'static {
    /// The session is over, or goes on at another node. Never blocks.
    fn session_closed(&self, session: SessionId);
}

/// A session that is made through the service, for a client that is connected elsewhere.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Whose.
    pub principal: Principal,
    /// What the client calls itself.
    pub client: ClientId,
    /// What is said about it.
    pub attributes: Attributes,
    /// The client's address.
    pub peer: Option<SocketAddr>,
}

/// See the [module](self). Dropping it ends its tasks; what is not stored by then is not stored: see [`Self::stop`].
pub struct SessionService {
    inner: Arc<Inner>,
    _tasks: JoinSet<()>,
}

impl SessionService {
    /// Reads what is stored and begins.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        options: SessionOptions,
        clock: Clock,
        store: Arc<dyn SessionStore>,
        companions: Vec<Arc<dyn SessionCompanion>>,
    ) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner::new(options, clock, store, companions));
        let tasks = tasks::start(&inner).await?;
        Ok(Self { inner, _tasks: tasks })
    }

    /// Makes a session that has no connection here. It is kept alive by [`Self::heartbeat`].
    ///
    /// # Errors
    /// When there are too many.
    pub fn create(&self, new: NewSession) -> Result<SessionInfo, SessionError> {
        self.inner.create(new)
    }

    /// The client of a session made by [`Self::create`] is still there; the session's state.
    ///
    /// # Errors
    /// When it has expired.
    pub fn heartbeat(&self, id: SessionId) -> Result<SessionState, SessionError> {
        self.inner
            .change(|registry, now_ms, effects| registry.heartbeat(now_ms, id, effects))
    }

    /// A session that is made by [`Self::create`] expires when it is not heard of for so long.
    pub fn expires_after(&self) -> Duration {
        self.inner.options.expire_after
    }

    /// A session. Takes a microsecond, and never waits for a disk or a network.
    ///
    /// # Errors
    /// When there is none.
    pub fn look_up(&self, id: SessionId) -> Result<SessionInfo, SessionError> {
        Ok(self.inner.read().entry(id)?.info())
    }

    /// Changes what was said of a session of this node.
    ///
    /// # Errors
    /// When there is none, it is not at the expected revision, or the result would not be what it may be.
    pub fn update(&self, id: SessionId, patch: SessionPatch) -> Result<SessionInfo, SessionError> {
        self.inner.change(|registry, now_ms, effects| {
            registry.patch(now_ms, id, patch, effects)?;
            Ok(registry.entry(id)?.info())
        })
    }

    /// Ends a session, if it is at that revision.
    ///
    /// # Errors
    /// When there is none, or it is not.
    pub fn end(&self, id: SessionId, expected: Option<u64>) -> Result<(), SessionError> {
        self.inner
            .change(|registry, _, effects| registry.delete(id, expected, effects))
    }

    /// A page of sessions: see [`Sessions::list`].
    pub fn page(&self, filter: &SessionFilter, after: Option<SessionId>, limit: usize) -> SessionPage {
        self.inner.read().list(filter, after, limit)
    }

    /// What happens to sessions from now on; with `current`, what there is first. What happens meanwhile may be told twice.
    pub fn watch(&self, filter: SessionFilter, current: bool) -> SessionWatch {
        SessionWatch::start(&self.inner, filter, current)
    }

    /// Takes no more sessions and waits until all that was changed is stored, but not longer than this. `false` when
    /// something was not stored in time.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.inner.stop();
        tokio::time::timeout(patience, self.inner.all_written()).await.is_ok()
    }
}

impl Sessions for SessionService {
    fn open(&self, connection: NewConnection) -> BoxFuture<'_, Result<Opened, SessionError>> {
        Box::pin(self.inner.open(connection))
    }

    fn find(&self, id: SessionId) -> BoxFuture<'_, Result<SessionInfo, SessionError>> {
        let found = self.look_up(id);
        Box::pin(async move { found })
    }

    fn list(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<SessionPage, SessionError>> {
        Box::pin(async move { Ok(self.page(&filter, after, limit)) })
    }

    fn delete(&self, id: SessionId) -> BoxFuture<'_, Result<(), SessionError>> {
        let ended = self.end(id, None);
        Box::pin(async move { ended })
    }

    fn statistics(&self) -> SessionStatistics {
        self.inner.statistics()
    }
}
