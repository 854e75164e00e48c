//! The client's side of the native protocol as a state machine: connecting and coming back, documents followed from their
//! cursors, changes submitted until they have a receipt, locks held for as long as they are wanted.
//!
//! **Owns** the connection's phase, the queue of each document, which requests are unanswered, who is present.
//! **Inputs**: [`Input`] with the time; [`Session::poll_frame`] whenever the transport takes another frame, so that nothing
//! queues up behind a slow one. **Effects**: [`Event`]s, to be taken after each input, and frames.
//! **Invariants**
//! * Each change that was given ends with one [`Event::Settled`], in the order of its document; it may take for ever while
//!   there is no server.
//! * An entry is handed on once, in order, or is in a snapshot that is.
//! * What is under way is bounded; every wait on the server ends, with another connection if need be.
//! * Nothing but Hello is sent before the Welcome.
//!
//! **On failure**: whatever the server does, the worst is that the connection is given up and made again later, or not at
//! all if the close code says so.

mod backoff;
mod document;
mod frames;
mod io;
mod link;
mod locking;
mod locks;
mod queue;
mod refused;
mod search;
mod submit;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    time::{Duration, Instant},
};

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset, SessionId},
    native::{ClientFrame, RequestId, wire::RejectCode},
};
use rand::rngs::StdRng;

pub(crate) use self::io::{
    Event, Input, LinkStatus, LockId, LockNews, NewChange, Outcome, Outgoing, Parting, WantedLock,
};
pub use self::{backoff::Backoff, io::Refusal};
use self::{document::Document, link::Link, queue::BatchLimits, refused::Refused};

/// Bytes of changes in one Submit, unless a single one is longer.
const BATCH_BYTES: usize = 256 << 10;

/// Bytes of a Submit besides its changes, at most; and for each change.
const FRAME_OVERHEAD: usize = 256;
const CHANGE_OVERHEAD: usize = 8;

/// Sessions of one's own that are remembered, so that one does not see oneself.
const OWN_SESSIONS: usize = 16;

/// What may be chosen.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    pub(crate) client_id: String,
    pub(crate) token: String,
    pub(crate) backoff: Backoff,
    /// A ping is sent after this much silence.
    pub(crate) silence: Duration,
    /// How long an answer to a hello or a ping may take.
    pub(crate) patience: Duration,
    /// How long an answer to a submit may take.
    pub(crate) answer: Duration,
    /// A connection that held so long was a good one.
    pub(crate) stable: Duration,
    /// Submits under way.
    pub(crate) submits: usize,
    /// Bytes of changes under way.
    pub(crate) submit_bytes: usize,
}

/// A Submit under way.
#[derive(Debug)]
struct Submitted {
    document: DocumentId,
    hashes: Vec<ChangeHash>,
    bytes: usize,
    since: Instant,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Session {
    tuning: Tuning,
    rng: StdRng,
    link: Link,
    documents: BTreeMap<DocumentId, Document>,
    /// Documents that may have something to send.
    work: BTreeSet<DocumentId>,
    /// Who had the last turn.
    served: Option<DocumentId>,
    /// When to look at a document again: the same as in [`Document::wake`].
    alarms: BTreeSet<(Instant, DocumentId)>,
    /// Submits under way, the oldest first.
    submits: BTreeMap<RequestId, Submitted>,
    submit_bytes: usize,
    /// Requests about locks under way, the oldest first, and when they were made.
    lock_requests: BTreeMap<RequestId, (DocumentId, Instant)>,
    /// Documents whose history is being read, and when something of it came last.
    searches: BTreeMap<RequestId, (DocumentId, Instant)>,
    /// Which subscription a Reject is about.
    subscriptions: BTreeMap<RequestId, DocumentId>,
    /// Documents that were subscribed to on this connection.
    followed: HashSet<DocumentId>,
    next_request: u64,
    batch: BatchLimits,
    own_sessions: VecDeque<SessionId>,
    refused: Refused,
    unsettled: usize,
    events: VecDeque<Event>,
}

impl Session {
    /// Connects as soon as time passes.
    pub(crate) fn new(tuning: Tuning, now: Instant, rng: StdRng) -> Self {
        Self {
            tuning,
            rng,
            link: Link::new(now),
            documents: BTreeMap::new(),
            work: BTreeSet::new(),
            served: None,
            alarms: BTreeSet::new(),
            submits: BTreeMap::new(),
            submit_bytes: 0,
            lock_requests: BTreeMap::new(),
            searches: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            followed: HashSet::new(),
            next_request: 1,
            batch: BatchLimits {
                changes: 1,
                bytes: BATCH_BYTES,
                change_bytes: 0,
            },
            own_sessions: VecDeque::new(),
            refused: Refused::default(),
            unsettled: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes something in.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Connected { frame_bytes, takes } => self.on_connected(now, frame_bytes, takes),
            Input::Disconnected(parting) => self.on_disconnected(now, &parting),
            Input::Frame(frame) => self.on_frame(now, frame),
            Input::Open {
                document,
                cursor,
                refused,
            } => {
                refused
                    .into_iter()
                    .for_each(|hash| self.refused.add(&document, hash, hash));
                self.open(now, &document, cursor);
            }
            Input::Close(document) => self.close(now, &document),
            Input::Edit { document, change, left } => self.on_edit(now, &document, change, left),
            Input::Heads { document, heads } => self.with(now, &document, |document| {
                if document.follow == document::Follow::AskingHeads {
                    document.follow = document::Follow::DueAfter(heads);
                }
            }),
            Input::Applied { document, stored } => self.on_applied(now, &document, &stored),
            Input::Searched { document, stored, last } => self.on_searched(now, &document, &stored, last),
            Input::Merged {
                document,
                offset,
                lacking,
                held,
            } => self.on_merged(now, &document, offset, lacking, &held),
            Input::Presence { document, mine } => self.with(now, &document, |document| document.show(now, mine)),
            Input::Lock { document, wanted } => self.on_lock(now, &document, wanted),
            Input::Unlock { document, lock } => self.on_unlock(now, &document, lock),
            Input::Token(token) => self.on_token(now, token),
            Input::Reconnect => self.on_reconnect(now),
            Input::Tick => {}
            Input::Finish => self.on_finish(),
        }
        self.on_time(now);
    }

    /// What is to be done or known next.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next frame, when the transport takes one. May leave events.
    pub(crate) fn poll_frame(&mut self, now: Instant) -> Option<Outgoing> {
        if let Some(frame) = self.poll_control(now) {
            return Some(Outgoing { document: None, frame });
        }
        if !self.link.is_online() {
            return None;
        }
        // Each in its turn.
        while let Some(id) = self.next_in_turn() {
            match self.poll_document(now, &id) {
                Some(frame) => {
                    self.served = Some(id.clone());
                    self.arm(now, &id);
                    let document = Some(id);
                    return Some(Outgoing { document, frame });
                }
                None => {
                    self.work.remove(&id);
                    self.arm(now, &id);
                }
            }
        }
        None
    }

    /// When [`Input::Tick`] is due at the latest.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        let answer = self.owed_since().map(|since| since + self.allowance());
        let answer = answer.filter(|_| self.link.is_connected());
        [alarm, answer, self.link_timeout()].into_iter().flatten().min()
    }

    /// Changes that have no outcome yet.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Whether this change has no outcome yet.
    pub(crate) fn is_pending(&self, id: &DocumentId, hash: &ChangeHash) -> bool {
        self.documents.get(id).is_some_and(|document| document.queue.has(hash))
    }

    /// The changes of which the session would know whether the server has them.
    pub(crate) fn asks(&self, id: &DocumentId) -> Vec<ChangeHash> {
        let pending = self
            .documents
            .get(id)
            .into_iter()
            .flat_map(|document| document.queue.hashes());
        pending.chain(self.refused.of(id)).collect()
    }

    fn next_in_turn(&self) -> Option<DocumentId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.served.as_ref();
        let next = after.and_then(|served| self.work.range::<DocumentId, _>((Excluded(served), Unbounded)).next());
        next.or_else(|| self.work.first()).cloned()
    }

    /// Something happened with a document that may give it something to send.
    fn with(&mut self, now: Instant, id: &DocumentId, change: impl FnOnce(&mut Document)) {
        if let Some(document) = self.documents.get_mut(id) {
            change(document);
            self.work.insert(id.clone());
            self.arm(now, id);
        }
    }

    /// Sees to it that a document is looked at in time, and forgotten when nothing is left of it.
    fn arm(&mut self, now: Instant, id: &DocumentId) {
        let Some(document) = self.documents.get_mut(id) else {
            return;
        };
        if document.is_idle() {
            if let Some(wake) = document.wake {
                self.alarms.remove(&(wake, id.clone()));
            }
            self.documents.remove(id);
            self.work.remove(id);
            return;
        }
        let deadline = document.deadline(now);
        if deadline != document.wake {
            if let Some(wake) = document.wake {
                self.alarms.remove(&(wake, id.clone()));
            }
            if let Some(deadline) = deadline {
                self.alarms.insert((deadline, id.clone()));
            }
            document.wake = deadline;
        }
    }

    fn on_time(&mut self, now: Instant) {
        while let Some((at, _)) = self.alarms.first()
            && *at <= now
        {
            let Some((_, id)) = self.alarms.pop_first() else {
                return;
            };
            self.wake(now, &id);
        }
        let allowance = self.allowance();
        if self.link.is_connected() && self.owed_since().is_some_and(|since| since + allowance <= now) {
            self.hang_up(now, "a request was not answered in time");
        }
        self.on_link_time(now);
    }

    fn wake(&mut self, now: Instant, id: &DocumentId) {
        let Some(document) = self.documents.get_mut(id) else {
            return;
        };
        document.wake = None;
        if document.hold.is_some_and(|hold| hold <= now) {
            document.hold = None;
        }
        for session in document.expired(now) {
            self.events.push_back(Event::Presence {
                document: id.clone(),
                session,
                present: None,
            });
        }
        self.work.insert(id.clone());
        self.with_locks(now, id, |locks| locks.on_time(now));
    }

    fn open(&mut self, now: Instant, id: &DocumentId, cursor: Option<Offset>) {
        let document = self.documents.entry(id.clone()).or_default();
        if !document.open {
            document.open = true;
            document.cursor = cursor;
            document.follow = document::Follow::Due;
            document.subscribe_failures = 0;
        }
        self.work.insert(id.clone());
        self.arm(now, id);
    }

    fn close(&mut self, now: Instant, id: &DocumentId) {
        self.with(now, id, Document::close);
        // There may be room for another one now.
        let room = |document: &Document| match &document.follow {
            document::Follow::Refused(refusal) => refusal.code == RejectCode::TooManySubscriptions,
            _ => false,
        };
        let waiting: Vec<_> = self.documents.iter().filter(|(_, document)| room(document)).collect();
        let waiting: Vec<_> = waiting.into_iter().map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.with(now, &id, |document| document.follow = document::Follow::Due);
        }
    }

    /// Since when the server owes its oldest answer to a submit, about a lock, or the next part of a history.
    fn owed_since(&self) -> Option<Instant> {
        let submit = self.submits.values().next().map(|submitted| submitted.since);
        let lock = self.lock_requests.values().next().map(|(_, since)| *since);
        let history = self.searches.values().map(|(_, since)| *since).min();
        [submit, lock, history].into_iter().flatten().min()
    }

    /// How long such an answer may take.
    fn allowance(&self) -> Duration {
        self.tuning.answer + self.transfer_time()
    }

    /// How long what is under way may take on a slow network.
    fn transfer_time(&self) -> Duration {
        const BYTES_PER_SECOND: usize = 16 << 10;
        Duration::from_secs((self.submit_bytes / BYTES_PER_SECOND) as u64)
    }

    fn new_request(&mut self) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        request
    }

    fn poll_document(&mut self, now: Instant, id: &DocumentId) -> Option<ClientFrame> {
        let document = self.documents.get_mut(id)?;
        if std::mem::take(&mut document.unsubscribe_due) {
            self.subscriptions.retain(|_, followed| followed != id);
            return Some(ClientFrame::Unsubscribe(id.clone()));
        }
        if let Some(subscribe) = self.poll_subscribe(now, id) {
            return Some(subscribe);
        }
        if let Some(lock) = self.poll_lock(now, id) {
            return Some(lock);
        }
        if let Some(submit) = self.poll_submit(now, id) {
            return Some(submit);
        }
        // What was found there that nobody takes may be on the server all the same.
        let asks = self.poll_subscribe(now, id).or_else(|| self.poll_search(now, id));
        if asks.is_some() {
            return asks;
        }
        let presence = self.documents.get_mut(id)?.presence(now, id)?;
        Some(ClientFrame::Presence(presence))
    }
}
