//! One direction of a network link, as a pure model.
//!
//! Owns: the bottleneck's queue, the state of the loss process, the counters.
//! Inputs: a datagram is offered at a time. Effects: when, and how often, it arrives.
//! Invariants: the same seed and the same offers give the same fates; nothing arrives before the delay has passed.
//! The order of what happens to a datagram: blackout, size limit, queue (tail drop, ECN mark), loss, jitter, reordering,
//! duplication, damage. So a lost datagram has used the bottleneck, as on radio.

use std::time::Duration;

use quantum_proto::Time;
use rand::{Rng, SeedableRng, rngs::StdRng};
use smallvec::SmallVec;

/// A burst of losses ends after this long even when nothing is sent, as fading does: otherwise a sender whose probes become
/// ever rarer would wait for hours.
const LONGEST_BURST: Duration = Duration::from_millis(250);

/// Bytes that IPv4 and UDP add to a datagram.
pub(crate) const IP_UDP: usize = 28;

/// How datagrams are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    None,
    /// Each with this probability.
    Bernoulli(f64),
    /// Gilbert-Elliott, counted per datagram: in the bad state everything is lost.
    Bursts {
        /// From good to bad.
        enter: f64,
        /// From bad to good.
        leave: f64,
    },
}

impl Loss {
    /// Bursts by the two numbers that people think in: the average and the mean length.
    pub(crate) fn bursts(average: f64, length: f64) -> Self {
        let leave = 1.0 / length;
        Self::Bursts {
            enter: average * leave / (1.0 - average),
            leave,
        }
    }

    /// Fraction that is lost in the long run.
    pub(crate) fn average(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Bernoulli(p) => p,
            Self::Bursts { enter, leave } => enter / (enter + leave),
        }
    }
}

/// What a link does to datagrams.
#[derive(Clone, Debug)]
pub(crate) struct LinkSpec {
    /// Propagation, one way.
    pub(crate) delay: Duration,
    /// Up to so much is added, evenly spread.
    pub(crate) jitter: Duration,
    /// With jitter, none overtakes the one before it.
    pub(crate) keeps_order: bool,
    /// Probability that a datagram is held back by `reorder_by`.
    pub(crate) reorder: f64,
    pub(crate) reorder_by: Duration,
    /// Probability that a datagram arrives twice.
    pub(crate) duplicate: f64,
    /// Probability that one bit of a datagram is flipped.
    pub(crate) corrupt: f64,
    pub(crate) loss: Loss,
    /// Bits per second, IP and UDP headers included. 0: unlimited.
    pub(crate) rate: u64,
    /// Bytes that wait for or are in the bottleneck; what does not fit is dropped.
    pub(crate) queue: u64,
    /// Above this many bytes in the queue, ECN-capable datagrams are marked.
    pub(crate) mark_above: u64,
    /// Largest UDP payload that passes; larger ones vanish.
    pub(crate) mtu: usize,
    /// From (inclusive) to (exclusive) these times nothing passes.
    pub(crate) blackouts: Vec<(Time, Time)>,
}

impl LinkSpec {
    /// Without loss, limits or jitter.
    pub(crate) fn clean(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            keeps_order: true,
            reorder: 0.0,
            reorder_by: Duration::ZERO,
            duplicate: 0.0,
            corrupt: 0.0,
            loss: Loss::None,
            rate: 0,
            queue: u64::MAX,
            mark_above: u64::MAX,
            mtu: 1472,
            blackouts: Vec::new(),
        }
    }

    /// Adds a bottleneck with a queue in multiples of what is in flight in twice the delay.
    pub(crate) fn limited(self, rate: u64, queue_bdp: f64) -> Self {
        let bdp = rate as f64 / 8.0 * self.delay.as_secs_f64() * 2.0;
        Self {
            rate,
            queue: (bdp * queue_bdp) as u64,
            ..self
        }
    }

    pub(crate) fn losing(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// Longest time that a full queue holds a datagram.
    pub(crate) fn queueing(&self) -> Duration {
        match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(self.queue as f64 * 8.0 / rate as f64),
        }
    }
}

/// A datagram comes out of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: Time,
    /// This bit of it, counted from the first byte's lowest, is the other way round.
    pub(crate) flipped: Option<usize>,
    /// The queue was long: ECN-capable datagrams are to be marked.
    pub(crate) mark: bool,
}

/// What a link has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) offered: u64,
    /// With the bytes of IP and UDP.
    pub(crate) offered_bytes: u64,
    /// Copies included.
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) tail_drops: u64,
    pub(crate) oversize: u64,
    pub(crate) blacked_out: u64,
    pub(crate) duplicated: u64,
    pub(crate) corrupted: u64,
    pub(crate) marked: u64,
    queued_bytes: u64,
    queue_samples: u64,
}

impl Counters {
    /// Bytes that an arriving datagram found in the queue, on average.
    pub(crate) fn mean_queue(&self) -> f64 {
        self.queued_bytes as f64 / self.queue_samples.max(1) as f64
    }

    /// What was counted since an earlier copy of the counters.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            offered: self.offered - earlier.offered,
            offered_bytes: self.offered_bytes - earlier.offered_bytes,
            delivered: self.delivered - earlier.delivered,
            lost: self.lost - earlier.lost,
            tail_drops: self.tail_drops - earlier.tail_drops,
            oversize: self.oversize - earlier.oversize,
            blacked_out: self.blacked_out - earlier.blacked_out,
            duplicated: self.duplicated - earlier.duplicated,
            corrupted: self.corrupted - earlier.corrupted,
            marked: self.marked - earlier.marked,
            queued_bytes: self.queued_bytes - earlier.queued_bytes,
            queue_samples: self.queue_samples - earlier.queue_samples,
        }
    }
}

pub(crate) struct Link {
    /// May be changed at any time.
    pub(crate) spec: LinkSpec,
    pub(crate) counters: Counters,
    rng: StdRng,
    /// The bottleneck is idle from here on.
    busy_until: Time,
    last_arrival: Time,
    /// When the burst of losses ends at the latest.
    burst: Option<Time>,
}

impl Link {
    pub(crate) fn new(spec: LinkSpec, seed: u64) -> Self {
        Self {
            spec,
            counters: Counters::default(),
            rng: StdRng::seed_from_u64(seed),
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
            burst: None,
        }
    }

    /// A datagram of so many bytes (UDP payload) reaches the link: when it comes out. None: lost; two: duplicated.
    pub(crate) fn offer(&mut self, now: Time, bytes: usize) -> SmallVec<[Arrival; 2]> {
        let mut arrivals = SmallVec::new();
        self.counters.offered += 1;
        self.counters.offered_bytes += (bytes + IP_UDP) as u64;
        if self.spec.blackouts.iter().any(|(from, to)| (*from..*to).contains(&now)) {
            self.counters.blacked_out += 1;
            return arrivals;
        }
        if bytes > self.spec.mtu {
            self.counters.oversize += 1;
            return arrivals;
        }
        let Some((left, mark)) = self.pass_queue(now, bytes + IP_UDP) else {
            self.counters.tail_drops += 1;
            return arrivals;
        };
        if self.loses(now) {
            self.counters.lost += 1;
            return arrivals;
        }
        arrivals.push(self.arrive(left, bytes, mark));
        if self.happens(self.spec.duplicate) {
            self.counters.duplicated += 1;
            arrivals.push(self.arrive(left, bytes, mark));
        }
        self.counters.delivered += arrivals.len() as u64;
        arrivals
    }

    /// When the datagram leaves the bottleneck, and whether it is to be marked; `None`: no room in the queue.
    fn pass_queue(&mut self, now: Time, size: usize) -> Option<(Time, bool)> {
        if self.spec.rate == 0 {
            return Some((now, false));
        }
        let rate = u128::from(self.spec.rate);
        let backlog = (self.busy_until.since(now).as_nanos() * rate / 8_000_000_000) as u64;
        self.counters.queued_bytes += backlog;
        self.counters.queue_samples += 1;
        // An empty queue takes a datagram of any size, however short it is.
        if backlog > 0 && backlog + size as u64 > self.spec.queue {
            return None;
        }
        let service = Duration::from_nanos((size as u128 * 8_000_000_000 / rate) as u64);
        self.busy_until = self.busy_until.max(now) + service;
        Some((self.busy_until, backlog > self.spec.mark_above))
    }

    fn loses(&mut self, now: Time) -> bool {
        match self.spec.loss {
            Loss::None => false,
            Loss::Bernoulli(p) => self.happens(p),
            Loss::Bursts { enter, leave } => {
                let (bad, good) = (self.rng.random_bool(enter), self.rng.random_bool(leave));
                self.burst = match self.burst.filter(|end| now < *end) {
                    Some(end) => (!good).then_some(end),
                    None => bad.then(|| now + LONGEST_BURST),
                };
                self.burst.is_some()
            }
        }
    }

    fn arrive(&mut self, left: Time, bytes: usize, mark: bool) -> Arrival {
        let mut at = left + self.spec.delay;
        if !self.spec.jitter.is_zero() {
            at += self.spec.jitter.mul_f64(self.rng.random());
            if self.spec.keeps_order {
                at = at.max(self.last_arrival);
            }
        }
        self.last_arrival = self.last_arrival.max(at);
        if self.happens(self.spec.reorder) {
            at += self.spec.reorder_by;
        }
        let flipped = (bytes > 0 && self.happens(self.spec.corrupt)).then(|| self.rng.random_range(0..bytes * 8));
        self.counters.corrupted += u64::from(flipped.is_some());
        self.counters.marked += u64::from(mark);
        Arrival { at, flipped, mark }
    }

    fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }
}
