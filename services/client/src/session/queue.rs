//! The changes of one document that the server has not acknowledged.
//!
//! Owns: their order, which of them are on their way, and which are stored but wait for earlier ones to be.
//! Invariants: each change is in the queue once; changes leave at the front only, in the order in which they came, except
//! those that are doomed.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};

use aetherflow_schema::{
    id::{ChangeHash, Offset},
    locks::Fencing,
    native::RequestId,
};
use bytes::Bytes;

use super::io::{NewChange, Refusal};
use crate::receipt::Tier;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// The number of each change; those in `entries` rise.
    numbers: HashMap<ChangeHash, u64>,
    next_number: u64,
    /// No entry before this one waits to be sent.
    scan_from: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    change: NewChange,
    state: State,
    /// To be sent by itself, since one of those it was sent with is invalid.
    alone: bool,
    /// It may have been stored unheard.
    unsure: bool,
    /// The server's state had it at this offset, on this connection.
    held: Option<Offset>,
    /// Why it is [`State::Doubted`].
    refusal: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Sent(RequestId),
    Stored(Offset, Tier),
    /// The server refuses it, and may have it all the same.
    Doubted,
}

/// How much may go into one Submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchLimits {
    pub(super) changes: usize,
    /// A longer change goes by itself.
    pub(super) bytes: usize,
    /// A longer change is not taken.
    pub(super) change_bytes: usize,
}

/// What to submit next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Batch {
    Nothing,
    /// These, which count as sent from now on; all made under the lock with this token, if it was one.
    Submit(Vec<(ChangeHash, Bytes)>, Option<Fencing>),
    /// Nobody takes this one.
    TooLarge(ChangeHash, usize),
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether something waits to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        let rest = self.entries.iter().skip(self.scan_from);
        rest.into_iter().any(|entry| entry.state == State::Waiting)
    }

    /// Whether it is to be found out if the server has something that it refuses.
    pub(super) fn has_doubts(&self) -> bool {
        self.entries.iter().any(|entry| entry.state == State::Doubted)
    }

    /// Whether something that was made under the lock with this token has no outcome.
    pub(super) fn has_made_under(&self, fencing: Fencing) -> bool {
        self.entries.iter().any(|entry| entry.change.fencing == Some(fencing))
    }

    pub(super) fn has(&self, hash: &ChangeHash) -> bool {
        self.numbers.contains_key(hash)
    }

    /// All changes.
    pub(super) fn hashes(&self) -> impl Iterator<Item = ChangeHash> {
        self.entries.iter().map(|entry| entry.change.hash)
    }

    /// Adds a change, which may have been stored unheard; `false` if it is here already.
    pub(super) fn push(&mut self, change: NewChange, unsure: bool) -> bool {
        if self.has(&change.hash) {
            return false;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(change.hash, number);
        self.entries.push_back(Entry {
            number,
            change,
            state: State::Waiting,
            alone: false,
            unsure,
            held: None,
            refusal: None,
        });
        true
    }

    /// Takes what may be sent as this request.
    pub(super) fn batch(&mut self, request: RequestId, limits: BatchLimits) -> Batch {
        let waits = |entry: &Entry| entry.state == State::Waiting;
        let skipped = self
            .entries
            .iter()
            .skip(self.scan_from)
            .take_while(|entry| !waits(entry));
        self.scan_from += skipped.count();
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut fencing = None;
        for entry in self.entries.iter_mut().skip(self.scan_from) {
            let length = entry.change.bytes.len();
            if !waits(entry) || batch.len() >= limits.changes {
                break;
            }
            if length > limits.change_bytes && batch.is_empty() {
                return Batch::TooLarge(entry.change.hash, length);
            }
            let fits = bytes + length <= limits.bytes && length <= limits.change_bytes;
            if !batch.is_empty() && (!fits || entry.alone || entry.change.fencing != fencing) {
                break;
            }
            fencing = entry.change.fencing;
            bytes += length;
            entry.state = State::Sent(request);
            batch.push((entry.change.hash, entry.change.bytes.clone()));
            if entry.alone {
                break;
            }
        }
        if batch.is_empty() {
            Batch::Nothing
        } else {
            Batch::Submit(batch, fencing)
        }
    }

    /// These were sent with the request and are stored.
    pub(super) fn stored(
        &mut self,
        request: RequestId,
        places: impl IntoIterator<Item = (ChangeHash, Offset)>,
        tier: Tier,
    ) {
        for (hash, offset) in places {
            if let Some(entry) = self.entry(&hash)
                && entry.state == State::Sent(request)
            {
                entry.state = State::Stored(offset, tier);
            }
        }
    }

    /// The server's log has this one there.
    pub(super) fn found(&mut self, hash: &ChangeHash, offset: Offset) {
        if let Some(entry) = self.entry(hash) {
            entry.held = Some(offset);
            // The answer says more, if there is to be one.
            if matches!(entry.state, State::Waiting | State::Doubted) {
                entry.state = State::Stored(offset, Tier::Durable);
            }
        }
    }

    /// The server's state has this one, at the offset or before: it is asked for the place, unless it refuses to say.
    pub(super) fn held(&mut self, hash: &ChangeHash, offset: Offset) {
        if let Some(entry) = self.entry(hash) {
            entry.held = entry.held.or(Some(offset));
            if entry.state == State::Doubted {
                entry.state = State::Stored(offset, Tier::Durable);
            }
        }
    }

    /// The server refuses these: those that are to be taken out. Not among them is what the server has, and, if there is a
    /// way to find out, what it may have.
    pub(super) fn refuse(&mut self, hashes: &[ChangeHash], refusal: &Refusal, find_out: bool) -> Vec<ChangeHash> {
        let mut refused = Vec::new();
        for hash in hashes {
            let Some(entry) = self.entry(hash) else {
                continue;
            };
            if let Some(offset) = entry.held {
                entry.state = State::Stored(offset, Tier::Durable);
            } else if entry.unsure && find_out {
                entry.state = State::Doubted;
                entry.refusal = Some(refusal.clone());
            } else {
                refused.push(*hash);
            }
        }
        refused
    }

    /// The doubts that are left, and which are none any more: why the server refuses these.
    pub(super) fn doubts(&self) -> Vec<(ChangeHash, Refusal)> {
        let doubted = self.entries.iter().filter(|entry| entry.state == State::Doubted);
        doubted
            .filter_map(|entry| Some((entry.change.hash, entry.refusal.clone()?)))
            .collect()
    }

    /// These were sent with the request and have to be sent again; each by itself, if so. `unsure`: they may be stored.
    pub(super) fn send_again(&mut self, request: RequestId, hashes: &[ChangeHash], alone: bool, unsure: bool) {
        for hash in hashes {
            if let Some(entry) = self.entry(hash)
                && entry.state == State::Sent(request)
            {
                entry.state = State::Waiting;
                entry.alone |= alone;
                entry.unsure |= unsure;
            }
        }
        self.scan_from = 0;
    }

    /// Nothing that was sent will be answered, and no doubt dispelled. What was answered and waits for those before it is sent
    /// again as well, and that the server had something counts no more than that it may: the one that comes back may have lost
    /// it, and nobody else would notice.
    pub(super) fn send_all_again(&mut self) {
        for entry in &mut self.entries {
            let was_held = entry.held.take().is_some();
            entry.unsure |= was_held || entry.state != State::Waiting;
            entry.state = State::Waiting;
        }
        self.scan_from = 0;
    }

    /// Takes the next change that is stored, as are all before it.
    pub(super) fn settle(&mut self) -> Option<(ChangeHash, Offset, Tier)> {
        let State::Stored(offset, tier) = self.entries.front()?.state else {
            return None;
        };
        let entry = self.entries.pop_front()?;
        self.scan_from = self.scan_from.saturating_sub(1);
        self.numbers.remove(&entry.change.hash);
        Some((entry.change.hash, offset, tier))
    }

    /// Takes out these changes and all that depend on them, in order.
    pub(super) fn doom(&mut self, hashes: &[ChangeHash]) -> Vec<ChangeHash> {
        let mut doomed: HashSet<ChangeHash> = hashes.iter().copied().collect();
        loop {
            let before = doomed.len();
            for entry in &self.entries {
                if entry.change.deps.iter().any(|dep| doomed.contains(dep)) {
                    doomed.insert(entry.change.hash);
                }
            }
            if doomed.len() == before {
                break;
            }
        }
        let mut out = Vec::new();
        self.entries.retain(|entry| {
            let stays = !doomed.contains(&entry.change.hash);
            if !stays {
                out.push(entry.change.hash);
            }
            stays
        });
        for hash in &out {
            self.numbers.remove(hash);
        }
        self.scan_from = 0;
        out
    }

    fn entry(&mut self, hash: &ChangeHash) -> Option<&mut Entry> {
        let number = *self.numbers.get(hash)?;
        let at = self.entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
        self.entries.get_mut(at)
    }
}
