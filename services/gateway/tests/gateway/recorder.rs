//! Documents that record what they are told, and do what a test tells them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use aetherflow_schema::{
    access::{AuthorizedEdit, Grant},
    documents::{
        At, BoxFuture, DocumentError, DocumentJson, Documents, HistoryChange, HistoryPage, Peer, PeerSink,
        QuarantinedDocument, SyncFrame, SyncSession, Written,
    },
    id::{ChangeHash, DocumentId, Offset, StorageId},
    locks::Fence,
};
use bytes::Bytes;
use tokio::sync::Notify;

/// Heads of every document.
pub(crate) const HEADS: [ChangeHash; 1] = [ChangeHash([0xab; 32])];

/// What a document was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Opened(DocumentId, Option<StorageId>),
    Received(DocumentId, bool, Bytes),
    /// From a peer that may only read.
    Heard(DocumentId, bool, Bytes),
    Announced(DocumentId, Vec<StorageId>),
}

#[derive(Default)]
pub(crate) struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    told: Mutex<Vec<Told>>,
    sinks: Mutex<HashMap<DocumentId, Vec<Arc<dyn PeerSink>>>>,
    held: Mutex<HashSet<DocumentId>>,
    released: Notify,
    failure: Mutex<Option<DocumentError>>,
    contents: Mutex<HashMap<DocumentId, serde_json::Value>>,
    places: Mutex<Vec<At>>,
}

impl Recorder {
    pub(crate) fn told(&self) -> Vec<Told> {
        self.0.told.lock().unwrap().clone()
    }

    /// The messages a document received, in order.
    pub(crate) fn received(&self, document: &DocumentId) -> Vec<Bytes> {
        let told = self.told();
        told.into_iter()
            .filter_map(|told| match told {
                Told::Received(id, _, message) if id == *document => Some(message),
                _ => None,
            })
            .collect()
    }

    /// The places that were read.
    pub(crate) fn places(&self) -> Vec<At> {
        self.0.places.lock().unwrap().clone()
    }

    /// Who has a document open, in the order of opening.
    pub(crate) fn sinks(&self, document: &DocumentId) -> Vec<Arc<dyn PeerSink>> {
        self.0.sinks.lock().unwrap().get(document).cloned().unwrap_or_default()
    }

    /// Frames for this document wait from now on.
    pub(crate) fn hold(&self, document: &DocumentId) {
        self.0.held.lock().unwrap().insert(document.clone());
    }

    /// Nothing waits any more.
    pub(crate) fn release(&self) {
        self.0.held.lock().unwrap().clear();
        self.0.released.notify_waiters();
    }

    /// The next call that can fail does.
    pub(crate) fn fail(&self, error: DocumentError) {
        *self.0.failure.lock().unwrap() = Some(error);
    }
}

impl Inner {
    fn failure(&self) -> Result<(), DocumentError> {
        self.failure.lock().unwrap().take().map_or(Ok(()), Err)
    }

    fn tell(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    async fn wait_for(&self, document: &DocumentId) {
        loop {
            let released = self.released.notified();
            if !self.held.lock().unwrap().contains(document) {
                return;
            }
            released.await;
        }
    }

    fn written(&self) -> Written {
        Written {
            heads: HEADS.to_vec(),
            offset: Offset(7),
        }
    }

    fn content(&self, document: &DocumentId) -> Result<serde_json::Value, DocumentError> {
        let contents = self.contents.lock().unwrap();
        contents.get(document).cloned().ok_or(DocumentError::NotFound)
    }
}

struct Session {
    inner: Arc<Inner>,
    document: DocumentId,
}

impl SyncSession for Session {
    fn receive(&self, edit: AuthorizedEdit<SyncFrame>) -> BoxFuture<'_, Result<(), DocumentError>> {
        Box::pin(async move {
            self.inner.wait_for(&self.document).await;
            let (_, frame) = edit.into_parts();
            self.inner
                .tell(Told::Received(self.document.clone(), frame.request, frame.message));
            self.inner.failure()
        })
    }

    fn listen(&self, _: Grant, frame: SyncFrame) -> BoxFuture<'_, Result<(), DocumentError>> {
        self.inner
            .tell(Told::Heard(self.document.clone(), frame.request, frame.message));
        Box::pin(async { self.inner.failure() })
    }

    fn announce(&self, storages: Vec<StorageId>) -> BoxFuture<'_, Result<(), DocumentError>> {
        self.inner.tell(Told::Announced(self.document.clone(), storages));
        Box::pin(async { Ok(()) })
    }
}

impl Documents for Recorder {
    fn open(&self, peer: Peer) -> BoxFuture<'_, Result<Arc<dyn SyncSession>, DocumentError>> {
        Box::pin(async move {
            self.0.failure()?;
            let document = peer.grant.document().clone();
            self.0.tell(Told::Opened(document.clone(), peer.storage));
            let mut sinks = self.0.sinks.lock().unwrap();
            sinks.entry(document.clone()).or_default().push(peer.sink);
            let inner = self.0.clone();
            Ok(Arc::new(Session { inner, document }) as Arc<dyn SyncSession>)
        })
    }

    fn create(
        &self,
        edit: AuthorizedEdit<DocumentId>,
        content: Option<serde_json::Value>,
    ) -> BoxFuture<'_, Result<Written, DocumentError>> {
        Box::pin(async move {
            self.0.failure()?;
            let (_, document) = edit.into_parts();
            let content = content.unwrap_or_else(|| serde_json::json!({}));
            self.0.contents.lock().unwrap().insert(document, content);
            Ok(self.0.written())
        })
    }

    fn import(
        &self,
        edit: AuthorizedEdit<DocumentId>,
        file: Bytes,
        fence: Option<Fence>,
    ) -> BoxFuture<'_, Result<Written, DocumentError>> {
        if fence.is_some_and(|fence| fence.pass().is_err()) {
            return Box::pin(async { Err(DocumentError::Fenced) });
        }
        let content = serde_json::json!({"bytes": file.len()});
        self.create(edit, Some(content))
    }

    fn read(&self, grant: Grant, at: At) -> BoxFuture<'_, Result<DocumentJson, DocumentError>> {
        Box::pin(async move {
            self.0.failure()?;
            self.0.places.lock().unwrap().push(at);
            Ok(DocumentJson {
                heads: HEADS.to_vec(),
                changes: 1,
                content: self.0.content(grant.document())?,
            })
        })
    }

    fn history(&self, grant: Grant, after: u64, limit: usize) -> BoxFuture<'_, Result<HistoryPage, DocumentError>> {
        Box::pin(async move {
            self.0.content(grant.document())?;
            let change = |index| HistoryChange {
                index,
                hash: HEADS[0],
                actor: "aa".to_owned(),
                seq: index,
                time_ms: 0,
                message: None,
                operations: 1,
                offset: Some(Offset(index)),
                committed_ms: None,
                author: None,
            };
            let last = 5.min(after + limit as u64);
            Ok(HistoryPage {
                total: 5,
                changes: (after + 1..=last).map(change).collect(),
                next: (last < 5).then_some(last),
            })
        })
    }

    fn export(&self, grant: Grant, _: At) -> BoxFuture<'_, Result<Bytes, DocumentError>> {
        Box::pin(async move {
            self.0.content(grant.document())?;
            Ok(Bytes::from_static(b"a file"))
        })
    }

    fn list(&self, after: Option<DocumentId>, limit: usize) -> BoxFuture<'_, Result<Vec<DocumentId>, DocumentError>> {
        Box::pin(async move {
            let mut all: Vec<_> = self.0.contents.lock().unwrap().keys().cloned().collect();
            all.sort();
            let later = all
                .into_iter()
                .filter(|id| after.as_ref().is_none_or(|after| id > after));
            Ok(later.take(limit).collect())
        })
    }

    fn quarantined(&self) -> BoxFuture<'_, Vec<QuarantinedDocument>> {
        let contents = self.0.contents.lock().unwrap();
        let documents = contents.keys().map(|document| QuarantinedDocument {
            document: document.clone(),
            offset: Offset(3),
            reason: "poison".to_owned(),
            since_ms: 4,
        });
        let documents = documents.collect();
        Box::pin(async { documents })
    }

    fn release(&self, document: DocumentId) -> BoxFuture<'_, Result<(), DocumentError>> {
        Box::pin(async move { self.0.content(&document).map(drop) })
    }
}
