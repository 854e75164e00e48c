//! How a connection ends.

use std::time::Duration;

use crate::{
    connection::{Connection, Event},
    endpoint::{EndpointEvent, ToEndpoint},
    error::{CloseCode, ConnectionError, TransportError},
    time::Time,
};

/// Bytes of the reason in CLOSE. `quantum/SPEC.md` section 5.
pub(super) const CLOSE_REASON_MAX: usize = 256;

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum State {
    /// From the first packet on. `finishing`: it closes in these words when everything was acknowledged.
    Open { finishing: Option<(CloseCode, String)> },
    /// This end has closed: what still comes is answered with CLOSE, and not looked into.
    Closing(Closing),
    /// The peer has closed: nothing is sent any more.
    Draining,
    /// Nothing is left.
    Drained,
}

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) code: CloseCode,
    pub(super) reason: String,
    /// CLOSE is to be sent.
    pub(super) due: bool,
    /// Packets that came since the last CLOSE, and how many are waited for before the next.
    received: u32,
    every: u32,
}

impl State {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    pub(super) fn takes_messages(&self) -> bool {
        matches!(self, Self::Open { finishing: None })
    }

    pub(super) fn finish(&mut self, code: CloseCode, reason: &str) {
        if let Self::Open { finishing } = self
            && finishing.is_none()
        {
            *finishing = Some((code, reason.to_owned()));
        }
    }
}

impl Closing {
    /// Something came although we have closed: answered at a falling rate.
    pub(super) fn on_packet(&mut self) {
        self.received += 1;
        if self.received >= self.every {
            self.received = 0;
            self.every = self.every.saturating_mul(2);
            self.due = true;
        }
    }
}

impl Connection {
    /// Closes with CLOSE frames for three probe timeouts.
    pub(super) fn begin_close(&mut self, now: Time, code: CloseCode, reason: &str, error: ConnectionError) {
        if !self.state.is_open() {
            return;
        }
        let mut reason = reason.to_owned();
        reason.truncate(reason.floor_char_boundary(CLOSE_REASON_MAX));
        self.state = State::Closing(Closing {
            code,
            reason,
            due: true,
            received: 0,
            every: 1,
        });
        self.end(now, error);
    }

    /// The peer broke a rule, or TLS failed.
    pub(super) fn fail(&mut self, now: Time, error: TransportError) {
        let reason = error.reason.clone();
        self.begin_close(now, error.code, &reason, error.into());
    }

    /// The peer has closed, or is gone: nothing more is said.
    pub(super) fn drain(&mut self, now: Time, error: ConnectionError) {
        if self.state.is_open() {
            self.state = State::Draining;
            self.end(now, error);
        }
    }

    fn end(&mut self, now: Time, error: ConnectionError) {
        self.log_closed(now, &error);
        self.events.push_back(Event::Closed(error));
        self.timers.clear();
        self.timers.close = Some(now + self.linger());
    }

    /// How long packets may still be under way: three probe timeouts. RFC 9000 section 10.2.
    pub(super) fn linger(&self) -> Duration {
        3 * self.probe_timeout()
    }

    /// Nothing was heard for too long: there is nobody to tell.
    pub(super) fn time_out(&mut self, now: Time) {
        let error = match self.version_refused && !self.heard {
            true => ConnectionError::Version,
            false => ConnectionError::TimedOut,
        };
        self.drain(now, error);
        self.drained();
    }

    pub(super) fn drained(&mut self) {
        if !matches!(self.state, State::Drained) {
            self.state = State::Drained;
            self.timers.clear();
            self.events.push_back(Event::Drained);
            self.endpoint_events.push_back(EndpointEvent(ToEndpoint::Drained));
        }
    }

    /// A connection that finishes closes once all it sent was acknowledged.
    pub(super) fn close_when_idle(&mut self, now: Time) {
        if let State::Open { finishing: Some(_) } = self.state
            && self.confirmed
            && self.outbox.is_idle()
            && let State::Open { finishing } = &mut self.state
            && let Some((code, reason)) = finishing.take()
        {
            self.close(now, code, &reason);
        }
    }
}
