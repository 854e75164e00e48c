//! Models of the window-based controllers that BBR shares links with.

use std::time::Duration;

use super::PACKET;
use crate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bbr) enum Kind {
    NewReno,
    Cubic,
}

/// RFC 6582 and RFC 9438, windows in packets, with the delay test of HyStart (RFC 9406).
#[derive(Clone, Debug)]
pub(in crate::bbr) struct Rival {
    kind: Kind,
    window: f64,
    threshold: f64,
    /// Losses of packets sent before this are one event.
    recovery: Time,
    /// CUBIC: the window of the last loss, when the epoch began, the window of Reno.
    max: f64,
    epoch: Option<Time>,
    /// Seconds from its beginning until the window is back at `max`.
    delay: f64,
    reno: f64,
    min_rtt: Duration,
    round_min: Duration,
    round_end: Time,
}

impl Rival {
    pub(in crate::bbr) fn new(kind: Kind) -> Self {
        Self {
            kind,
            window: 10.0,
            threshold: f64::MAX,
            recovery: Time::ZERO,
            max: 0.0,
            epoch: None,
            delay: 0.0,
            reno: 0.0,
            min_rtt: Duration::MAX,
            round_min: Duration::MAX,
            round_end: Time::ZERO,
        }
    }

    pub(super) fn window(&self) -> u64 {
        (self.window * f64::from(PACKET)) as u64
    }

    pub(super) fn on_ack(&mut self, now: Time, packets: u64, rtt: Duration, sent_at: Time) {
        self.min_rtt = self.min_rtt.min(rtt);
        if sent_at < self.recovery {
            return;
        }
        if self.window < self.threshold {
            self.window += packets as f64;
            self.hystart(now, rtt);
            return;
        }
        match self.kind {
            Kind::NewReno => self.window += packets as f64 / self.window,
            Kind::Cubic => self.cubic(now, packets as f64, rtt),
        }
    }

    fn hystart(&mut self, now: Time, rtt: Duration) {
        if now >= self.round_end {
            self.round_min = Duration::MAX;
            self.round_end = now + rtt;
        }
        self.round_min = self.round_min.min(rtt);
        let bound = (self.min_rtt / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
        if self.kind == Kind::Cubic
            && self.window >= 16.0
            && now + rtt / 2 > self.round_end
            && self.round_min > self.min_rtt + bound
        {
            self.threshold = self.window;
        }
    }

    fn cubic(&mut self, now: Time, packets: f64, rtt: Duration) {
        if self.epoch.is_none() {
            self.epoch = Some(now);
            self.max = self.max.max(self.window);
            self.delay = ((self.max - self.window) / 0.4).cbrt();
            self.reno = self.window;
        }
        let elapsed = (now.since(self.epoch.unwrap_or(now)) + rtt).as_secs_f64();
        let target = self.max + 0.4 * (elapsed - self.delay).powi(3);
        let target = target.clamp(self.window, self.window * 1.5);
        self.reno += 0.53 * packets / self.window;
        self.window = (self.window + (target - self.window) / self.window * packets).max(self.reno);
    }

    pub(super) fn on_loss(&mut self, now: Time, sent_at: Time) {
        if sent_at < self.recovery {
            return;
        }
        self.recovery = now;
        self.epoch = None;
        let beta = if self.kind == Kind::Cubic { 0.7 } else { 0.5 };
        self.max = if self.window < self.max {
            self.window * 0.85
        } else {
            self.window
        };
        self.window = (self.window * beta).max(2.0);
        self.threshold = self.window;
        self.reno = self.window;
    }

    pub(super) fn on_timeout(&mut self) {
        self.threshold = (self.window / 2.0).max(2.0);
        self.window = 2.0;
        self.epoch = None;
    }
}
