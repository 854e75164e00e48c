//! The connection: making it, saying hello, noticing that it is dead, coming back.
//!
//! Invariants: there is one attempt or one connection at a time; after each end there is a delay, unless the close code
//! says that coming back is useless.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use aetherflow_schema::{
    close::{CloseCode, Retry},
    id::SessionId,
    native::{ClientFrame, Hello, LOCKS, RequestId, wire},
};
use bytes::Bytes;
use uuid::Uuid;

use super::{Event, FRAME_OVERHEAD, LinkStatus, OWN_SESSIONS, Parting, Session};

/// The silence after which a server that owes an answer is asked whether it is there.
const IMPATIENCE: Duration = Duration::from_secs(3);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Link {
    phase: Phase,
    /// Attempts since the last good connection.
    attempts: u32,
    hello_due: bool,
    ping_due: bool,
    /// When something was last heard.
    heard: Instant,
    /// When a ping was sent that is not answered.
    pinged: Option<Instant>,
    nonce: u64,
    /// What the transport takes.
    frame_bytes: usize,
    /// What it takes from the server.
    takes: u32,
    /// What the next connection goes on with the session by; empty before the first welcome.
    resume_token: Bytes,
    /// The session of the last Welcome.
    session: Option<SessionId>,
    /// The server knows locks.
    has_locks: bool,
    finishing: bool,
    /// The server wants a fresh token before anything else.
    needs_token: bool,
    /// Requests before this one were made with an earlier token.
    hello_before: u64,
    /// The application gave a token of which the server has said nothing yet.
    fresh: bool,
    /// It is the one that the last Hello showed.
    shown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until the next attempt.
    Waiting(Instant),
    Dialing,
    /// Connected; the Welcome must be here by then.
    Greeting(Instant),
    /// Welcome since.
    Online(Instant),
    /// The server sends this client away: nothing more is read, answers still come until then; when to come back.
    Leaving {
        until: Instant,
        back: Instant,
    },
    /// Only the application can start it again.
    Stopped,
}

impl Link {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Waiting(now),
            attempts: 0,
            hello_due: false,
            ping_due: false,
            heard: now,
            pinged: None,
            nonce: 0,
            frame_bytes: 0,
            takes: 0,
            resume_token: Bytes::new(),
            session: None,
            has_locks: false,
            finishing: false,
            needs_token: false,
            hello_before: 0,
            fresh: false,
            shown: false,
        }
    }

    /// The server takes requests.
    pub(super) fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online(_)) && !self.needs_token
    }

    /// The server that welcomed the client last knows locks.
    pub(super) fn has_locks(&self) -> bool {
        self.has_locks
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(
            self.phase,
            Phase::Greeting(_) | Phase::Online(_) | Phase::Leaving { .. }
        )
    }
}

impl Session {
    pub(super) fn on_connected(&mut self, now: Instant, frame_bytes: usize, takes: u32) {
        if self.link.phase != Phase::Dialing {
            return;
        }
        self.link.phase = Phase::Greeting(now + self.tuning.patience);
        self.link.frame_bytes = frame_bytes;
        self.link.takes = takes;
        self.link.hello_due = true;
        self.link.ping_due = false;
        self.link.needs_token = false;
        self.link.heard = now;
        self.link.pinged = None;
    }

    pub(super) fn on_disconnected(&mut self, now: Instant, parting: &Parting) {
        if !self.link.is_connected() && self.link.phase != Phase::Dialing {
            return;
        }
        let code = parting.code.and_then(CloseCode::from_code);
        match code.map_or(Retry::AfterDelay, CloseCode::retry) {
            Retry::AfterDelay => self.come_back(now, &parting.reason),
            // It was about the token before: this one is tried, once.
            Retry::AfterFixing if std::mem::take(&mut self.link.fresh) => self.come_back(now, &parting.reason),
            Retry::Never | Retry::AfterFixing => self.stop(now, code, &parting.reason),
        }
    }

    /// Ends the connection, to make another one. The session goes on, with its locks and its presence: a normal end would be a
    /// goodbye, which [`Session::on_finish`] says.
    pub(super) fn hang_up(&mut self, now: Instant, reason: &str) {
        self.events.push_back(Event::HangUp(CloseCode::GoingAway));
        self.come_back(now, reason);
    }

    fn come_back(&mut self, now: Instant, reason: &str) {
        let until = match self.link.phase {
            Phase::Leaving { back, .. } => {
                self.link.attempts = 0;
                back.max(now + self.tuning.backoff.delay(0, &mut self.rng))
            }
            phase => {
                let good = matches!(phase, Phase::Online(since) if now >= since + self.tuning.stable);
                let attempts = if good { 0 } else { self.link.attempts };
                self.link.attempts = attempts + 1;
                now + self.tuning.backoff.delay(attempts, &mut self.rng)
            }
        };
        self.link.phase = Phase::Waiting(until);
        let reason = reason.to_owned();
        self.events
            .push_back(Event::Link(LinkStatus::Waiting { until, reason }));
        self.forget_connection(now);
        if self.link.finishing {
            self.link.phase = Phase::Stopped;
        }
    }

    fn stop(&mut self, now: Instant, code: Option<CloseCode>, reason: &str) {
        self.link.phase = Phase::Stopped;
        let reason = reason.to_owned();
        self.events.push_back(Event::Link(LinkStatus::Stopped { code, reason }));
        self.forget_connection(now);
    }

    fn forget_connection(&mut self, now: Instant) {
        self.submits.clear();
        self.submit_bytes = 0;
        self.lock_requests.clear();
        self.searches.clear();
        self.subscriptions.clear();
        self.followed.clear();
        let ids: Vec<_> = self.documents.keys().cloned().collect();
        for id in ids {
            self.with(now, &id, super::Document::restart);
        }
    }

    pub(super) fn on_token(&mut self, now: Instant, token: String) {
        self.tuning.token = token;
        self.link.fresh = true;
        self.link.shown = false;
        match self.link.phase {
            Phase::Online(_) => self.link.hello_due = true,
            Phase::Stopped => self.on_reconnect(now),
            _ => {}
        }
    }

    pub(super) fn on_reconnect(&mut self, now: Instant) {
        if let Phase::Online(_) = self.link.phase {
            // What it shows was not good enough; perhaps it is by now.
            self.link.hello_due |= self.link.needs_token;
        }
        if matches!(self.link.phase, Phase::Stopped | Phase::Waiting(_)) && !self.link.finishing {
            self.link.attempts = 0;
            self.link.phase = Phase::Waiting(now);
        }
    }

    pub(super) fn on_finish(&mut self) {
        self.link.finishing = true;
        if self.link.is_connected() || self.link.phase == Phase::Dialing {
            self.events.push_back(Event::HangUp(CloseCode::Normal));
        }
        self.link.phase = Phase::Stopped;
    }

    /// A request was rejected because of the token.
    pub(super) fn on_unauthenticated(&mut self, request: RequestId, reason: &str) {
        if !self.link.needs_token && !self.link.hello_due && request.0 >= self.link.hello_before {
            self.link.needs_token = true;
            self.events.push_back(Event::Link(LinkStatus::Stopped {
                code: Some(CloseCode::Unauthorized),
                reason: reason.to_owned(),
            }));
        }
    }

    pub(super) fn on_heard(&mut self, now: Instant) {
        self.link.heard = now;
        self.link.pinged = None;
        self.link.ping_due = false;
    }

    pub(super) fn on_welcome(&mut self, now: Instant, welcome: &wire::Welcome) {
        let Ok(session) = Uuid::from_slice(&welcome.session_id).map(SessionId) else {
            return self.hang_up(now, "the server's Welcome has no session");
        };
        let Some(limits) = welcome.limits else {
            return self.hang_up(now, "the server's Welcome has no limits");
        };
        let bounded = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let frame_bytes = bounded(limits.frame_bytes).min(self.link.frame_bytes);
        self.batch.change_bytes = bounded(limits.change_bytes).min(frame_bytes.saturating_sub(FRAME_OVERHEAD));
        self.batch.bytes = super::BATCH_BYTES.min(self.batch.change_bytes);
        self.batch.changes = bounded(limits.submit_changes.into()).clamp(1, self.batch.bytes / 32 + 1);
        if let Phase::Greeting(_) = self.link.phase {
            self.link.phase = Phase::Online(now);
            if !self.own_sessions.contains(&session) {
                if self.own_sessions.len() == OWN_SESSIONS {
                    self.own_sessions.pop_front();
                }
                self.own_sessions.push_back(session);
            }
        }
        if !welcome.resume_token.is_empty() {
            self.link.resume_token = Bytes::copy_from_slice(&welcome.resume_token);
        }
        self.link.has_locks = welcome.capabilities.iter().any(|name| name == LOCKS);
        let before = self.link.session.replace(session);
        self.relock(now, before != Some(session));
        self.link.needs_token = false;
        self.link.fresh &= !std::mem::take(&mut self.link.shown);
        // It came while the Hello before it was on its way.
        self.link.hello_due |= self.link.fresh;
        self.work.extend(self.documents.keys().cloned());
        let principal = welcome.principal.clone();
        self.events
            .push_back(Event::Link(LinkStatus::Online { session, principal }));
    }

    pub(super) fn on_go_away(&mut self, now: Instant, go_away: &wire::GoAway) {
        let milliseconds = |ms: u32| Duration::from_millis(ms.into());
        if self.link.is_connected() {
            self.link.phase = Phase::Leaving {
                until: now + milliseconds(go_away.closes_in_ms) + Duration::from_secs(1),
                back: now + milliseconds(go_away.reconnect_after_ms),
            };
        }
    }

    /// What is to be sent that is about no document.
    pub(super) fn poll_control(&mut self, now: Instant) -> Option<ClientFrame> {
        if !matches!(self.link.phase, Phase::Greeting(_) | Phase::Online(_)) {
            return None;
        }
        if std::mem::take(&mut self.link.hello_due) {
            self.link.hello_before = self.next_request;
            self.link.shown = self.link.fresh;
            return Some(ClientFrame::Hello(Hello {
                token: self.tuning.token.clone(),
                client_id: self.tuning.client_id.clone(),
                resume_token: self.link.resume_token.clone(),
                capabilities: vec![LOCKS.to_owned()],
                frame_bytes: NonZeroU64::new(self.link.takes.into()),
            }));
        }
        if std::mem::take(&mut self.link.ping_due) {
            self.link.pinged = Some(now);
            self.link.nonce += 1;
            return Some(ClientFrame::Ping(self.link.nonce));
        }
        None
    }

    pub(super) fn link_timeout(&self) -> Option<Instant> {
        match self.link.phase {
            Phase::Waiting(until) | Phase::Greeting(until) => Some(until),
            Phase::Leaving { until, .. } => Some(until),
            Phase::Online(_) => Some(match self.link.pinged {
                Some(pinged) => pinged + self.tuning.patience + self.transfer_time(),
                // A ping that the transport does not even take.
                None if self.link.ping_due => self.ping_at() + self.tuning.patience + self.transfer_time(),
                None => self.ping_at(),
            }),
            Phase::Dialing | Phase::Stopped => None,
        }
    }

    /// Sooner when something is waited for, so that edits do not wait long for a server that is gone.
    fn ping_at(&self) -> Instant {
        match self.owed_since() {
            Some(since) => self.link.heard.max(since) + self.tuning.silence.min(IMPATIENCE),
            None => self.link.heard + self.tuning.silence,
        }
    }

    pub(super) fn on_link_time(&mut self, now: Instant) {
        if let Phase::Leaving { .. } = self.link.phase
            && self.submits.is_empty()
        {
            return self.hang_up(now, "the server sends its clients away");
        }
        if self.link_timeout().is_none_or(|timeout| timeout > now) {
            return;
        }
        match self.link.phase {
            Phase::Waiting(_) => {
                self.link.phase = Phase::Dialing;
                self.events.push_back(Event::Link(LinkStatus::Connecting));
                self.events.push_back(Event::Dial);
            }
            Phase::Greeting(_) => self.hang_up(now, "no Welcome in time"),
            Phase::Leaving { .. } => self.hang_up(now, "the server did not close as it had announced"),
            Phase::Online(_) if self.link.ping_due || self.link.pinged.is_some() => {
                self.hang_up(now, "nothing was heard from the server");
            }
            Phase::Online(_) => self.link.ping_due = true,
            Phase::Dialing | Phase::Stopped => {}
        }
    }
}
