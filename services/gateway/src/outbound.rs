//! One connection's queue: filled by documents and by other connections, emptied by the connection's own task.
//!
//! Owns: frames that are not yet handed to the socket's writer, and how the connection is to end.
//! Invariants: bounded by bytes, counting what the writer has not written yet; after the first reason to end nothing is
//! queued any more; the task is woken once per batch, not once per frame.
//!
//! `peer` has what is queued for a peer of the automerge-repo protocol.

mod peer;

use std::{
    collections::{HashSet, VecDeque},
    num::NonZeroU64,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use aetherflow_schema::{
    access::Identity,
    close::CloseCode,
    document_log::Offered,
    id::{ConnectionId, PeerId, StorageId},
    limits,
};
use bytes::Bytes;
use tokio::{sync::Notify, time::timeout};

pub(crate) use self::peer::kind;
use crate::{
    close::Close,
    lock,
    metrics::{GatewayMetrics, Kind},
    websocket::Frame,
};

/// Frames for which whoever takes them keeps room while there are none.
pub(crate) const IDLE_FRAMES: usize = 8;

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At once: what is queued is forgotten.
    Now(Close),
    /// After what was received is handed over and what is queued is written.
    Finish(Close),
}

/// The queue.
pub(crate) struct Outbound {
    id: ConnectionId,
    server: PeerId,
    peer: OnceLock<PeerId>,
    /// The API key that the client showed last.
    credential: Mutex<Option<Arc<str>>>,
    limit: usize,
    /// The longest payload that the client takes.
    longest: AtomicUsize,
    metrics: Arc<GatewayMetrics>,
    state: Mutex<State>,
    /// Something was written, or nothing will be any more.
    moved: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Frame>,
    /// Bytes of the frames queued.
    queued: usize,
    /// Bytes that the task took and has not written yet.
    writing: usize,
    ending: Option<Ending>,
    /// The task knows how it ends, or is gone.
    over: bool,
    waker: Option<Waker>,
    /// The task waits for frames, rather than just for an ending.
    hungry: bool,
    subscriptions: HashSet<StorageId>,
}

impl Outbound {
    /// An empty queue of at most `limit` bytes.
    pub(crate) fn new(id: ConnectionId, server: PeerId, limit: usize, metrics: Arc<GatewayMetrics>) -> Self {
        Self {
            id,
            server,
            peer: OnceLock::new(),
            credential: Mutex::default(),
            limit,
            longest: AtomicUsize::new(usize::MAX),
            metrics,
            state: Mutex::default(),
            moved: Notify::new(),
        }
    }

    /// Whose queue it is.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// From now on frames are addressed to this peer.
    pub(crate) fn joined(&self, peer: PeerId) {
        let _ = self.peer.set(peer);
    }

    /// The client has this identity from now on: with its API key, the connection ends.
    pub(crate) fn came_with(&self, identity: &Identity) {
        lock(&self.credential).clone_from(&identity.credential);
    }

    /// Whether this is the API key that the client showed last.
    pub(crate) fn has_credential(&self, credential: &str) -> bool {
        lock(&self.credential).as_deref() == Some(credential)
    }

    /// From now on the client takes payloads of so many bytes; `None` for any.
    pub(crate) fn takes(&self, bytes: Option<NonZeroU64>) {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes.get()).ok());
        self.longest.store(bytes.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Bytes of the longest payload that the client takes. Whoever queues what may be long asks first.
    pub(crate) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// The peer's name, empty before it joined.
    pub(crate) fn peer(&self) -> &str {
        self.peer.get().map(|peer| &*peer.0).unwrap_or_default()
    }

    /// Queues a frame; `false` when the connection ends.
    pub(crate) fn push(&self, kind: Kind, payload: Bytes) -> bool {
        let bytes = payload.len();
        let pushed = self.push_frame(Frame::binary(payload));
        if pushed {
            self.metrics.sent(kind, bytes);
        }
        pushed
    }

    /// Queues a frame without counting it; `false` when the connection ends.
    pub(crate) fn push_frame(&self, frame: Frame) -> bool {
        match self.offer(frame) {
            Offered::Taken => true,
            Offered::Gone => false,
            Offered::Full => {
                let detail = format!("{} bytes are queued", lock(&self.state).held());
                self.end(Ending::Now(Close::because(CloseCode::SlowReader, detail)));
                false
            }
        }
    }

    /// Queues a frame if there is room, without counting it.
    pub(crate) fn offer(&self, frame: Frame) -> Offered {
        let bytes = frame.len();
        self.queue(frame, |held| held == 0 || held + bytes <= self.limit)
    }

    /// Queues a frame unless the queue is half full: whether it was queued. Not counted.
    pub(crate) fn push_unless_half_full(&self, frame: Frame) -> bool {
        let bytes = frame.len();
        self.queue(frame, |held| held + bytes <= self.limit / 2) == Offered::Taken
    }

    /// Queues a frame if there is room beside the bytes that are held.
    fn queue(&self, frame: Frame, has_room: impl FnOnce(usize) -> bool) -> Offered {
        let waker = {
            let mut state = lock(&self.state);
            if state.over || state.ending.is_some() {
                return Offered::Gone;
            }
            if !has_room(state.held()) {
                return Offered::Full;
            }
            state.queued += frame.len();
            state.queue.push_back(frame);
            if state.hungry { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Offered::Taken
    }

    /// Waits until so many bytes more leave the queue half empty, or it is empty altogether; `false` when the connection
    /// ends. One whose peer takes nothing at all for as long as `patience` is ended.
    pub(crate) async fn room(&self, bytes: usize, patience: Duration) -> bool {
        loop {
            let moved = self.moved.notified();
            {
                let state = lock(&self.state);
                if state.over || state.ending.is_some() {
                    return false;
                }
                let held = state.held();
                if held == 0 || held + bytes <= self.limit / 2 {
                    return true;
                }
            }
            if timeout(patience, moved).await.is_err() {
                let detail = format!("nothing was read for {} ms", patience.as_millis());
                self.end(Ending::Now(Close::because(CloseCode::SlowReader, detail)));
            }
        }
    }

    /// Queues an ephemeral message unless the queue is half full.
    pub(crate) fn push_ephemeral(&self, payload: Bytes) {
        let bytes = payload.len();
        if self.push_unless_half_full(Frame::binary(payload)) {
            self.metrics.sent(Kind::Ephemeral, bytes);
            self.metrics.ephemera_forwarded.inc();
        } else {
            self.metrics.ephemera_dropped.inc();
        }
    }

    /// The connection is to end. The first to say so decides how, except that "at once" overrules "after finishing".
    pub(crate) fn end(&self, ending: Ending) {
        let waker = lock(&self.state).end(ending);
        if let Some(waker) = waker {
            waker.wake();
        }
        self.moved.notify_waiters();
    }

    /// For the connection's task: how to end if that was decided, else frames into `batch` when `hungry`.
    pub(crate) fn poll_take(
        &self,
        hungry: bool,
        batch: &mut VecDeque<Frame>,
        context: &Context<'_>,
    ) -> Poll<Option<Ending>> {
        let mut state = lock(&self.state);
        if let Some(ending) = state.ending.take() {
            state.over = matches!(ending, Ending::Now(_));
            return Poll::Ready(Some(ending));
        }
        if hungry && !state.queue.is_empty() {
            std::mem::swap(&mut state.queue, batch);
            state.writing = std::mem::take(&mut state.queued);
            return Poll::Ready(None);
        }
        state.hungry = hungry;
        if !state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// For the connection's task: so many bytes were written, or all that were taken.
    pub(crate) fn written(&self, bytes: usize, all: bool) {
        let mut state = lock(&self.state);
        state.writing = if all { 0 } else { state.writing.saturating_sub(bytes) };
        drop(state);
        self.moved.notify_waiters();
    }

    /// Whether nothing waits to be taken.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).queue.is_empty()
    }

    /// For the connection's task: nothing is queued any more, and what was is forgotten.
    pub(crate) fn over(&self) {
        let mut state = lock(&self.state);
        state.over = true;
        state.queue = VecDeque::new();
        state.waker = None;
        drop(state);
        self.moved.notify_waiters();
    }

    /// Changes whose heads the peer wants to hear of. Which were really added; `false` when some were too many.
    pub(crate) fn subscribe(&self, add: Vec<StorageId>, remove: &[StorageId]) -> (Vec<StorageId>, bool) {
        let mut state = lock(&self.state);
        let known = &mut state.subscriptions;
        remove.iter().for_each(|storage| {
            known.remove(storage);
        });
        let mut complete = true;
        let added = add
            .into_iter()
            .filter(|storage| {
                let room = known.len() < limits::REMOTE_SUBSCRIPTIONS;
                complete &= room || known.contains(storage);
                room && known.insert(storage.clone())
            })
            .collect();
        (added, complete)
    }

    /// All storages that the peer wants to hear of.
    pub(crate) fn subscriptions(&self) -> Vec<StorageId> {
        lock(&self.state).subscriptions.iter().cloned().collect()
    }
}

impl State {
    /// Bytes that are not written yet.
    fn held(&self) -> usize {
        self.queued + self.writing
    }

    fn end(&mut self, ending: Ending) -> Option<Waker> {
        let overrules = matches!((&self.ending, &ending), (Some(Ending::Finish(_)), Ending::Now(_)));
        if self.over || (self.ending.is_some() && !overrules) {
            return None;
        }
        if matches!(ending, Ending::Now(_)) {
            self.queue = VecDeque::new();
            self.queued = 0;
        }
        self.ending = Some(ending);
        self.waker.take()
    }
}

#[cfg(test)]
mod tests;
