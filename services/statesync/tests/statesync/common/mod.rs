//! Documents over a log in memory, and a client without a network: it speaks the sync protocol with a document directly.

pub(crate) mod author;
pub(crate) mod bomb;
pub(crate) mod follower;
pub(crate) mod watched;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aetherflow_log_core::{Storage, memory::MemoryStorage};
use aetherflow_oplog::{LogHandle, LogOptions};
use aetherflow_schema::{
    access::{AuthorizedEdit, Caller, Grant, OpenAccess, Operation},
    documents::{Documents, Peer, PeerFrame, PeerSink, SyncFrame, SyncSession},
    id::{DocumentId, SessionId, StorageId},
};
use aetherflow_statesync::{Statesync, StatesyncOptions};
use automerge::{
    AutoCommit,
    sync::{self, SyncDoc},
};
use bytes::Bytes;

pub(crate) fn memory() -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::new(4))
}

/// Documents over a log.
pub(crate) fn start(storage: Arc<dyn Storage>) -> (Statesync, LogHandle) {
    start_with(storage, |_| {})
}

/// The same, kept otherwise.
pub(crate) fn start_with(
    storage: Arc<dyn Storage>,
    change: impl FnOnce(&mut StatesyncOptions),
) -> (Statesync, LogHandle) {
    let log = LogHandle::start(storage, LogOptions::default()).unwrap();
    let mut options = StatesyncOptions::new(server());
    change(&mut options);
    (Statesync::new(log.clone(), options), log)
}

pub(crate) fn server() -> StorageId {
    StorageId(Arc::from("the-server"))
}

pub(crate) fn document(n: u8) -> DocumentId {
    DocumentId::from_bytes(&[n; 16]).unwrap()
}

pub(crate) fn grant(document: &DocumentId) -> Grant {
    let caller = Caller::anonymous(SessionId(Default::default()));
    Grant::check(&OpenAccess, &caller, Operation::Write, document).unwrap()
}

pub(crate) fn grant_write(document: &DocumentId) -> AuthorizedEdit<DocumentId> {
    AuthorizedEdit::new(&grant(document), document.clone()).unwrap()
}

/// Waits for a condition, for ten seconds at most.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "it never happened that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[derive(Default)]
pub(crate) struct Sink {
    frames: Mutex<VecDeque<PeerFrame>>,
    wanted: Mutex<Vec<StorageId>>,
}

impl Sink {
    pub(crate) fn want(&self, storages: &[StorageId]) {
        self.wanted.lock().unwrap().extend_from_slice(storages);
    }
}

impl PeerSink for Sink {
    fn deliver(&self, frame: PeerFrame) -> bool {
        self.frames.lock().unwrap().push_back(frame);
        true
    }

    fn is_open(&self) -> bool {
        true
    }

    fn wants_heads_of(&self, storage: &StorageId) -> bool {
        self.wanted.lock().unwrap().contains(storage)
    }
}

pub(crate) struct Client {
    pub(crate) doc: AutoCommit,
    pub(crate) sink: Arc<Sink>,
    pub(crate) session: Arc<dyn SyncSession>,
    pub(crate) unavailable: usize,
    /// It may only read.
    pub(crate) reads_only: bool,
    /// It sends changes though it was told that they are not taken.
    pub(crate) is_stubborn: bool,
    state: sync::State,
    grant: Grant,
}

impl Client {
    pub(crate) async fn open(statesync: &Statesync, document: &DocumentId) -> Self {
        Self::connect(statesync, document, None).await
    }

    pub(crate) async fn open_with_storage(statesync: &Statesync, document: &DocumentId, storage: StorageId) -> Self {
        Self::connect(statesync, document, Some(storage)).await
    }

    async fn connect(statesync: &Statesync, document: &DocumentId, storage: Option<StorageId>) -> Self {
        let sink = Arc::new(Sink::default());
        let grant = grant(document);
        let peer = Peer {
            sink: sink.clone(),
            storage,
            grant: grant.clone(),
        };
        Self {
            doc: AutoCommit::new(),
            sink,
            session: statesync.open(peer).await.unwrap(),
            unavailable: 0,
            reads_only: false,
            is_stubborn: false,
            state: sync::State::new(),
            grant,
        }
    }

    pub(crate) async fn send_raw(&self, message: &[u8]) {
        self.send(false, Bytes::copy_from_slice(message)).await;
    }

    async fn send(&self, request: bool, message: Bytes) {
        let frame = SyncFrame { request, message };
        if self.reads_only {
            return self.session.listen(self.grant.clone(), frame).await.unwrap();
        }
        let edit = AuthorizedEdit::new(&self.grant, frame).unwrap();
        self.session.receive(edit).await.unwrap();
    }

    /// Asks for a document that this client does not have.
    pub(crate) async fn request(&mut self) {
        let message = self.doc.sync().generate_sync_message(&mut self.state);
        if let Some(message) = message {
            self.send(true, message.encode().into()).await;
        }
    }

    /// Sends the next sync message, if there is one to send.
    pub(crate) async fn send_next(&mut self) {
        let message = self.doc.sync().generate_sync_message(&mut self.state);
        if let Some(message) = message {
            self.send(false, message.encode().into()).await;
        }
    }

    /// Frames that arrived, unread.
    pub(crate) fn drain(&self) -> Vec<PeerFrame> {
        self.sink.frames.lock().unwrap().drain(..).collect()
    }

    /// Takes in everything that arrived, and returns it too.
    pub(crate) fn receive_all(&mut self) -> Vec<PeerFrame> {
        let frames = self.drain();
        for frame in &frames {
            match frame {
                PeerFrame::Sync { message, .. } => {
                    let message = sync::Message::decode(message).unwrap();
                    self.doc.sync().receive_sync_message(&mut self.state, message).unwrap();
                    self.state.peer_read_only &= !self.is_stubborn;
                }
                PeerFrame::Unavailable { .. } => self.unavailable += 1,
                PeerFrame::RemoteHeads { .. }
                | PeerFrame::Refused { .. }
                | PeerFrame::Lost { .. }
                | PeerFrame::Malformed { .. } => {}
            }
        }
        frames
    }

    /// Waits for a frame and takes it in.
    pub(crate) async fn receive_one(&mut self) {
        eventually("a frame arrives", async || !self.receive_all().is_empty()).await;
    }

    /// Takes in what arrived and sends what there is to send.
    pub(crate) async fn exchange(&mut self) {
        self.receive_all();
        self.send_next().await;
    }

    /// Exchanges until the server has said that it holds all of this client's changes.
    pub(crate) async fn until_saved(&mut self) {
        self.doc.commit();
        eventually("the server holds every change", async || {
            self.exchange().await;
            let heads = self.doc.get_heads();
            self.state.their_heads.as_ref() == Some(&heads)
        })
        .await;
    }
}
