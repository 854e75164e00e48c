//! Chooses the protection of interactive messages from deadline, loss and burst length.
//!
//! Owns the estimates of the path's losses and of the flow of interactive packets.
//! Inputs: fates of packets, interactive packets that go out.
//! Effects: [`Plan`].
//! Invariants: no protection without loss; a plan stays inside its budget of bytes and packets (below).
//!
//! Two means, by how dense the flow is:
//! * **dense** (packets come faster than a block may wait): messages are repeated in later packets, which costs no packets, and at
//!   heavy loss full blocks get parities too;
//! * **sparse**: a packet makes a block of its own, whose parities follow soon; with repetition in the next packets when that is not enough.
//!
//! Candidates are tried in the order of preference: fewer packets first, then fewer bytes. The first is taken that leaves a message lost seldom
//! enough, or else the best that the budget allows. What is in flight when the first loss is reported has no protection: the connection copies it
//! ([`crate::connection`], rescue).

use std::time::Duration;

use smallvec::SmallVec;

use crate::{
    fec::{PARITY_OVERHEAD, SOURCES, flow::Flow, loss::LossEstimate},
    number::PacketNumber,
    time::Time,
};

/// Below this fraction of loss there is no protection.
const MIN_LOSS: f64 = 0.001;
/// With a shorter RTT a retransmission comes in time: no more than a frame of a 60 Hz screen later.
pub(crate) const MIN_RTT: Duration = Duration::from_millis(15);
/// The longest quiet after which a block closes.
const MAX_QUIET: Duration = Duration::from_millis(8);
/// The probability that a message is lost beyond repair, to be aimed at.
const TARGET: f64 = 1.5e-4;
/// Bytes sent per byte without protection, at most, for a dense flow.
const MAX_BYTES: f64 = 3.3;
/// The same for a sparse flow, which is slow by definition.
const MAX_BYTES_SPARSE: f64 = 7.0;
/// Packets sent per packet without protection, at most, for a dense flow.
const MAX_PACKETS: f64 = 1.35;
/// Bytes of an IP packet beyond its messages: 28 (IP, UDP), 32 (header), 16 (tag).
const PACKET_BYTES: f64 = 76.0;
/// Bytes of a message's frame beyond its data.
const FRAME_BYTES: f64 = 8.0;
/// Messages and their repetitions that surely fit a packet.
const PAYLOAD_BYTES: f64 = 1_100.0;

/// How a packet with interactive messages is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Repeat its chunks in the interactive packets this many of them later; rising.
    pub(crate) repeat_after: SmallVec<[u8; 3]>,
    /// Parities when its block closes; 0: it is no source.
    pub(crate) parities: u8,
    /// After this long without another interactive packet the block closes; without a block, the repetitions that wait go out in
    /// packets of their own.
    pub(crate) close_after: Duration,
    /// Time between the parities, against bursts; the first goes out when the block closes.
    pub(crate) spread: Duration,
}

impl Plan {
    /// No protection.
    pub(crate) fn none() -> Self {
        Self {
            repeat_after: SmallVec::new(),
            parities: 0,
            close_after: Duration::ZERO,
            spread: Duration::ZERO,
        }
    }
}

/// Repetitions and parities.
#[derive(Clone, Copy, Debug)]
struct Means {
    repeats: usize,
    parities: usize,
}

const fn means(repeats: usize, parities: usize) -> Means {
    Means { repeats, parities }
}

/// For dense flows; the parities are those of a full block. Parities alone are slower than repetitions: for messages too large to repeat.
const DENSE: [Means; 11] = [
    means(1, 0),
    means(2, 0),
    means(2, 1),
    means(1, 2),
    means(1, 3),
    means(3, 0),
    means(2, 2),
    means(2, 3),
    means(0, 1),
    means(0, 2),
    means(0, 3),
];
/// For sparse flows; the parities are those of one packet.
const SPARSE: [Means; 6] = [
    means(0, 1),
    means(1, 1),
    means(2, 1),
    means(3, 1),
    means(0, 2),
    means(0, 3),
];
/// For a message that no other follows soon.
const LONE: [Means; 3] = [means(0, 1), means(0, 2), means(0, 3)];

/// Watches the path and the flow of messages.
pub(crate) struct Planner {
    loss: LossEstimate,
    flow: Flow,
}

impl Planner {
    pub(crate) fn new() -> Self {
        Self {
            loss: LossEstimate::new(),
            flow: Flow::new(),
        }
    }

    /// A packet's fate is known. In any order, but each outcome's acknowledged packets before its lost ones.
    pub(crate) fn on_fate(&mut self, number: PacketNumber, lost: bool) {
        self.loss.on_fate(number, lost);
        self.flow.on_fate();
    }

    /// To be called before the fates of the same outcome: that many of its acknowledged packets the peer only has by repair.
    pub(crate) fn on_repaired(&mut self, count: u64) {
        self.loss.on_repaired(count);
    }

    /// That many packets that had been declared lost were acknowledged.
    pub(crate) fn on_spurious(&mut self, count: u32) {
        self.loss.on_spurious(count);
    }

    /// A packet with interactive messages goes out, with that many bytes of them, repetitions not counted.
    pub(crate) fn on_interactive(&mut self, now: Time, bytes: usize) {
        self.flow.on_packet(now, bytes);
    }

    /// Whether there is loss enough to protect against.
    pub(crate) fn may_protect(&self) -> bool {
        self.loss.rate() >= MIN_LOSS
    }

    /// Fraction of packets lost of late.
    pub(crate) fn loss(&self) -> f64 {
        self.loss.rate()
    }

    /// Mean length of a burst of losses, in packets.
    pub(crate) fn burst(&self) -> f64 {
        self.loss.burst()
    }

    /// For the packet that [`Self::on_interactive`] was told of last. `rtt`: smoothed.
    pub(crate) fn plan(&self, now: Time, rtt: Duration) -> Plan {
        if self.loss.rate() < MIN_LOSS || rtt < MIN_RTT {
            return Plan::none();
        }
        let quiet = (rtt / 4).min(MAX_QUIET);
        // A repetition must be well ahead of a retransmission, which comes after more than an RTT.
        let deadline = rtt / 2;
        match self.flow.interval(now) {
            Some(interval) if interval <= quiet => self.dense(interval, quiet, deadline),
            Some(interval) if interval <= deadline => self.sparse(quiet, &SPARSE),
            _ => self.sparse(quiet, &LONE),
        }
    }

    fn dense(&self, interval: Duration, quiet: Duration, deadline: Duration) -> Plan {
        let limit = (deadline.as_nanos() / interval.as_nanos().max(1)).clamp(1, 60) as u8;
        let choice = self.choose(&DENSE, |means| {
            let packets = 1.0 + means.parities as f64 / SOURCES as f64 + self.loss.rate();
            let after = self.offsets(means, limit);
            let too_slow = after.len() < means.repeats || means.parities > 0 && usize::from(limit) < SOURCES;
            if too_slow || packets > MAX_PACKETS || self.bytes(means, SOURCES as f64) > MAX_BYTES {
                return None;
            }
            let mut before = 0;
            let lost = after.iter().fold(self.loss.rate(), |lost, &after| {
                let distance = f64::from(after - before) * self.flow.stride();
                before = after;
                lost * self.loss.again(distance)
            });
            // Offsets go from block to block, so each copy has its own chance of repair.
            Some(lost * self.block_failure(means.parities).powi(1 + means.repeats as i32))
        });
        let jump = self.loss.distance(0.25).min(f64::from(limit)) as u32;
        Plan {
            repeat_after: self.offsets(choice, limit),
            parities: choice.parities as u8,
            close_after: quiet,
            spread: if self.is_bursty() {
                interval * jump
            } else {
                Duration::ZERO
            },
        }
    }

    fn sparse(&self, quiet: Duration, candidates: &[Means]) -> Plan {
        let choice = self.choose(candidates, |means| {
            // All that is sent of a message until its last repetition, evenly spaced among what else is sent.
            let copies = means.parities + means.repeats * (1 + means.parities);
            let gap = (self.flow.stride() / (1 + means.parities) as f64).max(1.0);
            let affordable = self.bytes(means, 1.0) <= MAX_BYTES_SPARSE;
            affordable.then(|| self.loss.rate() * self.loss.again(gap).powi(copies as i32))
        });
        Plan {
            repeat_after: (1..=choice.repeats as u8).collect(),
            parities: choice.parities as u8,
            close_after: quiet,
            spread: if self.is_bursty() { quiet } else { quiet / 4 },
        }
    }

    /// The first that leaves no more than [`TARGET`] lost, otherwise the best. `lost` is `None` for what is beyond
    /// the budget or too slow.
    fn choose(&self, candidates: &[Means], lost: impl Fn(Means) -> Option<f64>) -> Means {
        let mut best = (f64::INFINITY, means(0, 0));
        for &means in candidates {
            if !self.fits(means.repeats) {
                continue;
            }
            match lost(means) {
                Some(lost) if lost <= TARGET => return means,
                Some(lost) if lost < best.0 => best = (lost, means),
                _ => {}
            }
        }
        best.1
    }

    /// How far to repeat: over a burst, then over nearly all that is left of its influence. With parities beside them
    /// repetitions go to other blocks.
    fn offsets(&self, means: Means, limit: u8) -> SmallVec<[u8; 3]> {
        let stride = self.flow.stride();
        let first = (self.loss.distance(0.25) / stride).ceil() as u8;
        let further = ((self.loss.distance(0.04) / stride).ceil() as u8).max(2);
        let (first, further) = if means.parities > 0 {
            (first.max(7), further.max(SOURCES as u8))
        } else {
            (first, further)
        };
        let mut offsets = SmallVec::new();
        let mut after = first;
        for _ in 0..means.repeats {
            let clamped = after.min(limit);
            if offsets.last().is_some_and(|&last| last >= clamped) {
                break;
            }
            offsets.push(clamped);
            after = after.saturating_add(further);
        }
        offsets
    }

    /// The probability that a block does not repair one of its lost packets.
    fn block_failure(&self, parities: usize) -> f64 {
        if parities == 0 {
            return 1.0;
        }
        let rate = self.loss.rate();
        let others = SOURCES + parities - 1;
        // Fewer than `parities` of the others are lost: binomial.
        let mut term = (1.0 - rate).powi(others as i32);
        let mut repaired = 0.0;
        for lost in 0..parities {
            repaired += term;
            term *= (others - lost) as f64 / (lost + 1) as f64 * rate / (1.0 - rate);
        }
        let burst_goes_on = self.loss.again(1.0).powi(parities as i32);
        1.0 - repaired * (1.0 - burst_goes_on)
    }

    /// Bytes sent per byte without protection, when `block` packets share the parities.
    fn bytes(&self, means: Means, block: f64) -> f64 {
        let message = self.flow.bytes() + FRAME_BYTES;
        let packet = PACKET_BYTES + message * (1 + means.repeats) as f64;
        let parity = packet + PARITY_OVERHEAD as f64;
        let retransmitted = 1.0 + self.loss.rate();
        (packet * retransmitted + parity * means.parities as f64 / block) / (PACKET_BYTES + message)
    }

    fn fits(&self, repeats: usize) -> bool {
        repeats == 0 || (self.flow.bytes() + FRAME_BYTES) * (1 + repeats) as f64 <= PAYLOAD_BYTES
    }

    fn is_bursty(&self) -> bool {
        self.loss.burst() > 1.5
    }
}

#[cfg(test)]
mod tests;
