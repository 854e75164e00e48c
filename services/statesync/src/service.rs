//! Which documents are open, and the actor of each.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    access::{AuthorizedEdit, Grant},
    documents::{
        At, BoxFuture, DocumentError, DocumentJson, Documents, HistoryPage, Peer, QuarantinedDocument, SyncFrame,
        SyncSession, Written,
    },
    id::{DocumentId, Offset, StorageId},
    locks::Fence,
};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    task::{self, JoinSet},
};

use crate::{
    actor::{Actor, Answer, Input},
    follow::Hub,
    peers::SessionKey,
    turns::Turns,
};

/// Inputs that may wait for one document.
const INBOX: usize = 256;

/// How documents are kept.
#[derive(Debug, Clone)]
pub struct StatesyncOptions {
    /// The storage id that peers see: the log's identity.
    pub server: StorageId,
    /// How long a document may be left alone before its memory is given back.
    pub idle: Duration,
    /// Bytes of materialized documents, about, beyond which those left alone are given back at once.
    pub memory_bytes: u64,
    /// How long decoding or applying one large message, or building a document anew after a failure, may take before it
    /// is given up.
    pub apply_budget: Duration,
}

impl StatesyncOptions {
    /// The defaults, for a server with this storage id.
    pub fn new(server: StorageId) -> Self {
        Self {
            server,
            idle: Duration::from_secs(60),
            memory_bytes: 512 << 20,
            apply_budget: Duration::from_secs(30),
        }
    }
}

/// What the actors share.
pub(crate) struct Shared {
    pub(crate) options: StatesyncOptions,
    pub(crate) turns: Turns,
    /// Bytes of documents in memory, about.
    pub(crate) memory: AtomicU64,
    open: Mutex<HashMap<DocumentId, mpsc::Sender<Input>>>,
    quarantined: Mutex<BTreeMap<DocumentId, QuarantinedDocument>>,
    sessions: AtomicU64,
}

impl Shared {
    pub(crate) fn new(options: StatesyncOptions) -> Self {
        Self {
            options,
            turns: Turns::default(),
            memory: AtomicU64::new(0),
            open: Mutex::default(),
            quarantined: Mutex::default(),
            sessions: AtomicU64::new(0),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<DocumentId, mpsc::Sender<Input>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn idle_after(&self) -> Duration {
        self.options.idle_after(self.memory.load(Ordering::Relaxed))
    }

    /// The document's actor is ending: the next one who wants it starts a new one.
    pub(crate) fn forget(&self, document: &DocumentId) {
        self.open().remove(document);
    }

    /// Ends a document's actor, unless somebody has just asked something of it.
    pub(crate) fn forget_if_idle(&self, document: &DocumentId, inbox: &mut mpsc::Receiver<Input>) -> bool {
        let mut open = self.open();
        // Whoever sends holds a clone; one more than the map's own means that somebody is about to.
        if !inbox.is_empty() || inbox.sender_strong_count() > 1 {
            return false;
        }
        open.remove(document);
        inbox.close();
        true
    }

    pub(crate) fn set_quarantined(&self, document: &DocumentId, first: Option<&(Offset, String)>, now_ms: u64) {
        let mut quarantined = self.quarantined.lock().unwrap_or_else(PoisonError::into_inner);
        match first {
            None => {
                quarantined.remove(document);
            }
            Some((offset, reason)) => {
                let entry = QuarantinedDocument {
                    document: document.clone(),
                    offset: *offset,
                    reason: reason.clone(),
                    since_ms: now_ms,
                };
                quarantined.entry(document.clone()).or_insert(entry);
            }
        }
    }
}

/// The documents of a log. Cheap to clone.
#[derive(Clone)]
pub struct Statesync {
    log: LogHandle,
    shared: Arc<Shared>,
    hub: Arc<Hub>,
}

impl Statesync {
    /// Serves the documents of this log. Must be called, and used, within a multi-threaded tokio runtime.
    pub fn new(log: LogHandle, options: StatesyncOptions) -> Self {
        Self {
            hub: Arc::new(Hub::new(log.clone())),
            log,
            shared: Arc::new(Shared::new(options)),
        }
    }

    /// Documents with an actor, and bytes of documents in memory, about.
    pub fn usage(&self) -> (usize, u64) {
        (self.shared.open().len(), self.shared.memory.load(Ordering::Relaxed))
    }

    /// Followers of documents that have come to the present, or are about to.
    pub fn followers(&self) -> usize {
        self.hub.members()
    }

    pub(crate) fn log(&self) -> &LogHandle {
        &self.log
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The log takes writes again: peers whose edits were refused are asked for them.
    pub async fn resumed(&self) {
        let actors: Vec<_> = self.shared.open().values().cloned().collect();
        let mut told = JoinSet::new();
        for actor in actors {
            // One that has much to do keeps none of the others waiting; one that has ended reads the log when it is opened.
            told.spawn(async move { actor.send(Input::Resumed).await });
        }
        told.join_all().await;
    }

    pub(crate) fn actor(&self, document: &DocumentId) -> mpsc::Sender<Input> {
        let mut open = self.shared.open();
        if let Some(actor) = open.get(document)
            && !actor.is_closed()
        {
            return actor.clone();
        }
        let (actor, inbox) = mpsc::channel(INBOX);
        open.insert(document.clone(), actor.clone());
        let run = Actor::run(document.clone(), self.log.clone(), self.shared.clone(), inbox);
        task::spawn(Box::pin(run));
        actor
    }

    pub(crate) async fn ask<T>(
        &self,
        document: &DocumentId,
        input: impl FnOnce(Answer<T>) -> Input,
    ) -> Result<T, DocumentError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.actor(document).send(input(answer)).await;
        sent.map_err(|_| DocumentError::Stopping)?;
        answered.await.unwrap_or(Err(DocumentError::Stopping))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LogHandle) -> Result<T, aetherflow_oplog::StorageError> + Send + 'static,
    ) -> Result<T, DocumentError> {
        let log = self.log.clone();
        match task::spawn_blocking(move || work(&log)).await {
            Ok(result) => result.map_err(|error| DocumentError::Unreadable(error.to_string())),
            Err(error) => Err(DocumentError::Unreadable(error.to_string())),
        }
    }

    /// Refuses what names a document that is not there, without opening it.
    pub(crate) async fn must_exist(&self, document: &DocumentId) -> Result<(), DocumentError> {
        if self.shared.open().contains_key(document) {
            return Ok(());
        }
        let id = document.clone();
        match self.blocking(move |log| log.document_tail(&id)).await? {
            Some(_) => Ok(()),
            None => Err(DocumentError::NotFound),
        }
    }
}

struct Session {
    key: SessionKey,
    actor: mpsc::Sender<Input>,
}

impl SyncSession for Session {
    fn receive(&self, edit: AuthorizedEdit<SyncFrame>) -> BoxFuture<'_, Result<(), DocumentError>> {
        Box::pin(async move {
            let (author, frame) = edit.into_parts();
            let sent = self.actor.send(Input::Frame(self.key, author, frame)).await;
            sent.map_err(|_| DocumentError::Stopping)
        })
    }

    fn listen(&self, grant: Grant, frame: SyncFrame) -> BoxFuture<'_, Result<(), DocumentError>> {
        Box::pin(async move {
            let author = grant.author().clone();
            let sent = self.actor.send(Input::Listen(self.key, author, frame)).await;
            sent.map_err(|_| DocumentError::Stopping)
        })
    }

    fn announce(&self, storages: Vec<StorageId>) -> BoxFuture<'_, Result<(), DocumentError>> {
        Box::pin(async move {
            let sent = self.actor.send(Input::Announce(self.key, storages)).await;
            sent.map_err(|_| DocumentError::Stopping)
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let detach = Input::Detach(self.key);
        if let Err(mpsc::error::TrySendError::Full(detach)) = self.actor.try_send(detach) {
            let actor = self.actor.clone();
            // The queue is bounded and is being worked off, so this ends.
            task::spawn(async move { actor.send(detach).await });
        }
    }
}

impl Documents for Statesync {
    fn open(&self, peer: Peer) -> BoxFuture<'_, Result<Arc<dyn SyncSession>, DocumentError>> {
        Box::pin(async move {
            let actor = self.actor(peer.grant.document());
            let key = self.shared.sessions.fetch_add(1, Ordering::Relaxed);
            let sent = actor.send(Input::Attach(key, peer)).await;
            sent.map_err(|_| DocumentError::Overloaded)?;
            Ok(Arc::new(Session { key, actor }) as Arc<dyn SyncSession>)
        })
    }

    fn create(
        &self,
        edit: AuthorizedEdit<DocumentId>,
        content: Option<serde_json::Value>,
    ) -> BoxFuture<'_, Result<Written, DocumentError>> {
        Box::pin(async move {
            let (author, document) = edit.into_parts();
            self.ask(&document, |answer| Input::Create(author, content, answer))
                .await
        })
    }

    fn import(
        &self,
        edit: AuthorizedEdit<DocumentId>,
        file: Bytes,
        fence: Option<Fence>,
    ) -> BoxFuture<'_, Result<Written, DocumentError>> {
        Box::pin(async move {
            let (author, document) = edit.into_parts();
            self.ask(&document, |answer| Input::Import(author, file, fence, answer))
                .await
        })
    }

    fn read(&self, grant: Grant, at: At) -> BoxFuture<'_, Result<DocumentJson, DocumentError>> {
        Box::pin(async move {
            self.must_exist(grant.document()).await?;
            self.ask(grant.document(), |answer| Input::Read(at, answer)).await
        })
    }

    fn history(&self, grant: Grant, after: u64, limit: usize) -> BoxFuture<'_, Result<HistoryPage, DocumentError>> {
        Box::pin(async move {
            self.must_exist(grant.document()).await?;
            self.ask(grant.document(), |answer| Input::History(after, limit, answer))
                .await
        })
    }

    fn export(&self, grant: Grant, at: At) -> BoxFuture<'_, Result<Bytes, DocumentError>> {
        Box::pin(async move {
            self.must_exist(grant.document()).await?;
            self.ask(grant.document(), |answer| Input::Export(at, answer)).await
        })
    }

    fn list(&self, after: Option<DocumentId>, limit: usize) -> BoxFuture<'_, Result<Vec<DocumentId>, DocumentError>> {
        Box::pin(self.blocking(move |log| log.documents(after.as_ref(), limit)))
    }

    fn quarantined(&self) -> BoxFuture<'_, Vec<QuarantinedDocument>> {
        let quarantined = self.shared.quarantined.lock().unwrap_or_else(PoisonError::into_inner);
        let documents = quarantined.values().cloned().collect();
        Box::pin(std::future::ready(documents))
    }

    fn release(&self, document: DocumentId) -> BoxFuture<'_, Result<(), DocumentError>> {
        Box::pin(async move {
            self.must_exist(&document).await?;
            self.ask(&document, Input::Release).await
        })
    }
}
