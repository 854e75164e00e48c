//! A session as its connection holds it.

use std::sync::Arc;

use aetherflow_schema::{
    documents::BoxFuture,
    id::{DocumentId, Offset, SessionId},
    sessions::{ClientId, ResumeToken, SessionError, SessionHandle, Traffic},
};

use super::inner::Inner;
use crate::core::entry::Live;

pub(super) struct Handle {
    pub(super) inner: Arc<Inner>,
    pub(super) id: SessionId,
    pub(super) live: Arc<Live>,
    pub(super) resumable: bool,
    pub(super) goodbye: bool,
}

impl SessionHandle for Handle {
    fn id(&self) -> SessionId {
        self.id
    }

    fn introduce(&self, client: ClientId) -> Result<(), SessionError> {
        self.inner
            .change(|registry, now_ms, effects| registry.introduce(now_ms, self.id, &self.live, client, effects))
    }

    fn heard(&self) {
        if self.live.heard(self.inner.clock.now_ms()) {
            self.inner
                .change(|registry, now_ms, effects| registry.wake(now_ms, self.id, &self.live, effects));
        }
    }

    fn traffic(&self) -> &Traffic {
        &self.live.traffic
    }

    fn set_cursors(&self, cursors: &[(DocumentId, Option<Offset>)]) -> Result<(), SessionError> {
        self.inner
            .change(|registry, now_ms, _| registry.set_cursors(now_ms, self.id, &self.live, cursors))
    }

    fn renew(&self) -> BoxFuture<'_, Result<Option<ResumeToken>, SessionError>> {
        Box::pin(async move {
            if self.resumable {
                self.inner.renew(self.id, &self.live).await.map(Some)
            } else {
                Ok(None)
            }
        })
    }

    fn end(mut self: Box<Self>) {
        self.goodbye = true;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.change(|registry, now_ms, effects| {
            registry.disconnect(now_ms, self.id, &self.live, self.goodbye, effects);
        });
    }
}
