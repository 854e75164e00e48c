//! Which chunk goes next.
//!
//! Each priority is a [`Class`]: messages with lost bytes, which cost no credit and come first, and [`Lane`]s whose next message may be
//! sent, taken in turn. More urgent classes go first, but one that was passed over [`PATIENCE`] times gets its turn.
//!
//! Credit: a lane that its channel blocks is in no class until the channel wakes it. One that lacks the connection's credit waits in
//! line, first come, first served, or a large message would be starved by small ones; only interactive messages have a line
//! of their own that goes first. A message that has its credit is never held back by one that has none.
//!
//! Invariant, restored by [`Outbox::settle`]: the first lane of each class can be sent from, and its first lost message has lost bytes. Entries
//! further back may be out of date.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::{Channel, Outbox};
use crate::{
    channel::{Chunk, ID_WINDOW},
    types::{ChannelId, Delivery, MessageId, Priority},
};

/// Chunks of more urgent classes in a row that a class with something to send lets pass.
pub(super) const PATIENCE: u8 = 15;

/// From the most urgent down; in the order of the numbers by which classes are found.
const PRIORITIES: [Priority; 3] = [Priority::Interactive, Priority::Normal, Priority::Bulk];

/// The lane of the ordered messages of a channel, behind those of the unordered ones.
const ORDERED: usize = 3;

/// Messages of a channel that go out one after the other, first come, first served.
///
/// Unordered ones have a lane for each priority. The ordered ones share one: none can be delivered before those ahead of it, so to
/// overtake them would win nothing, and could take the credit that they need. Its class is that of the message in front.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Their ids.
    fresh: VecDeque<u64>,
    /// It stands in a class, or waits for the connection's credit.
    ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneId {
    slot: u32,
    lane: usize,
}

impl LaneId {
    fn of(slot: u32, delivery: Delivery, priority: Priority) -> Self {
        let lane = match delivery {
            Delivery::Ordered => ORDERED,
            Delivery::Unordered => priority as usize,
        };
        Self { slot, lane }
    }

    fn delivery(self) -> Delivery {
        if self.lane == ORDERED {
            Delivery::Ordered
        } else {
            Delivery::Unordered
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LostMessage {
    pub(super) slot: u32,
    pub(super) delivery: Delivery,
    pub(super) id: u64,
}

/// What waits with one priority.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// Messages with lost bytes, one chunk of each in turn. Each stands here at most once.
    pub(super) lost: VecDeque<LostMessage>,
    /// Lanes with something to send, one chunk of each in turn.
    ready: VecDeque<LaneId>,
    /// Chunks of more urgent classes that went out since this one had its turn.
    passed: u8,
}

/// The message in front of a lane.
struct Head {
    id: u64,
    priority: Priority,
    replay_safe: bool,
    /// Credit that it needs: none once it is paid.
    cost: u64,
    /// Its channel's credit and the window of ids let it go.
    allowed: bool,
}

/// In which line those of a class wait for the connection's credit.
fn line(class: Priority) -> usize {
    usize::from(class != Priority::Interactive)
}

impl Channel {
    fn head(&self, lane: usize, delivery: Delivery) -> Option<Head> {
        let id = *self.lanes[lane].fresh.front()?;
        let stream = &self.streams[delivery as usize];
        let message = stream.find(id)?;
        let cost = if message.paid { 0 } else { message.cost() };
        let allowed = message.paid || (id < stream.first + ID_WINDOW && self.credit.covers(cost));
        Some(Head {
            id,
            priority: message.priority,
            replay_safe: message.replay_safe,
            cost,
            allowed,
        })
    }

    /// Names a stretch of a message.
    fn chunk(&self, delivery: Delivery, id: u64, range: Range<u32>) -> Option<(Chunk, Bytes)> {
        let message = self.streams[delivery as usize].find(id)?;
        let (offset, len, fin) = (range.start, range.end - range.start, range.end == message.len());
        let (channel, id) = (self.id, MessageId(id));
        let bytes = message.bytes(range);
        Some((
            Chunk {
                channel,
                delivery,
                id,
                offset,
                len,
                fin,
            },
            bytes,
        ))
    }
}

/// How many bytes may go of a channel's message from an offset on: what naming that place takes is not left for them.
pub(crate) trait Budget: FnOnce(ChannelId, MessageId, u32) -> usize {}

impl<T: FnOnce(ChannelId, MessageId, u32) -> usize> Budget for T {}

impl Outbox {
    /// The most urgent thing that could be sent now, flow control considered.
    pub(crate) fn most_urgent(&self, early: bool) -> Option<Priority> {
        PRIORITIES.into_iter().find(|&class| self.has_next(class, early))
    }

    /// The next bytes of that priority or more urgent; `budget` is how many there may be of those that begin there. Lost bytes come first. `None` as
    /// well when the budget is so small that the next message should rather begin in the next packet.
    pub(crate) fn next(&mut self, at_least: Priority, budget: impl Budget, early: bool) -> Option<(Chunk, Bytes)> {
        let class = self.choose(at_least, early)?;
        let next = if self.next_lost(class, early).is_some() {
            self.take_lost(class, budget)?
        } else {
            self.take_fresh(class, self.next_fresh(class, early)?, budget)?
        };
        self.count_turn(class);
        self.settle();
        Some(next)
    }

    /// A message was queued.
    pub(super) fn enqueue(&mut self, slot: u32, delivery: Delivery, priority: Priority, id: u64) {
        let lane = LaneId::of(slot, delivery, priority);
        self.channels[slot].lanes[lane.lane].fresh.push_back(id);
        self.wake_lane(lane);
    }

    /// The channel got credit, or its window of ids moved on: what it held back may go.
    pub(super) fn wake(&mut self, slot: u32) {
        for lane in 0..=ORDERED {
            self.wake_lane(LaneId { slot, lane });
        }
    }

    /// Restores the module's invariant. Each entry that is taken away was once put there, hence amortised constant time.
    pub(super) fn settle(&mut self) {
        self.grant(0);
        if self.waiting[0].is_empty() {
            self.grant(1);
        }
        for class in PRIORITIES {
            self.settle_lost(class);
            self.settle_ready(class);
        }
    }

    /// Gives the connection's credit to those in this line, as far as it goes.
    fn grant(&mut self, line: usize) {
        while let Some(&lane) = self.waiting[line].front() {
            let head = self.head(lane).filter(|head| head.allowed);
            if head.as_ref().is_some_and(|head| !self.credit.covers(head.cost)) {
                return;
            }
            self.waiting[line].pop_front();
            self.channels[lane.slot].lanes[lane.lane].ready = head.is_some();
            if let Some(head) = head {
                self.pay(lane, &head);
                self.classes[head.priority as usize].ready.push_back(lane);
            }
        }
    }

    fn pay(&mut self, lane: LaneId, head: &Head) {
        self.credit.spend(head.cost);
        let channel = &mut self.channels[lane.slot];
        channel.credit.spend(head.cost);
        if let Some(message) = channel.streams[lane.delivery() as usize].find_mut(head.id) {
            message.paid = true;
        }
    }

    fn settle_lost(&mut self, class: Priority) {
        let queue = &mut self.classes[class as usize].lost;
        while let Some(lost) = queue.front() {
            match self.channels[lost.slot].streams[lost.delivery as usize].find_mut(lost.id) {
                Some(message) if message.has_lost() => return,
                Some(message) => message.queued = false,
                None => {}
            }
            queue.pop_front();
        }
    }

    fn settle_ready(&mut self, class: Priority) {
        while let Some(&lane) = self.classes[class as usize].ready.front() {
            let allowed = match self.head(lane) {
                Some(head) if head.allowed && self.affords(&head) => return,
                Some(head) => head.allowed,
                None => false,
            };
            self.classes[class as usize].ready.pop_front();
            if allowed {
                self.waiting[line(class)].push_back(lane);
            } else {
                self.channels[lane.slot].lanes[lane.lane].ready = false;
            }
        }
    }

    /// The connection's credit covers it, and nobody is before it in line.
    fn affords(&self, head: &Head) -> bool {
        let mut ahead = self.waiting[..=line(head.priority)].iter().flatten();
        head.cost == 0 || (self.credit.covers(head.cost) && ahead.next().is_none())
    }

    fn wake_lane(&mut self, lane: LaneId) {
        if self.channels[lane.slot].lanes[lane.lane].ready {
            return;
        }
        if let Some(head) = self.head(lane).filter(|head| head.allowed) {
            self.channels[lane.slot].lanes[lane.lane].ready = true;
            self.classes[head.priority as usize].ready.push_back(lane);
        }
    }

    fn head(&self, lane: LaneId) -> Option<Head> {
        self.channels[lane.slot].head(lane.lane, lane.delivery())
    }

    /// The class whose turn it is.
    fn choose(&self, at_least: Priority, early: bool) -> Option<Priority> {
        let mut able = PRIORITIES
            .into_iter()
            .filter(|&class| class <= at_least && self.has_next(class, early));
        let most_urgent = able.next()?;
        Some(able.find(|&class| self.is_impatient(class)).unwrap_or(most_urgent))
    }

    fn is_impatient(&self, class: Priority) -> bool {
        self.classes[class as usize].passed >= PATIENCE
    }

    fn count_turn(&mut self, served: Priority) {
        self.classes[served as usize].passed = 0;
        for class in &mut self.classes[served as usize + 1..] {
            let waits = !class.lost.is_empty() || !class.ready.is_empty();
            class.passed = if waits { class.passed.saturating_add(1) } else { 0 };
        }
    }

    fn has_next(&self, class: Priority, early: bool) -> bool {
        self.next_lost(class, early).is_some() || self.next_fresh(class, early).is_some()
    }

    fn next_lost(&self, class: Priority, early: bool) -> Option<LostMessage> {
        let lost = *self.classes[class as usize].lost.front()?;
        let message = self.channels[lost.slot].streams[lost.delivery as usize].find(lost.id)?;
        (!early || message.replay_safe).then_some(lost)
    }

    /// The lane whose turn it is, as its place in the class. Only while packets are early is it searched for: a message that is not
    /// safe to replay holds back those behind it in its lane, but no other lane.
    fn next_fresh(&self, class: Priority, early: bool) -> Option<usize> {
        let ready = &self.classes[class as usize].ready;
        if !early {
            return (!ready.is_empty()).then_some(0);
        }
        let sendable = |head: Head| head.replay_safe && head.allowed && self.affords(&head);
        ready.iter().position(|&lane| self.head(lane).is_some_and(sendable))
    }

    fn take_lost(&mut self, class: Priority, budget: impl Budget) -> Option<(Chunk, Bytes)> {
        let queue = &mut self.classes[class as usize].lost;
        let lost = *queue.front()?;
        let channel = &mut self.channels[lost.slot];
        let message = channel.streams[lost.delivery as usize].find_mut(lost.id)?;
        let range = message.take_lost(|offset| budget(channel.id, MessageId(lost.id), offset))?;
        queue.pop_front();
        message.queued = message.has_lost();
        if message.queued {
            queue.push_back(lost);
        }
        channel.chunk(lost.delivery, lost.id, range)
    }

    /// `place`: of the lane within the class.
    fn take_fresh(&mut self, class: Priority, place: usize, budget: impl Budget) -> Option<(Chunk, Bytes)> {
        let lane = *self.classes[class as usize].ready.get(place)?;
        let head = self.head(lane)?;
        let channel = &mut self.channels[lane.slot];
        let message = channel.streams[lane.delivery() as usize].find_mut(head.id)?;
        let range = message.take_fresh(|offset| budget(channel.id, MessageId(head.id), offset))?;
        if message.is_sent() {
            channel.lanes[lane.lane].fresh.pop_front();
        }
        self.pay(lane, &head);
        let channel = &mut self.channels[lane.slot];
        let next = channel.chunk(lane.delivery(), head.id, range);
        channel.lanes[lane.lane].ready = false;
        self.classes[class as usize].ready.remove(place);
        self.wake_lane(lane);
        next
    }
}
