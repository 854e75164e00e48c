//! One number space: its numbers, its packets, its loss timer.
//!
//! Owns what [`super::Recovery`] keeps apart for each space. Acknowledgements are checked as a whole before anything changes.

use std::time::Duration;

use super::{SentFrame, SentPacket, floor::Floor, sent::Sent, skipped::Skipped};
use crate::{
    error::{CloseCode, TransportError},
    frame::Block,
    number::PacketNumber,
    time::Time,
};

#[derive(Default)]
pub(super) struct PacketSpace {
    /// The next packet's number.
    pub(super) next: PacketNumber,
    skipped: Skipped,
    pub(super) sent: Sent,
    floor: Floor,
    /// The largest number known to have arrived, of a packet that asked or of another.
    pub(super) largest_acked: Option<PacketNumber>,
    /// The largest of those that asked: only what is above gives a sample of the round trip.
    largest_asking: Option<PacketNumber>,
    /// Earlier numbers were sent on another path: they say nothing about the round trip of this one.
    samples_from: PacketNumber,
    /// When the last packet that asked was sent.
    pub(super) last_asking_at: Time,
    /// When the oldest packet in flight will count as lost.
    pub(super) loss_time: Option<Time>,
    repaired: u64,
    ecn_ce: u64,
}

impl PacketSpace {
    pub(super) fn skip(&mut self, to: PacketNumber) {
        if to > self.next {
            self.skipped.push(self.next.0, to.0 - 1);
            self.next = to;
        }
    }

    pub(super) fn on_sent(&mut self, packet: SentPacket) {
        assert!(
            packet.number == self.next,
            "packet {} was sent as number {}",
            self.next,
            packet.number
        );
        if packet.frames.contains(&SentFrame::Floor) {
            // As it was when the frame was written: before this packet got a record and older ones are forgotten.
            self.floor.on_sent(packet.number, self.floor());
            self.skipped.forget_below(self.floor.told().0);
        }
        self.sent.forget(packet.sent_at);
        self.next = packet.number.next();
        if packet.asks_for_ack {
            self.last_asking_at = packet.sent_at;
            self.sent.push(packet);
        }
    }

    /// The smallest number with a record, or the next number.
    pub(super) fn floor(&self) -> PacketNumber {
        self.sent.first().unwrap_or(self.next)
    }

    pub(super) fn wants_floor(&self) -> bool {
        self.floor.is_wanted(self.floor(), self.largest_acked)
    }

    /// Whether the peer may say this.
    pub(super) fn check(&self, acknowledgement: PacketNumber, blocks: &[Block]) -> Result<(), TransportError> {
        let error = |reason| Err(TransportError::new(CloseCode::PROTOCOL, reason));
        if acknowledgement > self.next {
            return error("an acknowledgement of a packet that was not sent");
        }
        // Below the floor that it was told of, the peer need not have received anything.
        let told = self.floor.told();
        if acknowledgement > told && self.skipped.meets(told.0, acknowledgement.0 - 1) {
            return error("an acknowledgement of a number that was left out");
        }
        for block in blocks {
            if block.first > block.last || block.last >= self.next {
                return error("an acknowledgement of a packet that was not sent");
            }
            if self.skipped.meets(block.first.0, block.last.0) {
                return error("an acknowledgement of a number that was left out");
            }
        }
        Ok(())
    }

    /// Settles what the acknowledgement covers; `each` gets the packets, rising, and whether they had been declared lost.
    pub(super) fn settle(
        &mut self,
        acknowledgement: PacketNumber,
        blocks: &[Block],
        mut each: impl FnMut(SentPacket, bool),
    ) {
        if acknowledgement > PacketNumber::ZERO {
            self.sent.acknowledge(0..=acknowledgement.0 - 1, &mut each);
        }
        for block in blocks.iter().rev() {
            self.sent.acknowledge(block.first.0..=block.last.0, &mut each);
        }
        // What is below a floor need not have arrived.
        let below = (acknowledgement > self.floor.told()).then(|| PacketNumber(acknowledgement.0 - 1));
        let above = blocks.iter().map(|block| block.last).max();
        self.largest_acked = self.largest_acked.max(below).max(above);
        self.floor.on_ack(acknowledgement, self.largest_acked);
    }

    /// Whether this packet, the largest newly acknowledged, gives a sample of the round trip.
    pub(super) fn may_sample(&mut self, number: PacketNumber) -> bool {
        let newest = self.largest_asking < Some(number);
        self.largest_asking = self.largest_asking.max(Some(number));
        newest && number >= self.samples_from
    }

    /// What is sent from now on goes another way.
    pub(super) fn on_new_path(&mut self) {
        self.samples_from = self.next;
    }

    /// Declares lost what was overtaken by so many packets or by so much time, and sets the timer for the next.
    pub(super) fn detect(
        &mut self,
        now: Time,
        packets: u64,
        delay: Duration,
        forget_at: Time,
        lost: &mut Vec<SentPacket>,
    ) {
        self.loss_time = None;
        let Some(largest) = self.largest_acked else { return };
        // Numbers and send times rise together: the first packet that is not lost ends the search.
        while let Some(oldest) = self.sent.oldest() {
            if oldest.number >= largest {
                break;
            }
            let due = oldest.sent_at + delay;
            if largest.0 - oldest.number.0 < packets && due > now {
                self.loss_time = Some(due);
                break;
            }
            lost.extend(self.sent.lose_oldest(forget_at));
        }
    }

    /// Declares everything in flight lost.
    pub(super) fn lose_all(&mut self, forget_at: Time, lost: &mut Vec<SentPacket>) {
        self.loss_time = None;
        while let Some(packet) = self.sent.lose_oldest(forget_at) {
            lost.push(packet);
        }
    }

    /// Forgets every packet; the numbers go on.
    pub(super) fn clear(&mut self) {
        self.sent = Sent::default();
        self.loss_time = None;
    }

    /// How many more packets the peer has repaired. It cannot have repaired more than were sent.
    pub(super) fn newly_repaired(&mut self, repaired: u64) -> u64 {
        rise(&mut self.repaired, repaired.min(self.next.0))
    }

    /// How many more packets arrived with CE. There cannot be more of them than were sent; a count that went down is that of an
    /// ACK which was overtaken.
    pub(super) fn newly_marked(&mut self, ecn_ce: u64) -> u64 {
        rise(&mut self.ecn_ce, ecn_ce.min(self.next.0))
    }
}

/// Raises a counter, and says by how much.
fn rise(counter: &mut u64, to: u64) -> u64 {
    let by = to.saturating_sub(*counter);
    *counter += by;
    by
}
