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
//! `input` lists what can be asked, `flight` what is on its way through the log; `frames` has what peers say, `calls` what is asked by HTTP, `submit` what is asked by
//! clients that know changes and offsets, `fence` whether what was made under a lock may still be placed, `apart` how
//! committed entries are applied, `lost` what happens when they cannot be, `rest` what happens when nobody asks.

mod apart;
mod calls;
mod fence;
mod flight;
mod frames;
mod input;
mod lost;
mod rest;
mod submit;

use std::{
    collections::{BTreeSet, VecDeque},
    pin::pin,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aetherflow_oplog::{LogHandle, StorageError};
use aetherflow_schema::{
    documents::DocumentError,
    id::{DocumentId, Offset},
};
use automerge::Automerge;
use tokio::{
    sync::mpsc,
    task,
    time::{self, Instant},
};

pub(crate) use self::input::{Answer, Input};
use self::{flight::InFlight, input::fail, lost::Lost};
use crate::{
    content::{Content, Live, Loaded, SetAside},
    history, load,
    peers::Peers,
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
        let mut alarm = pin!(time::sleep_until(self.due_at()));
        loop {
            let due = self.due_at();
            // Every input moves it away, and one that goes off too early costs less than moving it each time.
            if due < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(due);
            }
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
                        self.take_together(input).await?;
                    }
                    None => break,
                },
                () = alarm.as_mut() => {
                    let now = Instant::now();
                    if self.flush_at.is_none_or(|at| at > now) {
                        if self.rest_at() <= now && self.rest().await {
                            return Ok(());
                        }
                        continue;
                    }
                }
            }
            self.settle().await?;
            if self.content.is_unchecked() && self.peers.somebody_wants_whole() {
                self.materialize().await?;
            }
            self.flush_at = self.peers.flush(&mut self.content, Instant::now());
            self.count_memory();
        }
        self.save_snapshot().await;
        self.shared.forget(&self.document);
        Ok(())
    }

    /// When there is something to do though nothing comes.
    fn due_at(&self) -> Instant {
        let rest = self.rest_at();
        self.flush_at.map_or(rest, |flush| flush.min(rest))
    }

    /// Takes an input, and what came together with it.
    async fn take_together(&mut self, input: Input) -> Result<(), Lost> {
        self.take(input).await?;
        for _ in 1..TOGETHER {
            if self.in_flight.len() >= IN_FLIGHT {
                break;
            }
            match self.inbox.try_recv() {
                Ok(input) => self.take(input).await?,
                Err(_) => break,
            }
        }
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
        // What is not known yet of an entry does not unsay what was found when the document was open before.
        if !self.content.is_unchecked() {
            self.note_set_aside(loaded.set_aside);
        }
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
