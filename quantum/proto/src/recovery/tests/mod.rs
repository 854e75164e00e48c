//! Loss recovery as a whole, in virtual time.

mod handshake;
mod network;
mod scenarios;
mod timers;

use smallvec::SmallVec;

use super::*;
use crate::{bbr::Snapshot, frame::Block, types::Level};

/// A packet of 1,000 bytes that asks for an acknowledgement, sent so many nanoseconds after the origin.
pub(super) fn packet(number: u64, sent_at: u64) -> SentPacket {
    SentPacket {
        level: Level::Application,
        number: PacketNumber(number),
        sent_at: Time::from_nanos(sent_at),
        size: 1_000,
        asks_for_ack: true,
        interactive: false,
        copies: 0,
        frames: SmallVec::new(),
        snapshot: Snapshot::default(),
    }
}

type Numbers = &'static [u64];
/// First and last, from the largest down.
type Blocks = &'static [(u64, u64)];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

const fn n(number: u64) -> PacketNumber {
    PacketNumber(number)
}

/// An ACK frame with these blocks.
fn ack(blocks: &[(u64, u64)]) -> Ack {
    let blocks = blocks
        .iter()
        .map(|&(first, last)| Block {
            first: n(first),
            last: n(last),
        })
        .collect();
    Ack {
        blocks,
        ..Ack::default()
    }
}

fn numbers(packets: &[SentPacket]) -> Vec<u64> {
    packets.iter().map(|packet| packet.number.0).collect()
}

/// A recovery under test in its application space, confirmed, RTT assumed 100 ms, acknowledgements not delayed.
struct Bench {
    recovery: Recovery,
    space: Space,
}

impl Bench {
    fn new() -> Self {
        let mut recovery = Recovery::new(ms(100));
        recovery.on_confirmed();
        Self {
            recovery,
            space: Space::Application,
        }
    }

    /// As [`Self::new`], with an RTT of exactly 80 ms (sample, and no variation left).
    fn settled() -> Self {
        let mut bench = Self::new();
        for _ in 0..100 {
            bench.recovery.rtt.on_sample(ms(80), Duration::ZERO);
        }
        bench
    }

    fn send(&mut self, now: u64) -> u64 {
        let number = self.recovery.next_number(self.space).0;
        self.recovery.on_sent(self.space, packet(number, now * 1_000_000));
        number
    }

    fn send_many(&mut self, now: u64, count: u64) {
        for _ in 0..count {
            self.send(now);
        }
    }

    /// A packet that holds these frames, and asks or does not.
    fn send_frames(&mut self, now: u64, asks_for_ack: bool, frames: &[SentFrame]) {
        let number = self.recovery.next_number(self.space).0;
        let frames = SmallVec::from_slice(frames);
        self.recovery.on_sent(
            self.space,
            SentPacket {
                asks_for_ack,
                frames,
                ..packet(number, now * 1_000_000)
            },
        );
    }

    fn try_ack(&mut self, now: u64, below: u64, frame: Option<&Ack>) -> Result<Outcome, TransportError> {
        let mut outcome = Outcome::default();
        self.recovery
            .on_ack(at(now), self.space, n(below), frame, &mut outcome)?;
        Ok(outcome)
    }

    fn ack(&mut self, now: u64, below: u64, blocks: &[(u64, u64)]) -> Outcome {
        self.try_ack(now, below, Some(&ack(blocks)))
            .expect("an honest acknowledgement")
    }

    fn timeout(&mut self, now: u64) -> Outcome {
        let mut outcome = Outcome::default();
        self.recovery.on_timeout(at(now), &mut outcome);
        outcome
    }

    fn timer_ms(&self) -> Option<u64> {
        self.recovery.timeout().map(|at| at.as_nanos() / 1_000_000)
    }
}
