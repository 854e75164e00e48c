//! Background traffic: a NewReno or CUBIC sender of full packets that never runs out, as a packet-level window model.
//!
//! Every packet is acknowledged alone. A packet is lost when one three later is acknowledged, or when the timer expires; what is
//! lost is not sent again, for nobody reads it. RFC 5681, RFC 6582, RFC 9438 (with the Reno-friendly region) and, for CUBIC, the delay test
//! of HyStart as Linux has it: without it, CUBIC would begin with twice what the link holds, and live on that for many seconds.

use std::{collections::BTreeMap, time::Duration};

use quantum_proto::Time;

/// UDP payload of a data packet, so that it has 1,500 bytes with its headers.
pub(crate) const DATA: usize = 1472;
/// The same for an acknowledgement: 40 bytes.
pub(crate) const ACK: usize = 12;

const BETA: f64 = 0.7;
const SCALE: f64 = 0.4;
const MIN_RTO: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    NewReno,
    Cubic,
}

/// Finds in slow start that a queue grows. RFC 9406 section 4.2, without its slower growth, as in Linux.
#[derive(Debug, Default)]
struct HyStart {
    min: Option<Duration>,
    /// The smallest of the round's first samples, how many there were, and the first packet of the next round.
    round: Duration,
    samples: u32,
    end: u64,
}

impl HyStart {
    const SAMPLES: u32 = 8;

    /// `number` was acknowledged, `next` is sent next. Returns whether a queue grows.
    fn on_rtt(&mut self, number: u64, next: u64, rtt: Duration) -> bool {
        let min = *self.min.insert(self.min.map_or(rtt, |min| min.min(rtt)));
        if number >= self.end {
            (self.end, self.round, self.samples) = (next, rtt, 0);
        }
        self.samples += 1;
        self.round = self.round.min(rtt);
        let bound = (min / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
        self.samples == Self::SAMPLES && self.round >= min + bound
    }
}

/// What arrives at one of the flow's ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrived {
    Data(u64),
    Ack(u64),
    Timer,
}

pub(crate) struct Flow {
    algorithm: Algorithm,
    /// The links that its data and its acknowledgements take.
    pub(crate) up: usize,
    pub(crate) down: usize,
    /// Packets.
    pub(crate) window: f64,
    threshold: f64,
    next: u64,
    in_flight: BTreeMap<u64, Time>,
    largest_acked: u64,
    /// Losses below this number were already answered.
    recovered_at: u64,
    rtt: Option<(Duration, Duration)>,
    /// CUBIC: the window before the last loss, that of a Reno sender, and when the epoch began.
    plateau: f64,
    friendly: f64,
    epoch: Option<Time>,
    hystart: HyStart,
    /// Packets that arrived.
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
}

impl Flow {
    pub(crate) fn new(algorithm: Algorithm, up: usize, down: usize) -> Self {
        Self {
            algorithm,
            up,
            down,
            window: 10.0,
            threshold: f64::INFINITY,
            next: 1,
            in_flight: BTreeMap::new(),
            largest_acked: 0,
            recovered_at: 0,
            rtt: None,
            plateau: 0.0,
            friendly: 0.0,
            epoch: None,
            hystart: HyStart::default(),
            delivered: 0,
            lost: 0,
        }
    }

    /// The next packet, when the window allows one.
    pub(crate) fn send(&mut self, now: Time) -> Option<u64> {
        if self.in_flight.len() as f64 >= self.window.floor() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.in_flight.insert(number, now);
        Some(number)
    }

    /// The retransmission timeout. RFC 6298, with Linux' minimum.
    pub(crate) fn timeout(&self) -> Duration {
        match self.rtt {
            None => Duration::from_secs(1),
            Some((smoothed, variation)) => (smoothed + variation * 4).max(MIN_RTO),
        }
    }

    pub(crate) fn on_ack(&mut self, now: Time, number: u64) {
        let Some(sent_at) = self.in_flight.remove(&number) else {
            return;
        };
        let rtt = now.since(sent_at);
        self.sample(rtt);
        self.largest_acked = self.largest_acked.max(number);
        if self.hystart.on_rtt(number, self.next, rtt)
            && self.algorithm == Algorithm::Cubic
            && self.window < self.threshold
        {
            self.threshold = self.window;
        }
        self.grow(now);
        let kept = self.in_flight.split_off(&(self.largest_acked.saturating_sub(2)));
        let lost = std::mem::replace(&mut self.in_flight, kept);
        self.lost += lost.len() as u64;
        if lost.keys().any(|number| *number >= self.recovered_at) {
            self.recovered_at = self.next;
            self.shrink();
        }
    }

    /// To be called often: everything is lost when the oldest packet is older than the timeout.
    pub(crate) fn on_timer(&mut self, now: Time) {
        let timeout = self.timeout();
        if self
            .in_flight
            .first_key_value()
            .is_some_and(|(_, sent_at)| now.since(*sent_at) > timeout)
        {
            self.lost += self.in_flight.len() as u64;
            self.in_flight.clear();
            self.recovered_at = self.next;
            self.shrink();
            self.window = 1.0;
        }
    }

    fn sample(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            None => (sample, sample / 2),
            Some((smoothed, variation)) => {
                let error = smoothed.abs_diff(sample);
                (smoothed * 7 / 8 + sample / 8, variation * 3 / 4 + error / 4)
            }
        });
    }

    fn grow(&mut self, now: Time) {
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let reno = 1.0 / self.window;
        if self.algorithm == Algorithm::NewReno {
            self.window += reno;
            return;
        }
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.friendly = self.window;
            self.plateau = self.plateau.max(self.window);
            now
        });
        let round = self.rtt.map_or(0.0, |(smoothed, _)| smoothed.as_secs_f64());
        let climb = (self.plateau * (1.0 - BETA) / SCALE).cbrt();
        let target = self.plateau + SCALE * (now.since(epoch).as_secs_f64() + round - climb).powi(3);
        self.friendly += 3.0 * (1.0 - BETA) / (1.0 + BETA) * reno;
        self.window += ((target.min(self.window * 1.5) - self.window) / self.window).max(0.01 * reno);
        self.window = self.window.max(self.friendly);
    }

    fn shrink(&mut self) {
        let beta = if self.algorithm == Algorithm::Cubic { BETA } else { 0.5 };
        // Fast convergence: one that keeps losing leaves room for others.
        self.plateau = if self.window < self.plateau {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.epoch = None;
        self.window = (self.window * beta).max(2.0);
        self.threshold = self.window;
    }
}
