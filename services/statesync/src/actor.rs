//! The order in which one document does things.
//!
//! **Owns** the document's content, its peers, and the frames that are on their way through the log.
//! **Inputs** come through one bounded queue. Frames pass in three steps: their changes are queued for the log; when the
//! log has committed them, they are applied, in the order in which they came; when nothing more can be applied at once,
//! every peer is told what there is to tell. So an answer never leaves before the commit, and fifty edits that come
//! together make one answer.
//! **On failure** of an append the author is told that the edit is not saved; of applying an entry, that entry is set aside
//! and the rest of the document goes on; of building the document from the log, the actor ends and its peers connect anew.
//!
//! `input` lists what can be asked; `frames` has what peers say, `calls` what is asked by HTTP, `submit` what is asked by
//! clients that know changes and offsets, `fence` whether what was made under a lock may still be placed, `apart` how
//! committed entries are applied, `lost` what happens when they cannot be, `rest` what happens when nobody asks.

mod apart;
mod calls;
mod fence;
mod frames;
mod input;
mod lost;
mod rest;
mod submit;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aetherflow_oplog::{AppendError, Appended, LogHandle, PendingAppend, StorageError};
use aetherflow_schema::{
    document_log::Submitted,
    documents::{DocumentError, Written},
    id::{DocumentId, Offset},
    locks::Pass,
};
use automerge::{Automerge, Change};
use tokio::{
    sync::mpsc,
    task,
    time::{self, Instant},
};

pub(crate) use self::input::{Answer, Input};
use self::lost::Lost;
use self::{apart::Unapplied, input::fail};
use crate::{
    content::{Content, Live, Loaded, SetAside},
    history,
    intake::Received,
    load,
    peers::{Peers, SessionKey},
    service::Shared,
};

/// Inputs handled before the peers are told: what makes fifty edits one answer.
const TOGETHER: usize = 64;
/// Frames on their way through the log.
const IN_FLIGHT: usize = 256;
/// Messages larger than this are decoded and applied where they block no other document.
const LARGE_BYTES: usize = 16 << 10;
/// So are those with more operations than this: about 20 ms.
const LARGE_ROWS: u64 = 2048;

/// What a message costs to apply.
#[derive(Clone, Copy, Default)]
struct Size {
    bytes: usize,
    /// Operations, as they are when they are unfolded.
    rows: u64,
}

impl Size {
    /// Of what is applied apart however little it is: it meets a document of any size.
    fn whole(rows: u64) -> Self {
        let bytes = LARGE_BYTES + 1;
        Self { bytes, rows }
    }

    fn is_large(self) -> bool {
        self.bytes > LARGE_BYTES || self.rows > LARGE_ROWS
    }
}

/// Where something that was appended stands in the log.
struct Placed {
    offsets: Vec<Offset>,
    /// Those of them that were not in the log before.
    fresh: Vec<Offset>,
}

/// What is applied once its entries are committed.
enum Then {
    Frame(SessionKey, Received),
    Write(Box<Automerge>, Answer<Written>),
    Submit(Vec<Change>, Answer<Submitted>),
}

struct InFlight {
    commit: Option<PendingAppend>,
    then: Then,
    size: Size,
    /// Of what was made under a lock: nobody else gets it before this is applied, or has failed.
    pass: Option<Box<dyn Pass>>,
}

/// See the [module](self).
pub(crate) struct Actor {
    document: DocumentId,
    log: LogHandle,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Input>,
    content: Content,
    peers: Peers,
    in_flight: VecDeque<InFlight>,
    /// The newest entry that is applied.
    offset: Offset,
    /// Changes since the newest snapshot.
    unsaved: u64,
    set_aside: Vec<SetAside>,
    /// Entries that took too long to apply.
    given_up: BTreeSet<Offset>,
    /// Something was appended of which it is not known whether it was stored, and so whether it is to be applied.
    uncertain: bool,
    /// Memory of this document as counted in the shared sum.
    counted: u64,
    last_use: Instant,
    /// When peers are to be told something though nothing happens.
    flush_at: Option<Instant>,
}

impl Actor {
    /// One that has nothing yet.
    fn new(document: DocumentId, log: LogHandle, shared: Arc<Shared>, inbox: mpsc::Receiver<Input>) -> Self {
        Self {
            peers: Peers::new(document.clone(), shared.options.server.clone()),
            document,
            log,
            shared,
            inbox,
            content: Content::Absent,
            in_flight: VecDeque::new(),
            offset: Offset::ZERO,
            unsaved: 0,
            set_aside: Vec::new(),
            given_up: BTreeSet::new(),
            uncertain: false,
            counted: 0,
            last_use: Instant::now(),
            flush_at: None,
        }
    }

    /// Loads the document and serves it until it is idle.
    pub(crate) async fn run(
        document: DocumentId,
        log: LogHandle,
        shared: Arc<Shared>,
        mut inbox: mpsc::Receiver<Input>,
    ) {
        let loading = {
            let (log, document) = (log.clone(), document.clone());
            task::spawn_blocking(move || load::load(&log, &document)).await
        };
        let loaded = match flatten(loading) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(doc = %document, %error, "the document cannot be loaded");
                shared.forget(&document);
                inbox.close();
                while let Some(input) = inbox.recv().await {
                    fail(input, DocumentError::Unreadable(error.to_string()));
                }
                return;
            }
        };
        let mut actor = Self::new(document, log, shared, inbox);
        actor.adopt(loaded);
        if let Err(lost) = actor.serve().await {
            actor.close(&lost).await;
        }
    }

    async fn serve(&mut self) -> Result<(), Lost> {
        loop {
            let quiet = self.rest_at();
            let flush_at = self.flush_at;
            let room = self.in_flight.len() < IN_FLIGHT;
            let commit = self.in_flight.front_mut().and_then(|first| first.commit.as_mut());
            let committing = commit.is_some();
            tokio::select! {
                biased;
                result = async { match commit { Some(commit) => commit.await, None => std::future::pending().await } }, if committing => {
                    self.last_use = Instant::now();
                    self.committed(result).await?;
                }
                input = self.inbox.recv(), if room => match input {
                    Some(input) => {
                        self.last_use = Instant::now();
                        self.take(input).await?;
                        for _ in 1..TOGETHER {
                            match self.inbox.try_recv() {
                                Ok(input) if self.in_flight.len() < IN_FLIGHT => self.take(input).await?,
                                Ok(input) => { self.take(input).await?; break }
                                Err(_) => break,
                            }
                        }
                    }
                    None => break,
                },
                () = time::sleep_until(flush_at.unwrap_or(quiet)), if flush_at.is_some() => {}
                () = time::sleep_until(quiet) => {
                    if self.rest().await {
                        return Ok(());
                    }
                    continue;
                }
            }
            self.settle().await?;
            self.flush_at = self.peers.flush(&mut self.content, Instant::now());
            self.count_memory();
        }
        self.save_snapshot().await;
        self.shared.forget(&self.document);
        Ok(())
    }

    async fn take(&mut self, input: Input) -> Result<(), Lost> {
        match input {
            Input::Attach(key, peer) => self.peers.attach(key, peer),
            Input::Detach(key) => self.peers.detach(key),
            Input::Frame(key, author, frame) => self.take_frame(key, author, frame, true).await,
            Input::Listen(key, author, frame) => self.take_frame(key, author, frame, false).await,
            Input::Announce(key, storages) => self.peers.announce(key, &storages),
            Input::Create(author, content, answer) => self.create(author, content, answer).await,
            Input::Import(author, file, fence, answer) => self.import(author, file, fence, answer).await,
            Input::Read(at, answer) => self.answer(answer, move |doc, _, _| history::read(doc, &at)).await,
            Input::Export(at, answer) => self.answer(answer, move |doc, _, _| history::export(doc, &at)).await,
            Input::History(after, limit, answer) => {
                let page = move |doc: &Automerge, log: &LogHandle, id: &DocumentId| {
                    history::page(doc, log, id, after, limit).map_err(unreadable)
                };
                self.answer(answer, page).await;
            }
            Input::Release(answer) => {
                self.given_up.clear();
                let reloaded = self.reload().await;
                let _ = answer.send(reloaded.as_ref().copied().map_err(Lost::unreadable));
                reloaded?;
            }
            Input::Submit(author, changes, fence, answer) => self.submit(author, changes, fence, answer).await,
            Input::Snapshot(since, answer) => self.snapshot(since, answer).await,
            Input::Resumed => self.resumed().await?,
        }
        Ok(())
    }

    /// The entries of the first frame in flight are committed, or failed.
    async fn committed(&mut self, result: Result<Appended, AppendError>) -> Result<(), Lost> {
        let Some(first) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let _pass = first.pass;
        match result {
            Ok(appended) => {
                // Those that were in the log before were counted and applied before.
                let is_fresh = |offset: &Offset| *offset > self.offset;
                let fresh: Vec<_> = appended.offsets.iter().copied().filter(is_fresh).collect();
                self.unsaved += fresh.len() as u64;
                self.offset = self.offset.max(appended.last());
                let placed = Placed {
                    offsets: appended.offsets,
                    fresh,
                };
                return self.apply(first.then, placed, first.size).await;
            }
            Err(error) => {
                self.uncertain |= matches!(error, AppendError::Unknown(_));
                match first.then {
                    Then::Frame(key, _) => self.peers.refuse(key, error.to_string()),
                    Then::Write(_, answer) => {
                        let _ = answer.send(Err(append_error(error)));
                    }
                    Then::Submit(_, answer) => {
                        let _ = answer.send(Err(append_error(error)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The log takes writes again, and has been looked at: what was stored after all is part of the document.
    async fn resumed(&mut self) -> Result<(), Lost> {
        // What is uncertain may have been appended when the document was last open, before it was loaded here.
        if self.uncertain || self.is_behind().await? {
            self.reload().await?;
            self.uncertain = false;
        }
        self.peers.ask_refused_again();
        Ok(())
    }

    /// Applies what is in flight and waits for nothing, up to the first that does.
    async fn settle(&mut self) -> Result<(), Lost> {
        while self.in_flight.front().is_some_and(|first| first.commit.is_none()) {
            if let Some(first) = self.in_flight.pop_front() {
                let nowhere = Placed {
                    offsets: Vec::new(),
                    fresh: Vec::new(),
                };
                self.apply(first.then, nowhere, first.size).await?;
            }
        }
        Ok(())
    }

    async fn apply(&mut self, then: Then, placed: Placed, size: Size) -> Result<(), Lost> {
        match then {
            Then::Submit(changes, answer) => self.apply_submitted(changes, placed, answer, size).await,
            Then::Frame(key, message) => self.apply_frame(key, message, &placed.fresh, size).await,
            Then::Write(doc, answer) => self.apply_written(*doc, &placed.fresh, answer, size).await,
        }
    }

    fn after_change(&mut self, before: &[automerge::ChangeHash]) {
        let heads = self.content.heads();
        if heads == before {
            return;
        }
        if let Content::Live(live) = &mut self.content {
            live.changes = load::count(&live.doc);
        }
        self.peers.touch_all();
        self.peers.learn_own_heads(&heads, now_ms());
    }

    /// Makes the content live.
    async fn materialize(&mut self) -> Result<(), Lost> {
        let cold = match &self.content {
            Content::Live(_) => return Ok(()),
            Content::Away => return self.reload().await,
            Content::Absent => {
                self.content = Content::Live(Box::new(Live::new(Automerge::new(), 0)));
                return Ok(());
            }
            Content::Cold(cold) => cold.whole.clone(),
        };
        let (log, document) = (self.log.clone(), self.document.clone());
        let work = task::spawn_blocking(move || load::materialize(&log, &document, &cold)).await;
        let loaded = flatten(work)?;
        self.content = loaded.content;
        self.note_set_aside(loaded.set_aside);
        Ok(())
    }

    fn adopt(&mut self, loaded: Loaded) {
        self.content = loaded.content;
        self.offset = self.offset.max(loaded.offset);
        self.unsaved = loaded.unsaved;
        self.set_aside.clear();
        self.note_set_aside(loaded.set_aside);
    }

    fn note_set_aside(&mut self, set_aside: Vec<SetAside>) {
        for (offset, reason) in &set_aside {
            tracing::error!(doc = %self.document, %offset, reason, "an entry cannot be applied and was set aside");
        }
        self.set_aside.extend(set_aside);
        self.shared
            .set_quarantined(&self.document, self.set_aside.first(), now_ms());
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

fn flatten<T>(result: Result<Result<T, StorageError>, task::JoinError>) -> Result<T, StorageError> {
    result.unwrap_or_else(|error| Err(StorageError::Unreadable(error.to_string())))
}

fn unreadable(error: StorageError) -> DocumentError {
    DocumentError::Unreadable(error.to_string())
}

/// Tells whoever is waiting for it what became of something committed.
fn answer_committed<A, T>(
    answer: Answer<A>,
    applied: Result<Result<T, Unapplied>, Lost>,
    done: impl FnOnce(T) -> A,
) -> Result<(), Lost> {
    let (said, goes_on) = match applied {
        Ok(Ok(applied)) => (Ok(done(applied)), Ok(())),
        Ok(Err(why)) => (
            Err(DocumentError::Invalid(format!("stored, and set aside: {why}"))),
            Ok(()),
        ),
        Err(lost) => (Err(lost.unknown()), Err(lost)),
    };
    let _ = answer.send(said);
    goes_on
}

fn append_error(error: AppendError) -> DocumentError {
    match error {
        AppendError::Overloaded => DocumentError::Overloaded,
        AppendError::ReadOnly(reason) => DocumentError::ReadOnly(reason),
        AppendError::Unknown(reason) => DocumentError::Unknown(reason),
        AppendError::Quarantined(reason) => DocumentError::Unreadable(reason),
        AppendError::Invalid(reason) => DocumentError::Invalid(reason),
    }
}
