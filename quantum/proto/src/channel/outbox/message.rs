//! A message on its way, and the messages of one channel and kind.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use crate::{
    channel::{cost, spans::Spans},
    types::Priority,
};

/// A message is not cut to use up less room than this: the fields of a frame would outweigh its bytes.
pub(super) const MIN_FRAGMENT: usize = 64;

/// A message from `send` until it is acknowledged.
///
/// Bytes below `sent` went out at least once. `acked` and `lost` are disjoint subsets of those; what is in neither is in flight.
/// Both stay empty for a message in one chunk that is not lost. Afterwards only `done` says something: the bytes are released.
#[derive(Debug)]
pub(super) struct Outgoing {
    data: Bytes,
    sent: u32,
    /// The credit for all of it is taken.
    pub(super) paid: bool,
    /// Acknowledged in full.
    pub(super) done: bool,
    /// It stands in the queue of lost messages.
    pub(super) queued: bool,
    /// It has no bytes, and the chunk that says so is lost.
    lost_empty: bool,
    pub(super) replay_safe: bool,
    pub(super) priority: Priority,
    acked: Spans,
    lost: Spans,
}

impl Outgoing {
    /// `data` is shorter than 4 GiB.
    pub(super) fn new(data: Bytes, priority: Priority, replay_safe: bool) -> Self {
        Self {
            data,
            sent: 0,
            paid: false,
            done: false,
            queued: false,
            lost_empty: false,
            replay_safe,
            priority,
            acked: Spans::default(),
            lost: Spans::default(),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.data.len() as u32
    }

    pub(super) fn cost(&self) -> u64 {
        cost(self.data.len())
    }

    pub(super) fn bytes(&self, range: Range<u32>) -> Bytes {
        self.data.slice(range.start as usize..range.end as usize)
    }

    /// Every byte went out at least once. (A message without bytes goes out as well: to be asked after that.)
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.len()
    }

    pub(super) fn has_lost(&self) -> bool {
        self.lost_empty || !self.lost.is_empty()
    }

    /// The next bytes that never went out; `None` when the budget from there on is too small to begin with them.
    pub(super) fn take_fresh(&mut self, budget: impl FnOnce(u32) -> usize) -> Option<Range<u32>> {
        let range = cut(self.sent..self.len(), budget(self.sent))?;
        self.sent = range.end;
        Some(range)
    }

    /// The next lost bytes; `None` when there are none or the budget is too small.
    pub(super) fn take_lost(&mut self, budget: impl FnOnce(u32) -> usize) -> Option<Range<u32>> {
        if std::mem::take(&mut self.lost_empty) {
            return Some(0..0);
        }
        let lost = self.lost.first()?;
        let budget = budget(lost.start);
        let range = cut(lost, budget)?;
        self.lost.remove(&range);
        Some(range)
    }

    /// `true` when this made the message done.
    pub(super) fn on_acked(&mut self, range: Range<u32>) -> bool {
        if self.done {
            return false;
        }
        let whole = 0..self.len();
        if range != whole {
            self.lost.remove(&range);
            self.acked.insert(range);
            if !self.acked.covers(&whole) {
                return false;
            }
        }
        self.done = true;
        self.lost_empty = false;
        self.data = Bytes::new();
        self.acked = Spans::default();
        self.lost = Spans::default();
        true
    }

    pub(super) fn on_lost(&mut self, range: Range<u32>) {
        if self.done {
            return;
        }
        self.lost_empty = self.data.is_empty();
        self.lost.insert(range.clone());
        for acked in self.acked.overlapping(&range) {
            self.lost.remove(&acked);
        }
    }

    /// `None` when all of it was acknowledged.
    pub(super) fn unacked(&self, range: Range<u32>) -> Option<Bytes> {
        let acked = self.done || (!range.is_empty() && self.acked.covers(&range));
        (!acked).then(|| self.bytes(range))
    }
}

/// As much of the range as the budget takes.
fn cut(range: Range<u32>, budget: usize) -> Option<Range<u32>> {
    let len = range.end - range.start;
    if len as usize <= budget {
        Some(range)
    } else if budget >= MIN_FRAGMENT {
        // Smaller than `len`, so it fits.
        Some(range.start..range.start + budget as u32)
    } else {
        None
    }
}

/// The messages of one channel and kind from the oldest that is not acknowledged on, found by id.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The oldest that is not acknowledged; the next to be queued when there is none.
    pub(super) first: u64,
    messages: VecDeque<Outgoing>,
}

impl Stream {
    /// Its id.
    pub(super) fn push(&mut self, message: Outgoing) -> u64 {
        self.messages.push_back(message);
        self.first + self.messages.len() as u64 - 1
    }

    /// `None` when it is done and gone.
    pub(super) fn find(&self, id: u64) -> Option<&Outgoing> {
        self.messages.get(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn find_mut(&mut self, id: u64) -> Option<&mut Outgoing> {
        self.messages
            .get_mut(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    /// Forgets the oldest message if it is done.
    pub(super) fn pop_done(&mut self) -> bool {
        let done = self.messages.front().is_some_and(|message| message.done);
        if done {
            self.messages.pop_front();
            self.first += 1;
        }
        done
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Outgoing> {
        self.messages.iter()
    }
}
