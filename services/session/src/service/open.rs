//! Connections get their sessions: new ones, or those that they go on with.
//!
//! What can be resumed is stored first and put into effect then; a failure before that leaves nothing behind but a stored
//! copy that nobody has the token of, which is deleted, or found and ended at the next start.

use std::{future::Future, sync::Arc};

use aetherflow_schema::{
    id::SessionId,
    sessions::{
        NewConnection, Opened, Resume, ResumeToken, SessionError, SessionState, check_attributes,
        record::{ResumeHashes, SessionRecord},
    },
};
use tokio::time::timeout;

use super::{handle::Handle, inner::Inner};
use crate::{
    core::{
        entry::{Live, Stored},
        resume::{admit, renew, take_over},
    },
    store::{Revision, StoreError},
};

impl Inner {
    pub(super) async fn open(self: &Arc<Self>, new: NewConnection) -> Result<Opened, SessionError> {
        self.check_running()?;
        check_attributes(&new.attributes)?;
        if let Resume::From(token) = &new.resume {
            match self.resume(&new, token).await {
                // It is not known whose fault it is: the client is, in any case, as well served with a new session.
                Err(
                    SessionError::NotFound
                    | SessionError::Conflict
                    | SessionError::Invalid(_)
                    | SessionError::State(_)
                    | SessionError::Exists
                    | SessionError::TakenOver,
                ) => {
                    self.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tracing::debug!(session = %token.session(), "not resumed");
                }
                result @ (Ok(_) | Err(SessionError::Full | SessionError::Unavailable(_) | SessionError::Stopping)) => {
                    return result;
                }
            }
        }
        self.begin(new).await
    }

    /// A new session.
    async fn begin(self: &Arc<Self>, new: NewConnection) -> Result<Opened, SessionError> {
        let id = self.new_id();
        let now_ms = self.clock.now_ms();
        let token = (new.resume != Resume::Never).then(|| fresh(id));
        let record = SessionRecord {
            id,
            node: self.node.clone(),
            principal: new.principal,
            client: new.client,
            protocol: new.protocol,
            peer: Some(new.peer),
            connection: Some(new.connection),
            created_ms: now_ms,
            heard_ms: now_ms,
            state: SessionState::Connecting,
            attributes: new.attributes,
            cursors: Default::default(),
            resume: token.as_ref().map(ResumeHashes::of),
        };
        let stored = match &token {
            None => None,
            Some(_) if !self.read().has_room() => return Err(SessionError::Full),
            Some(_) => Some(self.within(self.store.create(&record)).await?),
        };
        let live = Arc::new(Live::new(Some((new.connection, new.sink)), now_ms));
        let begun =
            self.change(|registry, now_ms, effects| registry.begin(now_ms, record, live.clone(), stored, effects));
        if let Err(error) = begun {
            if let Some(revision) = stored {
                self.writing.forget(id, revision);
            }
            return Err(error);
        }
        Ok(self.opened(id, live, token))
    }

    /// A connection goes on with the session of a token.
    async fn resume(self: &Arc<Self>, new: &NewConnection, token: &ResumeToken) -> Result<Opened, SessionError> {
        let id = token.session();
        let stored: Stored = match self.read().entry(id) {
            Ok(entry) => entry.stored.clone(),
            Err(_) => Stored::default(),
        };
        let mut revision = timeout(self.options.store_timeout, stored.lock())
            .await
            .map_err(|_| busy())?;
        let (record, expected) = self.newest(id, *revision).await?;
        admit(&record, token, &new.principal)?;
        let next = fresh(id);
        let mut record = take_over(record, token, &next, &self.node)?;
        record.client = new.client.clone();
        record.protocol = new.protocol;
        record.peer = Some(new.peer);
        record.connection = Some(new.connection);
        let written = self.within(self.store.update(&record, expected)).await?;
        *revision = Some(written);
        let live = Arc::new(Live::new(Some((new.connection, new.sink.clone())), self.clock.now_ms()));
        // Those that moved meanwhile are not in the record.
        if let Ok(entry) = self.read().entry(id)
            && entry.record.node == self.node
        {
            record.cursors.clone_from(&entry.record.cursors);
        }
        let cursors = self.change(|registry, now_ms, effects| {
            registry.resume(now_ms, record, live.clone(), (written, stored.clone()), effects)
        })?;
        Ok(Opened {
            resumed: Some(cursors),
            ..self.opened(id, live, Some(next))
        })
    }

    /// A fresh token for the client of a connection.
    pub(super) async fn renew(&self, id: SessionId, live: &Arc<Live>) -> Result<ResumeToken, SessionError> {
        let stored = self.read().entry(id)?.stored.clone();
        let mut revision = timeout(self.options.store_timeout, stored.lock())
            .await
            .map_err(|_| busy())?;
        let token = fresh(id);
        let record = {
            let registry = self.read();
            registry.check_live(id, live)?;
            renew(registry.entry(id)?.to_record(), &token)?
        };
        let expected = revision.ok_or(SessionError::Conflict)?;
        let written = self.within(self.store.update(&record, expected)).await?;
        *revision = Some(written);
        self.change(|registry, now_ms, _| registry.renewed(now_ms, id, record.resume, written));
        Ok(token)
    }

    /// The newest copy of a session: this node's own, or what another one stored.
    async fn newest(
        &self,
        id: SessionId,
        revision: Option<Revision>,
    ) -> Result<(SessionRecord, Revision), SessionError> {
        if let Ok(entry) = self.read().entry(id)
            && entry.record.node == self.node
        {
            return Ok((entry.to_record(), revision.ok_or(SessionError::NotFound)?));
        }
        if self.store.lease().is_none() {
            return Err(SessionError::NotFound);
        }
        let copy = self.within(self.store.read(id)).await?.ok_or(SessionError::NotFound)?;
        Ok((copy.record, copy.revision))
    }

    fn opened(self: &Arc<Self>, id: SessionId, live: Arc<Live>, token: Option<ResumeToken>) -> Opened {
        let handle = Handle {
            inner: self.clone(),
            id,
            live,
            resumable: token.is_some(),
            goodbye: false,
        };
        Opened {
            handle: Box::new(handle),
            resume_window: token.as_ref().map(|_| self.options.resume_window).unwrap_or_default(),
            token,
            resumed: None,
        }
    }

    /// Waits for the store, but not for ever.
    pub(super) async fn within<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let patience = self.options.store_timeout;
        match timeout(patience, call).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unreachable(format!("no answer within {patience:?}"))),
        }
    }
}

/// A token that nobody can guess.
fn fresh(session: SessionId) -> ResumeToken {
    ResumeToken::new(session, rand::random())
}

fn busy() -> SessionError {
    SessionError::Unavailable("the session is being stored for too long".to_owned())
}
