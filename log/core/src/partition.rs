//! One partition of the log.
//!
//! **Owns** the next offset, the chain, the ids in flight, the commit watermark and those who wait for it.
//! **Inputs**: submissions; what the sequencer said of a frame; what became durable here and on the replicas; failures.
//! **Effects**, in the order in which they must be carried out: publish a frame, store a frame, the watermark moved,
//! somebody's append ended.
//! **Invariants**: offsets are dense; a frame is stored only after it was sequenced; the watermark never falls and never
//! passes what is sequenced and stored on `quorum` replicas; an append is reported as done only at or below the watermark;
//! an operation id is placed at most once.
//! **On failure** everything in flight is reported as unknown (sending it again is safe, by its id) and the partition stops
//! until it is built anew from a recovered [`Tail`].

use std::collections::VecDeque;

use aetherflow_schema::{
    id::{ChainHash, Offset, PartitionId},
    record::{EncodedEntry, Frame, FrameBuilder, FrameHeader, FrameKind},
};

use crate::{in_flight::InFlight, tail::Tail};

/// An append that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// In this partition.
    pub partition: PartitionId,
    /// Where each entry stands, in the order in which they were submitted. An operation that was in the log before
    /// keeps its first offset.
    pub offsets: Vec<Offset>,
}

impl Appended {
    /// The newest of its offsets.
    pub fn last(&self) -> Offset {
        self.offsets.iter().copied().max().unwrap_or_default()
    }
}

/// Why an append failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting; nothing was done.
    #[error("too many appends are waiting")]
    Overloaded,
    /// The log takes no writes; nothing was done.
    #[error("the log takes no writes: {0}")]
    ReadOnly(String),
    /// The write was under way when it failed: it may or may not be in the log. Submitting it again is safe.
    #[error("whether the append was stored is not known: {0}")]
    Unknown(String),
    /// The document's partition is quarantined; nothing was done.
    #[error("{0}")]
    Quarantined(String),
    /// An entry is not acceptable; nothing was done.
    #[error("not acceptable: {0}")]
    Invalid(String),
}

/// When trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// The same append, a little later.
    Same,
    /// Once an operator has repaired the cause.
    AfterRepair,
}

impl AppendError {
    /// When trying again makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Overloaded | Self::Unknown(_) => Retry::Same,
            Self::ReadOnly(_) | Self::Quarantined(_) => Retry::AfterRepair,
            Self::Invalid(_) => Retry::Never,
        }
    }
}

/// What the driver has to do. `T` is whatever it uses to reach the one who waits.
#[derive(Debug)]
pub enum Effect<T> {
    /// Hand the frame to the sequencer; answer with [`Partition::on_sequenced`] or [`Partition::on_refused`].
    Publish(Frame),
    /// Store the frame durably; answer with [`Partition::on_stored`] or [`Partition::on_failure`].
    Store(Frame),
    /// Everything in the partition up to this offset is committed and may be shown.
    Committed(PartitionId, Offset),
    /// An append has ended.
    Complete(T, Result<Appended, AppendError>),
}

/// How many copies make an entry committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Copies needed, this node's own included. At least 1.
    pub needed: usize,
}

struct Waiter<T> {
    ticket: T,
    until: Offset,
    offsets: Vec<Offset>,
}

/// See the [module](self).
pub struct Partition<T> {
    id: PartitionId,
    generation: u32,
    epoch: u64,
    quorum: Quorum,
    next: Offset,
    chain: ChainHash,
    open: Option<FrameBuilder>,
    published: VecDeque<Frame>,
    in_flight: InFlight,
    waiting: VecDeque<Waiter<T>>,
    stored: Offset,
    replicas: Vec<(u64, Offset)>,
    committed: Offset,
    stopped: Option<String>,
}

impl<T> Partition<T> {
    /// Continues a partition from its recovered tail, as the leader of the next epoch.
    pub fn lead(id: PartitionId, generation: u32, tail: Tail, quorum: Quorum) -> Self {
        Self {
            id,
            generation,
            epoch: tail.epoch + 1,
            quorum,
            next: tail.offset.next(),
            chain: tail.chain,
            open: None,
            published: VecDeque::new(),
            in_flight: InFlight::from(tail.offset.next()),
            waiting: VecDeque::new(),
            stored: tail.offset,
            replicas: Vec::new(),
            committed: tail.offset,
            stopped: None,
        }
    }

    /// The commit watermark.
    pub fn committed(&self) -> Offset {
        self.committed
    }

    /// The tail as placed so far: where the next frame continues.
    pub fn placed(&self) -> Tail {
        Tail {
            offset: Offset(self.next.0 - 1),
            chain: self.chain,
            epoch: self.epoch,
        }
    }

    /// Why the partition takes nothing any more.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Places entries of one document. `known` holds, for each entry, where the store already has its operation.
    /// `now_us` is the time in microseconds since 1970 and becomes the commit time of a frame that this entry begins.
    pub fn submit(
        &mut self,
        now_us: u64,
        ticket: T,
        entries: &[EncodedEntry],
        known: &[Option<Offset>],
        effects: &mut Vec<Effect<T>>,
    ) {
        if let Some(reason) = &self.stopped {
            effects.push(Effect::Complete(ticket, Err(AppendError::ReadOnly(reason.clone()))));
            return;
        }
        let mut offsets = Vec::with_capacity(entries.len());
        for (entry, known) in entries.iter().zip(known) {
            offsets.push(match known {
                Some(offset) => *offset,
                None => self.place(now_us, entry, effects),
            });
        }
        let newest = offsets.iter().copied().max().unwrap_or_default();
        if newest <= self.committed {
            effects.push(Effect::Complete(ticket, Ok(self.appended(offsets))));
            return;
        }
        // Waiters are kept in the order of their watermarks, so one who repeats an operation in flight waits for
        // everything placed before it.
        let until = self.waiting.back().map_or(newest, |last| last.until.max(newest));
        self.waiting.push_back(Waiter { ticket, until, offsets });
    }

    fn place(&mut self, now_us: u64, entry: &EncodedEntry, effects: &mut Vec<Effect<T>>) -> Offset {
        let (op, document) = (entry.op_id(), entry.document());
        if let Some(offset) = self.in_flight.find(&op, document) {
            return offset;
        }
        if self.open.as_ref().is_some_and(|open| !open.has_room_for(entry)) {
            self.seal(effects);
        }
        let header = FrameHeader {
            kind: FrameKind::Entries,
            partition: self.id,
            generation: self.generation,
            epoch: self.epoch,
            base: self.next,
            committed_us: now_us,
            count: 0,
            chain_before: self.chain,
            chain_after: self.chain,
        };
        let offset = self.open.get_or_insert_with(|| FrameBuilder::new(header)).push(entry);
        self.next = offset.next();
        self.in_flight.push(op, document.clone());
        offset
    }

    /// Closes the frame being filled and publishes it. The driver calls it when it has handed over all that queued.
    pub fn seal(&mut self, effects: &mut Vec<Effect<T>>) {
        if let Some(open) = self.open.take() {
            let frame = open.finish();
            self.chain = frame.header().chain_after;
            self.published.push_back(frame.clone());
            effects.push(Effect::Publish(frame));
        }
    }

    /// The sequencer has given the oldest published frame its place for good.
    pub fn on_sequenced(&mut self, effects: &mut Vec<Effect<T>>) {
        if let Some(frame) = self.published.pop_front() {
            effects.push(Effect::Store(frame));
        }
    }

    /// Another leader's frame was there first: this one leads no more.
    pub fn on_refused(&mut self, effects: &mut Vec<Effect<T>>) {
        self.on_failure("another node leads this partition now", effects);
    }

    /// Everything up to `offset` is durable on this node.
    pub fn on_stored(&mut self, offset: Offset, effects: &mut Vec<Effect<T>>) {
        self.stored = self.stored.max(offset);
        self.advance(effects);
    }

    /// Everything up to `offset` is durable on another replica.
    pub fn on_replica_stored(&mut self, replica: u64, offset: Offset, effects: &mut Vec<Effect<T>>) {
        match self.replicas.iter_mut().find(|(id, _)| *id == replica) {
            Some((_, known)) => *known = offset.max(*known),
            None => self.replicas.push((replica, offset)),
        }
        self.advance(effects);
    }

    /// A write failed: nothing in flight can be promised, nothing more is taken.
    pub fn on_failure(&mut self, reason: &str, effects: &mut Vec<Effect<T>>) {
        self.stopped.get_or_insert_with(|| reason.to_owned());
        self.open = None;
        self.published.clear();
        self.in_flight = InFlight::from(self.next);
        for waiter in self.waiting.drain(..) {
            let error = AppendError::Unknown(reason.to_owned());
            effects.push(Effect::Complete(waiter.ticket, Err(error)));
        }
    }

    /// The commit rule, all of it: sequenced (a frame is stored only then), stored here, and stored on enough replicas.
    fn advance(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.stopped.is_some() {
            return;
        }
        let mut copies: Vec<Offset> = self.replicas.iter().map(|(_, offset)| *offset).collect();
        copies.push(self.stored);
        copies.sort_unstable_by(|a, b| b.cmp(a));
        let replicated = copies.get(self.quorum.needed.max(1) - 1).copied().unwrap_or_default();
        let committed = replicated.min(self.stored);
        if committed <= self.committed {
            return;
        }
        self.committed = committed;
        effects.push(Effect::Committed(self.id, committed));
        self.in_flight.settle(committed);
        while self.waiting.front().is_some_and(|waiter| waiter.until <= committed) {
            if let Some(waiter) = self.waiting.pop_front() {
                let appended = self.appended(waiter.offsets);
                effects.push(Effect::Complete(waiter.ticket, Ok(appended)));
            }
        }
    }

    fn appended(&self, offsets: Vec<Offset>) -> Appended {
        Appended {
            partition: self.id,
            offsets,
        }
    }
}

#[cfg(test)]
mod tests;
