//! When something is to be done, and doing it.

use std::time::Duration;

use crate::{
    connection::{Connection, closing::State},
    endpoint::{EndpointEvent, ToEndpoint},
    params::Params,
    time::Time,
    types::{Level, Space},
};

/// A connection whose handshake takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timers that no other part of the connection owns.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Nothing was heard for too long.
    pub(super) idle: Option<Time>,
    /// The handshake takes too long.
    pub(super) handshake: Option<Time>,
    /// A PING is due, so that the peer and what lies between do not forget us.
    pub(super) keep_alive: Option<Time>,
    /// The pacer lets the next packet go.
    pub(super) pacing: Option<Time>,
    /// Closing or draining ends.
    pub(super) close: Option<Time>,
}

impl Timers {
    pub(super) fn start(now: Time) -> Self {
        Self {
            handshake: Some(now + HANDSHAKE_TIMEOUT),
            ..Self::default()
        }
    }

    pub(super) fn restart_handshake(&mut self, now: Time) {
        self.handshake = Some(now + HANDSHAKE_TIMEOUT);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn expired(timer: &mut Option<Time>, now: Time) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

impl Connection {
    /// When [`Self::on_timeout`] is to be called.
    pub fn timeout(&self) -> Option<Time> {
        if !self.state.is_open() {
            return self.timers.close;
        }
        let timers = &self.timers;
        let may_send = self.sendable() > 0;
        let own = [
            timers.idle,
            timers.handshake,
            timers.keep_alive,
            timers.pacing,
            self.recovery.timeout(),
        ];
        // What only leads to a packet waits for as long as none may be sent.
        let sending = [
            self.receipts[Space::Application as usize]
                .due()
                .filter(|_| self.keys.can_seal(Level::Application)),
            self.protection.due(),
            self.pmtu.next_probe().filter(|_| self.may_probe_pmtu()),
        ];
        let parts = [self.paths.due(), self.ids.next_retirement()];
        let sending = sending.into_iter().filter(|_| may_send);
        own.into_iter().chain(parts).chain(sending).flatten().min()
    }

    /// The timer that [`Self::timeout`] named has expired. Harmless when called too early.
    pub fn on_timeout(&mut self, now: Time) {
        if !self.state.is_open() {
            if expired(&mut self.timers.close, now) {
                self.drained();
            }
            return;
        }
        if expired(&mut self.timers.idle, now) || expired(&mut self.timers.handshake, now) {
            return self.time_out(now);
        }
        if expired(&mut self.timers.keep_alive, now) {
            self.outgoing.ping = true;
        }
        expired(&mut self.timers.pacing, now);
        if self.recovery.timeout().is_some_and(|at| at <= now) {
            let mut outcome = std::mem::take(&mut self.outcome);
            self.recovery.on_timeout(now, &mut outcome);
            if outcome.timeout || outcome.probe.is_some() {
                self.marking.on_silence(outcome.timeout);
            }
            self.settle(now, &mut outcome);
            self.outcome = outcome;
        }
        self.check_paths(now);
        while let Some(id) = self.ids.pop_retired(now) {
            self.endpoint_events.push_back(EndpointEvent(ToEndpoint::Retired(id)));
        }
        self.close_when_idle(now);
    }

    /// A packet of the peer was opened: the connection is alive.
    pub(super) fn on_alive(&mut self, now: Time) {
        if matches!(self.state, State::Open { .. }) {
            let theirs = self.peer.as_ref().map_or(Duration::ZERO, |peer| peer.idle_timeout);
            let quiet = Params::common_idle_timeout(self.config.idle_timeout, theirs);
            self.timers.idle = quiet.map(|quiet| now + quiet.max(self.linger()));
            self.timers.keep_alive = self
                .config
                .keep_alive
                .filter(|_| self.confirmed)
                .map(|every| now + every);
        }
    }

    pub(super) fn probe_timeout(&self) -> Duration {
        let delay = self.peer.as_ref().map_or(Duration::ZERO, |peer| peer.max_ack_delay);
        self.recovery.probe_timeout(delay)
    }
}
