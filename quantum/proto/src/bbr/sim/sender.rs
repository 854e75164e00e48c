//! The sender of a flow: numbers, loss detection (RFC 9002: three packets, 9/8 round trips) and timeouts.

use std::{collections::VecDeque, time::Duration};

use super::{
    super::{AckEnd, Bbr, Pacer, Snapshot},
    PACKET,
    rivals::{Kind, Rival},
};
use crate::time::Time;

pub(in crate::bbr) enum Control {
    Bbr(Box<Bbr>, Pacer),
    Rival(Rival),
}

impl Control {
    pub(in crate::bbr) fn bbr(seed: u64) -> Self {
        let bbr = Bbr::new(Time::ZERO, PACKET, Duration::from_millis(100), seed);
        Self::Bbr(Box::new(bbr), Pacer::new(Time::ZERO))
    }

    pub(in crate::bbr) fn cubic() -> Self {
        Self::Rival(Rival::new(Kind::Cubic))
    }

    pub(in crate::bbr) fn reno() -> Self {
        Self::Rival(Rival::new(Kind::NewReno))
    }

    fn window(&self) -> u64 {
        match self {
            Self::Bbr(bbr, _) => bbr.window(),
            Self::Rival(rival) => rival.window(),
        }
    }
}

/// What there is to send.
#[derive(Clone, Copy, Debug)]
pub(in crate::bbr) enum App {
    Bulk,
    /// Bytes per second.
    Rate(u64),
}

#[derive(Debug)]
struct Sent {
    at: Time,
    snapshot: Snapshot,
    state: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    InFlight,
    Lost,
    Acked,
}

#[derive(Debug, Default)]
pub(in crate::bbr) struct FlowStats {
    pub(in crate::bbr) delivered: u64,
    pub(in crate::bbr) sent: u64,
    pub(in crate::bbr) lost: u64,
    pub(in crate::bbr) timeouts: u64,
    /// The states of a BBR flow, and the rounds in which it entered them.
    pub(in crate::bbr) states: Vec<(&'static str, u64)>,
}

pub(in crate::bbr) struct Flow {
    pub(in crate::bbr) control: Control,
    pub(in crate::bbr) app: App,
    pub(in crate::bbr) stats: FlowStats,
    pub(in crate::bbr) stop: Option<Time>,
    start: Time,
    total: u64,
    /// Unsettled packets; the first has the number `base`.
    packets: VecDeque<Sent>,
    base: u64,
    largest: Option<u64>,
    in_flight: u64,
    srtt: Duration,
    variation: Duration,
    last_sent: Time,
    /// Nothing was acknowledged since; the timeout begins then.
    heard: Time,
    backoff: u32,
    probes: u32,
    pub(super) wake: Option<Time>,
    pub(super) timer: Option<Time>,
    release: Option<Time>,
}

impl Flow {
    pub(super) fn new(control: Control, start: Time) -> Self {
        Self {
            control,
            app: App::Bulk,
            stats: FlowStats::default(),
            stop: None,
            start,
            total: 0,
            packets: VecDeque::new(),
            base: 0,
            largest: None,
            in_flight: 0,
            srtt: Duration::ZERO,
            variation: Duration::ZERO,
            last_sent: start,
            heard: start,
            backoff: 0,
            probes: 0,
            wake: None,
            timer: None,
            release: None,
        }
    }

    pub(in crate::bbr) fn bbr(&self) -> &Bbr {
        match &self.control {
            Control::Bbr(bbr, _) => bbr,
            Control::Rival(_) => panic!("the flow is no BBR flow"),
        }
    }

    /// From `now` on the application has this to send.
    pub(in crate::bbr) fn limit(&mut self, now: Time, app: App) {
        self.app = app;
        self.start = now;
        self.total = 0;
    }

    pub(in crate::bbr) fn stop_at(&mut self, at: Duration) {
        self.stop = Some(Time::ZERO + at);
    }

    /// When the application has the next packet.
    fn available(&self) -> Time {
        match self.app {
            App::Bulk => self.start,
            App::Rate(rate) => self.start + Duration::from_secs_f64(self.total as f64 / rate as f64),
        }
    }

    /// The number of the next packet, if it may go now.
    pub(super) fn poll(&mut self, now: Time) -> Option<u64> {
        self.release = None;
        if now < self.start || self.stop.is_some_and(|stop| now >= stop) {
            return None;
        }
        let probing = self.probes > 0;
        if !probing && self.in_flight + u64::from(PACKET) > self.control.window() {
            if let Control::Bbr(_, pacer) = &mut self.control {
                pacer.on_held_back();
            }
            return None;
        }
        let available = self.available();
        if let Control::Bbr(bbr, pacer) = &mut self.control {
            if !probing {
                self.release = pacer.release(now, bbr.pacing_rate(), bbr.send_quantum());
                if self.release.is_some() {
                    return None;
                }
            }
            if available > now {
                bbr.on_app_limited(self.in_flight);
            }
        }
        if available > now {
            self.release = Some(available);
            return None;
        }
        self.probes = self.probes.saturating_sub(1);
        Some(self.send(now))
    }

    fn send(&mut self, now: Time) -> u64 {
        let snapshot = match &mut self.control {
            Control::Bbr(bbr, pacer) => {
                pacer.on_sent(now, u64::from(PACKET));
                bbr.on_sent(now, PACKET, self.in_flight)
            }
            Control::Rival(_) => Snapshot::default(),
        };
        if self.in_flight == 0 {
            self.heard = now;
        }
        self.packets.push_back(Sent {
            at: now,
            snapshot,
            state: Fate::InFlight,
        });
        self.in_flight += u64::from(PACKET);
        self.total += u64::from(PACKET);
        self.stats.sent += u64::from(PACKET);
        self.last_sent = now;
        self.base + self.packets.len() as u64 - 1
    }

    pub(super) fn on_ack(&mut self, now: Time, numbers: &[u64]) {
        let mut newest: Option<(u64, Time)> = None;
        let (mut count, mut spurious) = (0, 0);
        for &number in numbers {
            let Some(packet) = number
                .checked_sub(self.base)
                .and_then(|i| self.packets.get_mut(i as usize))
            else {
                continue;
            };
            match packet.state {
                Fate::Acked => continue,
                Fate::Lost => spurious += 1,
                Fate::InFlight => self.in_flight -= u64::from(PACKET),
            }
            packet.state = Fate::Acked;
            count += 1;
            if let Control::Bbr(bbr, _) = &mut self.control {
                bbr.on_acked(now, PACKET, packet.at, &packet.snapshot);
            }
            if newest.is_none_or(|(n, _)| number > n) {
                newest = Some((number, packet.at));
            }
        }
        self.stats.delivered += count * u64::from(PACKET);
        let Some((number, sent_at)) = newest else { return };
        self.heard = now;
        self.backoff = 0;
        let rtt = now.since(sent_at);
        let fresh = self.largest.is_none_or(|largest| number > largest);
        if fresh {
            self.largest = Some(number);
            self.sample(rtt);
        }
        self.detect(now);
        match &mut self.control {
            Control::Bbr(bbr, _) => {
                if spurious > 0 {
                    bbr.on_spurious(spurious);
                }
                let rtt = fresh.then_some(rtt);
                let ack = AckEnd {
                    rtt,
                    smoothed_rtt: self.srtt,
                    in_flight: self.in_flight,
                    repaired: 0,
                    ecn_ce: 0,
                };
                bbr.on_ack_end(now, ack);
                let state = bbr.state();
                if self.stats.states.last().is_none_or(|&(last, _)| last != state) {
                    self.stats.states.push((state, bbr.rounds.count));
                }
            }
            Control::Rival(rival) => rival.on_ack(now, count, rtt, sent_at),
        }
    }

    fn sample(&mut self, rtt: Duration) {
        if self.srtt.is_zero() {
            (self.srtt, self.variation) = (rtt, rtt / 2);
        } else {
            self.variation = self.variation * 3 / 4 + self.srtt.abs_diff(rtt) / 4;
            self.srtt = self.srtt * 7 / 8 + rtt / 8;
        }
    }

    /// Declares lost what is three packets or 9/8 round trips behind, and forgets what is settled for long.
    fn detect(&mut self, now: Time) {
        let Some(largest) = self.largest else { return };
        let patience = self.patience();
        for i in 0..self.packets.len() {
            let number = self.base + i as u64;
            let packet = &self.packets[i];
            if number >= largest || (number + 3 > largest && now.since(packet.at) < patience) {
                break;
            }
            if packet.state == Fate::InFlight {
                self.lose(now, i);
            }
        }
        let keep = now - self.srtt;
        while self
            .packets
            .front()
            .is_some_and(|p| p.state == Fate::Acked || (p.state == Fate::Lost && p.at < keep - self.srtt))
        {
            self.packets.pop_front();
            self.base += 1;
        }
    }

    fn patience(&self) -> Duration {
        self.srtt * 9 / 8
    }

    fn lose(&mut self, now: Time, i: usize) {
        let packet = &mut self.packets[i];
        packet.state = Fate::Lost;
        self.in_flight -= u64::from(PACKET);
        self.stats.lost += u64::from(PACKET);
        match &mut self.control {
            Control::Bbr(bbr, _) => bbr.on_lost(now, PACKET, &packet.snapshot),
            Control::Rival(rival) => rival.on_loss(now, packet.at),
        }
    }

    fn timeout(&self) -> Option<Time> {
        if self.in_flight == 0 {
            return None;
        }
        let base = if self.srtt.is_zero() {
            Duration::from_secs(1)
        } else {
            self.srtt + self.variation * 4 + Duration::from_millis(10)
        };
        Some(self.heard.max(self.last_sent) + base * (1 << self.backoff.min(6)))
    }

    /// First a probe of two packets, then a retransmission timeout.
    pub(super) fn on_timer(&mut self, now: Time) {
        self.detect(now);
        if self.timeout().is_none_or(|at| at > now) {
            return;
        }
        self.backoff += 1;
        self.probes = 2;
        self.heard = now;
        if self.backoff >= 2 {
            self.stats.timeouts += 1;
            for i in 0..self.packets.len() {
                if self.packets[i].state == Fate::InFlight {
                    self.lose(now, i);
                }
            }
            match &mut self.control {
                Control::Bbr(bbr, _) => bbr.on_timeout(now),
                Control::Rival(rival) => rival.on_timeout(),
            }
        }
    }

    /// New times for the wake-up and the timer, if they are to be set.
    pub(super) fn deadlines(&mut self, now: Time) -> (Option<Time>, Option<Time>) {
        let wake = self.release.filter(|&at| self.wake.is_none_or(|set| at < set));
        if wake.is_some() {
            self.wake = wake;
        }
        let late = self
            .packets
            .iter()
            .find(|p| p.state == Fate::InFlight)
            .map(|p| p.at + self.patience());
        let behind = self.largest.is_some_and(|largest| largest > self.base);
        let due = [self.timeout(), late.filter(|_| behind)].into_iter().flatten().min();
        let timer = due
            .map(|at| at.max(now + Duration::from_millis(1)))
            .filter(|_| self.timer.is_none());
        if timer.is_some() {
            self.timer = timer;
        }
        (wake, timer)
    }
}
