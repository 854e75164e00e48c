//! The bottleneck.

use std::time::Duration;

use super::super::Random;
use crate::time::Time;

#[derive(Clone, Copy, Debug)]
pub(in crate::bbr) enum Loss {
    Bernoulli(f64),
    /// Average fraction, and mean length of a burst in packets.
    Bursts(f64, f64),
}

#[derive(Clone, Debug)]
pub(in crate::bbr) struct Link {
    /// Bytes per second.
    rate: f64,
    /// One way.
    pub(super) delay: Duration,
    /// Bytes.
    limit: f64,
    loss: Loss,
    bad: [bool; 2],
    backlog: f64,
    at: Time,
    last: Time,
    since: Time,
    byte_seconds: f64,
    pub(in crate::bbr) packets: u64,
    pub(in crate::bbr) drops: u64,
    pub(in crate::bbr) peak: f64,
    /// At most this much more, packet by packet, so that they overtake each other.
    pub(in crate::bbr) jitter: Duration,
    /// Nothing arrives from then until then.
    pub(in crate::bbr) outage: Option<(Time, Time)>,
}

impl Link {
    /// `queue` in BDP.
    pub(in crate::bbr) fn new(mbit: u64, rtt_ms: u64, queue: f64, loss: Loss) -> Self {
        let rate = mbit as f64 * 125_000.0;
        Self {
            rate,
            delay: Duration::from_millis(rtt_ms) / 2,
            limit: queue * rate * rtt_ms as f64 / 1000.0,
            loss,
            bad: [false; 2],
            backlog: 0.0,
            at: Time::ZERO,
            last: Time::ZERO,
            since: Time::ZERO,
            byte_seconds: 0.0,
            packets: 0,
            drops: 0,
            peak: 0.0,
            jitter: Duration::ZERO,
            outage: None,
        }
    }

    pub(in crate::bbr) fn rate(&self) -> f64 {
        self.rate
    }

    pub(in crate::bbr) fn bdp(&self) -> f64 {
        self.rate * self.delay.as_secs_f64() * 2.0
    }

    pub(super) fn set_rate(&mut self, now: Time, bits: u64) {
        self.advance(now);
        self.rate = bits as f64 / 8.0;
    }

    pub(super) fn advance(&mut self, now: Time) {
        let passed = now.since(self.at).as_secs_f64();
        let left = (self.backlog - self.rate * passed).max(0.0);
        let busy = ((self.backlog - left) / self.rate).min(passed);
        self.byte_seconds += (self.backlog + left) / 2.0 * busy;
        self.backlog = left;
        self.at = now;
    }

    pub(super) fn reset(&mut self, now: Time) {
        self.advance(now);
        (self.since, self.byte_seconds) = (now, 0.0);
        (self.packets, self.drops, self.peak) = (0, 0, 0.0);
    }

    /// Bytes in the queue on average.
    pub(in crate::bbr) fn mean_queue(&self) -> f64 {
        self.byte_seconds / self.at.since(self.since).as_secs_f64()
    }

    /// When the packet arrives; `None`: it is lost.
    pub(super) fn carry(&mut self, now: Time, bytes: u64, random: &mut Random) -> Option<Time> {
        self.advance(now);
        self.packets += 1;
        if self.backlog + bytes as f64 > self.limit.max(3000.0) {
            self.drops += 1;
            return None;
        }
        self.backlog += bytes as f64;
        self.peak = self.peak.max(self.backlog);
        let departure = (now + Duration::from_secs_f64(self.backlog / self.rate)).max(self.last);
        self.last = departure;
        let out = self.outage.is_some_and(|(from, to)| (from..to).contains(&now));
        if self.loses(0, random) || out {
            None
        } else {
            Some(departure + self.travel(random))
        }
    }

    /// One way, without the queue.
    fn travel(&self, random: &mut Random) -> Duration {
        let jitter = u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX);
        self.delay + Duration::from_nanos(if jitter == 0 { 0 } else { random.next() % jitter })
    }

    /// When the acknowledgement arrives; `None`: it is lost.
    pub(super) fn carry_back(&mut self, now: Time, random: &mut Random) -> Option<Time> {
        if self.loses(1, random) {
            None
        } else {
            Some(now + self.travel(random))
        }
    }

    fn loses(&mut self, direction: usize, random: &mut Random) -> bool {
        let mut draw = || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        match self.loss {
            Loss::Bernoulli(fraction) => fraction > 0.0 && draw() < fraction,
            Loss::Bursts(fraction, length) => {
                let bad = &mut self.bad[direction];
                let turn = if *bad {
                    1.0 / length
                } else {
                    fraction / (1.0 - fraction) / length
                };
                if draw() < turn {
                    *bad = !*bad;
                }
                *bad
            }
        }
    }
}
