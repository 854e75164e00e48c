//! Copies of the interactive messages that were in flight without protection when the loss of a path became known.
//!
//! Protection begins with the first report of a loss. What was sent in the round trip before that report has none, and where it is lost a
//! retransmission comes more than a round trip late; a copy that goes out at the report comes up to a round trip sooner.
//!
//! Owns the chunks to copy. Inputs: the beginning of protection, its end. Effects: chunks for packets of their own, and when.
//! Invariants: only what is interactive is copied, and once; at most [`CHUNKS_MAX`] chunks and [`BYTES_MAX`] bytes, and no more than half the
//! congestion window, spread over a part of the round trip and at no more than twice the pacer's rate; no copy goes out that would bring what is in
//! flight above one and a half windows, nor one whose time is long past; and of [`REST`] packets in a row no two belong to different rescues, whatever a peer
//! pretends to have lost.
//! On failure: a copy that is lost, or does not fit, leaves its message to retransmission.

use std::{collections::VecDeque, time::Duration};

use crate::{
    channel::Chunk,
    connection::{
        Connection,
        packet::{Builder, room},
    },
    fec::MIN_RTT,
    frame::message_header_len,
    header::Flags,
    number::PacketNumber,
    recovery::SentFrame,
    time::Time,
    types::Space,
};

const CHUNKS_MAX: usize = 256;
const BYTES_MAX: u64 = 64 * 1024;
/// Packets from one rescue to the next: as many as an estimate of loss takes to fade.
const REST: u64 = 1_500;
/// The part of a round trip in which a reported loss may turn out to be reordering, and the part over which the copies are spread then. Each message
/// that was lost comes later by so much.
const PART: u32 = 16;
/// Parts of the round trip over which the copies are spread at the most, where the path is slow: half of it, so that all but the oldest still come
/// well before a retransmission.
const PARTS_MAX: u32 = 8;
/// How much faster than the pacer's rate they may go: what they protect is paid for by what follows.
const HASTE: u64 = 2;
/// Bytes of messages that surely fit a packet, for spreading them.
const PACKET_BYTES: u64 = 1_100;

#[derive(Default)]
pub(super) struct Rescue {
    chunks: VecDeque<Chunk>,
    /// When the next packet of them goes out, and how long after it another.
    at: Time,
    spacing: Duration,
    /// What did not go out until then is given up.
    until: Time,
    /// The first packet that may begin another, which what was never copied does not put off.
    next: PacketNumber,
}

impl Rescue {
    /// `chunks` were in flight, oldest first; copies of `budget` bytes of them are to go out. `rate`: the pacer's.
    fn begin(&mut self, now: Time, rtt: Duration, rate: u64, mut chunks: VecDeque<Chunk>, budget: u64) {
        let (part, rate) = (rtt / PART, rate.max(1) * HASTE);
        let budget = budget
            .min(BYTES_MAX)
            .min(((part * PARTS_MAX).as_secs_f64() * rate as f64) as u64);
        let mut bytes: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        // The oldest have the least to win.
        while chunks.len() > CHUNKS_MAX || bytes > budget {
            bytes -= chunks.pop_front().map_or(bytes, |chunk| u64::from(chunk.len));
        }
        let spread = part.max(Duration::from_secs_f64(bytes as f64 / rate as f64));
        self.chunks = chunks;
        self.at = now + part;
        self.spacing = spread / (1 + bytes / PACKET_BYTES) as u32;
        // A timer may be late by a part.
        self.until = self.at + spread + part;
    }

    /// Packet `number` holds copies.
    fn on_copied(&mut self, number: PacketNumber) {
        // A timer that was late does not stretch the rescue.
        self.at += self.spacing;
        self.next = PacketNumber(number.0 + REST);
    }

    /// Whether the packet may begin one.
    fn may_begin(&self, number: PacketNumber) -> bool {
        number >= self.next
    }

    /// The loss was none.
    pub(super) fn give_up(&mut self) {
        self.chunks = VecDeque::new();
    }

    /// A packet of copies is to go out now.
    fn is_due(&self, now: Time) -> bool {
        self.due().is_some_and(|at| at <= now)
    }

    pub(super) fn due(&self) -> Option<Time> {
        (!self.chunks.is_empty()).then_some(self.at)
    }

    /// What waits, with its bound.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.chunks.len(), CHUNKS_MAX)
    }
}

impl Connection {
    /// Protection begins: what is in flight gets it too, unless its fate is known before a copy can help.
    pub(super) fn begin_rescue(&mut self, now: Time) {
        let (rtt, number) = (
            self.recovery.rtt().smoothed,
            self.recovery.next_number(Space::Application),
        );
        if rtt < MIN_RTT || !self.protection.rescue.may_begin(number) {
            return;
        }
        let at = now + rtt / PART;
        let unprotected = self.recovery.in_flight(Space::Application);
        let chunks = unprotected
            .filter(|packet| packet.interactive && packet.sent_at + rtt > at)
            .flat_map(|packet| &packet.frames)
            .filter_map(|frame| match frame {
                SentFrame::Message(chunk) if self.outbox.is_interactive(*chunk) => Some(*chunk),
                _ => None,
            })
            .collect();
        let budget = self.copies_allowed();
        let rate = self.bbr.pacing_rate();
        self.protection.rescue.begin(now, rtt, rate, chunks, budget);
    }

    /// Bytes that may be added to what is in flight: up to one and a half times the window, as with interactive messages.
    fn copies_allowed(&self) -> u64 {
        let window = self.bbr.window();
        (window + window / 2)
            .saturating_sub(self.recovery.bytes_in_flight())
            .min(window / 2)
    }

    /// Whether a packet of copies is to go out now, in a datagram of at most `limit` bytes. What was acknowledged meanwhile needs none, and what the
    /// path takes no longer is given up.
    pub(super) fn rescues(&mut self, now: Time, limit: usize) -> bool {
        let largest = room(self.datagram_limit());
        let allowed = self.copies_allowed();
        let rescue = &mut self.protection.rescue;
        if !rescue.is_due(now) {
            return false;
        }
        if now > rescue.until {
            rescue.give_up();
            return false;
        }
        let useless = |chunk: &mut Chunk| frame_len(chunk) > largest || self.outbox.unacked(*chunk).is_none();
        while rescue.chunks.pop_front_if(useless).is_some() {}
        let Some(next) = rescue.chunks.front() else {
            return false;
        };
        let goes = frame_len(next) <= room(limit) && limit as u64 <= allowed;
        if !goes {
            rescue.at = now + rescue.spacing;
        }
        goes
    }

    /// As many copies as there is room for. Where others took it all, they wait for the next packet.
    pub(super) fn put_rescue(&mut self, packet: &mut Builder<'_>) {
        let mut put = false;
        while let Some(chunk) = self
            .protection
            .rescue
            .chunks
            .pop_front_if(|chunk| frame_len(chunk) <= packet.room())
        {
            if let Some(data) = self.outbox.unacked(chunk) {
                self.put_copy(packet, chunk, &data);
                put = true;
            }
        }
        if put {
            packet.flags = packet.flags.with(Flags::URG);
            self.protection.rescue.on_copied(packet.number);
        }
    }
}

fn frame_len(chunk: &Chunk) -> usize {
    let len = chunk.len as usize;
    len + message_header_len(chunk.channel, chunk.id, chunk.offset, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ChannelId, Delivery, MessageId};

    const RTT: Duration = Duration::from_millis(160);

    fn chunks(count: u64, len: u32) -> VecDeque<Chunk> {
        let chunk = |id| Chunk {
            channel: ChannelId(1),
            delivery: Delivery::Unordered,
            id: MessageId(id),
            offset: 0,
            len,
            fin: true,
        };
        (0..count).map(chunk).collect()
    }

    /// At a rate that bounds nothing.
    fn begun(count: u64, len: u32, budget: u64) -> Rescue {
        begun_at(1_000_000_000, count, len, budget)
    }

    fn begun_at(rate: u64, count: u64, len: u32, budget: u64) -> Rescue {
        let mut rescue = Rescue::default();
        rescue.begin(Time::ZERO, RTT, rate, chunks(count, len), budget);
        rescue
    }

    #[test]
    fn the_oldest_give_way_to_the_bounds() {
        for (count, len, budget, left) in [
            (100, 200, 20_000, 100),
            (100, 200, 19_999, 99),
            (1_000, 1, 20_000, CHUNKS_MAX),
            (3, 200, 100, 0),
        ] {
            let rescue = begun(count, len, budget);
            assert_eq!(rescue.kept(), (left, CHUNKS_MAX));
            assert!(rescue.chunks.back().is_none_or(|last| last.id.0 == count - 1));
            assert_eq!(rescue.due().is_some(), left > 0);
        }
    }

    #[test]
    fn copies_wait_for_reordering_and_are_spread() {
        let mut rescue = begun(100, 200, 20_000);
        assert_eq!(rescue.due(), Some(Time::ZERO + RTT / PART));
        assert!(rescue.spacing * 19 <= RTT / PART && rescue.spacing * 21 >= RTT / PART);
        assert!(!rescue.is_due(Time::ZERO));
        rescue.give_up();
        assert_eq!(rescue.due(), None);
    }

    #[test]
    fn a_late_timer_does_not_stretch_it() {
        let mut rescue = begun(100, 200, 20_000);
        let (first, spacing) = (rescue.at, rescue.spacing);
        rescue.on_copied(PacketNumber(7));
        rescue.on_copied(PacketNumber(8));
        // However late they went out.
        assert_eq!(rescue.due(), Some(first + spacing * 2));
        assert!(rescue.until <= Time::ZERO + RTT / 4);
    }

    #[test]
    fn copies_go_at_most_twice_as_fast_as_the_pacer_lets_go() {
        // 200,000 bytes a second are 2,000 in a part of 10 ms.
        for (bytes, left, spread) in [
            (1_000, 1_000, 10),
            (4_000, 4_000, 20),
            (16_000, 16_000, 80),
            (20_000, 16_000, 80),
        ] {
            let rescue = begun_at(100_000, bytes / 200, 200, 20_000);
            assert_eq!(
                rescue.chunks.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>(),
                left
            );
            let packets = 1 + (left / PACKET_BYTES) as u32;
            let spread = Duration::from_millis(spread);
            assert_eq!(rescue.spacing, spread / packets, "{bytes}");
            assert_eq!(rescue.until, Time::ZERO + RTT / PART * 2 + spread, "{bytes}");
        }
    }

    #[test]
    fn only_what_was_copied_puts_the_next_rescue_off() {
        let mut rescue = begun(1, 200, 20_000);
        assert!(rescue.may_begin(PacketNumber(7)), "nothing was copied yet");
        rescue.on_copied(PacketNumber(7));
        assert!(!rescue.may_begin(PacketNumber(7 + REST - 1)));
        assert!(rescue.may_begin(PacketNumber(7 + REST)));
        assert!(Rescue::default().may_begin(PacketNumber(0)));
    }
}
