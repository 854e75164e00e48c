//! One connection's documents, and the frames that wait for them.
//!
//! Owns: a session for each document the peer spoke about, and the calls to documents that are under way.
//! Invariants: frames of one document are handed over in order, one at a time; a document that is slow, or being loaded,
//! holds up no other; every frame is checked against the access policy when it is handed over; bytes that wait are
//! bounded, since the connection reads only while [`Sessions::has_room`]; whoever has a document open is present on it.
//! On failure: the peer is told that its edits were refused, or the connection is closed so that it syncs again.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use aetherflow_schema::{
    access::{AuthorizedEdit, Denied, Grant, Operation},
    close::CloseCode,
    documents::{BoxFuture, DocumentError, Peer, PeerFrame, PeerSink, SyncFrame, SyncSession},
    id::{DocumentId, StorageId},
    native::PRESENCE_TTL_MS_MAX,
    presence::Present,
};
use bytes::Bytes;
use futures_util::{Stream, stream::FuturesUnordered};

use crate::{caller::Who, close::Close, outbound::Outbound, reader::Reader, shared::Shared};

/// What a waiting frame costs beside its bytes.
const FRAME_OVERHEAD: usize = 128;

/// Calls that may be under way before nothing more is read.
const CALLS: usize = 1024;

/// One connection's documents.
pub(crate) struct Sessions {
    shared: Arc<Shared>,
    outbound: Arc<Outbound>,
    who: Arc<Who>,
    storage: Option<StorageId>,
    documents: HashMap<DocumentId, Slot>,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
    waiting_bytes: usize,
    /// When it was said last that the client is present.
    present_since: Instant,
}

struct Slot {
    reader: Arc<Reader>,
    /// `None` while it is being opened.
    session: Option<Arc<dyn SyncSession>>,
    /// A frame is being handed over, or the document is being opened.
    busy: bool,
    waiting: VecDeque<SyncFrame>,
}

/// What a frame may do.
enum Granted {
    Write(Grant),
    Read(Grant),
}

/// A call that ended.
pub(crate) struct Done {
    document: DocumentId,
    outcome: Outcome,
}

enum Outcome {
    Opened(Result<Arc<dyn SyncSession>, DocumentError>),
    Received {
        request: bool,
        result: Result<(), DocumentError>,
    },
    Announced,
}

impl Sessions {
    /// No documents yet.
    pub(crate) fn new(shared: Arc<Shared>, outbound: Arc<Outbound>, who: Arc<Who>) -> Self {
        Self {
            shared,
            outbound,
            who,
            storage: None,
            documents: HashMap::new(),
            calls: FuturesUnordered::new(),
            waiting_bytes: 0,
            present_since: Instant::now(),
        }
    }

    /// The peer's storage, known since it joined.
    pub(crate) fn set_storage(&mut self, storage: Option<StorageId>) {
        self.storage = storage;
    }

    /// On whose behalf.
    pub(crate) fn who(&self) -> &Arc<Who> {
        &self.who
    }

    /// Whether more may be read from the peer.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_bytes < self.shared.options.limits.waiting_bytes && self.calls.len() < CALLS
    }

    /// Whether nothing is waiting or under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes a frame for a document, which is opened if it is not.
    ///
    /// # Errors
    /// How to close the connection.
    pub(crate) fn submit(&mut self, document: DocumentId, frame: SyncFrame) -> Result<(), Close> {
        let cut = |slot: &Slot| slot.reader.is_cut() && !slot.busy;
        if self.documents.get(&document).is_some_and(cut) {
            self.close(&document);
        }
        if let Some(slot) = self.documents.get_mut(&document) {
            if slot.busy {
                self.waiting_bytes += cost(&frame);
                slot.waiting.push_back(frame);
            } else {
                self.hand_over(&document, frame);
            }
            return Ok(());
        }
        let grant = match self.grant(&document) {
            Ok(Granted::Write(grant) | Granted::Read(grant)) => grant,
            Err(denied) => {
                self.deny(&denied, frame.request);
                return Ok(());
            }
        };
        let limit = self.shared.options.limits.documents_per_connection;
        if self.documents.len() >= limit {
            let detail = format_args!("at most {limit}");
            return Err(Close::because(CloseCode::TooManyDocuments, detail));
        }
        self.open(document, frame, grant);
        Ok(())
    }

    /// The peer subscribed to these storages: every open document is to tell what it knows.
    pub(crate) fn announce(&mut self, storages: &[StorageId]) {
        if storages.is_empty() {
            return;
        }
        let open: Vec<_> = self
            .documents
            .iter()
            .filter_map(|(document, slot)| Some((document.clone(), slot.session.clone()?)))
            .collect();
        for (document, session) in open {
            self.announce_to(document, session, storages.to_vec());
        }
    }

    /// Waits for a call to end. Pending also when there is none.
    pub(crate) fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        if self.calls.is_empty() {
            return Poll::Pending;
        }
        match Pin::new(&mut self.calls).poll_next(context) {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Goes on after a call has ended.
    ///
    /// # Errors
    /// How to close the connection.
    pub(crate) fn on_done(&mut self, done: Done) -> Result<(), Close> {
        let Done { document, outcome } = done;
        match outcome {
            Outcome::Announced => Ok(()),
            Outcome::Received { request, result } => {
                let verdict = result.or_else(|error| self.failed(&document, request, &error));
                self.next(&document);
                verdict
            }
            Outcome::Opened(Ok(session)) => {
                if let Some(slot) = self.documents.get_mut(&document) {
                    slot.session = Some(session.clone());
                }
                self.be_present(&document);
                let storages = self.outbound.subscriptions();
                if !storages.is_empty() {
                    self.announce_to(document.clone(), session, storages);
                }
                self.next(&document);
                Ok(())
            }
            Outcome::Opened(Err(error)) => {
                let waiting = self.close(&document).map(|slot| slot.waiting).unwrap_or_default();
                self.waiting_bytes -= waiting.iter().map(cost).sum::<usize>();
                let request = waiting.iter().any(|frame| frame.request);
                self.failed(&document, request, &error)
            }
        }
    }

    /// Says again that the client is present, when it is time to. To be called every `timeouts.keepalive_ms`.
    pub(crate) fn on_tick(&mut self) {
        if self.present_since.elapsed() < self.present_for() / 2 {
            return;
        }
        self.present_since = Instant::now();
        let open = |slot: &Slot| slot.session.is_some() && !slot.reader.is_cut();
        for (document, _) in self.documents.iter().filter(|(_, slot)| open(slot)) {
            self.be_present(document);
        }
    }

    /// For how long the client, which never says so itself, is said to be present. It is gone with its connection: this is for
    /// what other nodes and clients may miss.
    fn present_for(&self) -> Duration {
        let most = Duration::from_millis(PRESENCE_TTL_MS_MAX.into());
        self.shared.options.timeouts.present().min(most)
    }

    /// The client is present on a document that it has open, if it may be.
    fn be_present(&self, document: &DocumentId) {
        let caller = self.who.caller();
        if Grant::check(&*self.shared.access, &caller, Operation::Presence, document).is_err() {
            self.shared.presence.absent(document, caller.session);
            return;
        }
        let present = Present {
            document: document.clone(),
            caller,
            state: Bytes::new(),
            ttl: self.present_for(),
        };
        if let Err(error) = self.shared.presence.present(present) {
            tracing::debug!(connection = %self.outbound.id(), doc = %document, %error, "not shown as present");
        }
    }

    /// Opens a document, for which the frame waits.
    fn open(&mut self, document: DocumentId, frame: SyncFrame, grant: Grant) {
        self.waiting_bytes += cost(&frame);
        let (shared, outbound, who) = (self.shared.clone(), self.outbound.clone(), self.who.clone());
        let reader = Arc::new(Reader::new(shared, outbound, who, document.clone()));
        let slot = Slot {
            reader: reader.clone(),
            session: None,
            busy: true,
            waiting: VecDeque::from([frame]),
        };
        self.documents.insert(document.clone(), slot);
        self.shared.metrics.open_documents.inc();
        self.shared.ephemera.join(&document, reader.clone());
        let documents = self.shared.documents.clone();
        let peer = Peer {
            sink: reader,
            storage: self.storage.clone(),
            grant,
        };
        self.calls.push(Box::pin(async move {
            let outcome = Outcome::Opened(documents.open(peer).await);
            Done { document, outcome }
        }));
    }

    fn close(&mut self, document: &DocumentId) -> Option<Slot> {
        let slot = self.documents.remove(document)?;
        self.shared.metrics.open_documents.dec();
        self.shared.ephemera.leave(document, self.outbound.id());
        self.shared.presence.absent(document, self.who.session());
        Some(slot)
    }

    /// Hands the next frame to an open document, or notes that there is none.
    fn next(&mut self, document: &DocumentId) {
        while let Some(slot) = self.documents.get_mut(document) {
            slot.busy = false;
            let Some(frame) = slot.waiting.pop_front() else {
                slot.waiting = VecDeque::new();
                return;
            };
            self.waiting_bytes -= cost(&frame);
            if self.hand_over(document, frame) {
                return;
            }
        }
    }

    /// Hands a frame to an open document, if that is allowed: whether it is under way.
    fn hand_over(&mut self, document: &DocumentId, frame: SyncFrame) -> bool {
        let request = frame.request;
        let granted = match self.grant(document) {
            Ok(granted) => granted,
            Err(denied) => {
                self.deny(&denied, request);
                return false;
            }
        };
        let Some(slot) = self.documents.get_mut(document) else {
            return false;
        };
        let Some(session) = slot.session.clone() else {
            return false;
        };
        slot.busy = true;
        let document = document.clone();
        let metrics = self.shared.metrics.clone();
        let started = Instant::now();
        self.calls.push(Box::pin(async move {
            let result = match granted {
                Granted::Write(grant) => match AuthorizedEdit::new(&grant, frame) {
                    Some(edit) => session.receive(edit).await,
                    None => Err(DocumentError::Invalid("the grant is for something else".to_owned())),
                },
                Granted::Read(grant) => session.listen(grant, frame).await,
            };
            metrics.document_wait.observe(started.elapsed().as_secs_f64());
            let outcome = Outcome::Received { request, result };
            Done { document, outcome }
        }));
        true
    }

    /// Asks the access policy: for writing, as any frame may have changes in it; or else for reading.
    fn grant(&self, document: &DocumentId) -> Result<Granted, Denied> {
        let caller = self.who.caller();
        let check = |operation| Grant::check(&*self.shared.access, &caller, operation, document);
        check(Operation::Write)
            .map(Granted::Write)
            .or_else(|_| check(Operation::Read).map(Granted::Read))
    }

    /// Tells the peer that the policy said no.
    fn deny(&self, denied: &Denied, request: bool) {
        tracing::debug!(connection = %self.outbound.id(), error = %denied, "refused");
        self.refuse(&denied.document, request, denied.reason.to_owned());
    }

    fn refuse(&self, document: &DocumentId, request: bool, reason: String) {
        let document = document.clone();
        if request {
            self.outbound.deliver(PeerFrame::Unavailable {
                document: document.clone(),
            });
        }
        self.outbound.deliver(PeerFrame::Refused { document, reason });
    }

    /// Tells the peer what became of its frame, or how to close the connection: then it connects and syncs again, and
    /// sends what was lost.
    fn failed(&self, document: &DocumentId, request: bool, error: &DocumentError) -> Result<(), Close> {
        match error {
            DocumentError::Overloaded | DocumentError::Stopping | DocumentError::Unknown(_) => {
                Err(Close::because(CloseCode::TryAgainLater, error))
            }
            DocumentError::NotFound
            | DocumentError::NoSuchPlace(_)
            | DocumentError::Invalid(_)
            | DocumentError::Quarantined(_)
            | DocumentError::Fenced
            | DocumentError::ReadOnly(_)
            | DocumentError::Unreadable(_) => {
                self.refuse(document, request, error.to_string());
                Ok(())
            }
        }
    }

    fn announce_to(&mut self, document: DocumentId, session: Arc<dyn SyncSession>, storages: Vec<StorageId>) {
        self.calls.push(Box::pin(async move {
            if let Err(error) = session.announce(storages).await {
                tracing::debug!(%document, %error, "heads were not announced");
            }
            let outcome = Outcome::Announced;
            Done { document, outcome }
        }));
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        for document in self.documents.keys() {
            self.shared.metrics.open_documents.dec();
            self.shared.ephemera.leave(document, self.outbound.id());
            self.shared.presence.absent(document, self.who.session());
        }
    }
}

fn cost(frame: &SyncFrame) -> usize {
    frame.message.len() + FRAME_OVERHEAD
}
