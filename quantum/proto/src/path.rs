//! One network path: its address, whether the peer was seen there, and how much may be sent until it was.
//!
//! Owns the bytes counted for RFC 9000 section 8.1 and at most one challenge (section 8.2; `quantum/SPEC.md` section 6).
//! Inputs: bytes received and sent, responses, and times that [`Path::resend_at`] and [`Path::gives_up_at`] asked for.
//! Effect: [`Path::pending_challenge`].
//! Invariants: a validated path stays so; a challenge on it (of the old path, after the peer moved) limits nothing.
//! On failure: nobody answers, and the owner drops the path or calls [`Path::abandon_challenge`].

use std::{net::SocketAddr, time::Duration};

use crate::time::Time;

/// An address that is not validated is sent at most this many times the bytes that came from it.
const AMPLIFICATION: u64 = 3;
/// How often a challenge is sent, evenly spaced, before it is given up.
const CHALLENGE_TRIES: u32 = 3;

pub(crate) struct Path {
    remote: SocketAddr,
    validated: bool,
    /// UDP payload bytes that came from there.
    received: u64,
    /// UDP payload bytes that went there.
    sent: u64,
    challenge: Option<Challenge>,
}

struct Challenge {
    data: [u8; 8],
    /// It is to be put into the next packet.
    pending: bool,
    interval: Duration,
    resend_at: Time,
    give_up_at: Time,
}

impl Path {
    pub(crate) fn new(remote: SocketAddr, validated: bool) -> Self {
        Self {
            remote,
            validated,
            received: 0,
            sent: 0,
            challenge: None,
        }
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether an address is on this path but for its port, as after a rebinding of a NAT: RTT and congestion state hold there too.
    pub(crate) fn is_rebinding(&self, remote: SocketAddr) -> bool {
        self.remote.ip().to_canonical() == remote.ip().to_canonical() && self.remote.port() != remote.port()
    }

    pub(crate) fn is_validated(&self) -> bool {
        self.validated
    }

    /// The peer proved that it is there. A challenge is not needed any more.
    pub(crate) fn validate(&mut self) {
        self.validated = true;
        self.challenge = None;
    }

    /// A datagram of the connection came from there, this many bytes of UDP payload.
    pub(crate) fn on_received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// A datagram went there.
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Bytes that may still be sent before the address is validated: three times those received. RFC 9000 section 8.1.
    pub(crate) fn allowance(&self) -> usize {
        if self.validated {
            return usize::MAX;
        }
        let allowed = self.received.saturating_mul(AMPLIFICATION).saturating_sub(self.sent);
        usize::try_from(allowed).unwrap_or(usize::MAX)
    }

    /// Begins validation with a challenge, which is to be sent now and again at [`Self::resend_at`] until `give_up_at`.
    /// Takes the place of one that is under way.
    pub(crate) fn challenge(&mut self, data: [u8; 8], now: Time, give_up_at: Time) {
        let interval = give_up_at.since(now) / CHALLENGE_TRIES;
        self.challenge = Some(Challenge {
            data,
            pending: true,
            interval,
            resend_at: now + interval,
            give_up_at,
        });
    }

    /// A challenge to put into a packet now.
    pub(crate) fn pending_challenge(&mut self) -> Option<[u8; 8]> {
        let challenge = self.challenge.as_mut()?;
        std::mem::take(&mut challenge.pending).then_some(challenge.data)
    }

    /// Whether [`Self::pending_challenge`] has one.
    pub(crate) fn has_pending_challenge(&self) -> bool {
        self.challenge.as_ref().is_some_and(|challenge| challenge.pending)
    }

    /// When [`Self::resend_challenge`] is to be called. `None` when nothing waits for an answer, or when there is no time for one more.
    pub(crate) fn resend_at(&self) -> Option<Time> {
        let challenge = self.challenge.as_ref()?;
        // The division may have rounded down: what is left of the time is no try.
        let last = challenge.give_up_at - challenge.interval;
        (!challenge.pending && challenge.resend_at <= last).then_some(challenge.resend_at)
    }

    /// No answer came, or the packet with the challenge was lost: it goes into the next packet again.
    pub(crate) fn resend_challenge(&mut self, now: Time) {
        if let Some(challenge) = &mut self.challenge {
            challenge.pending = true;
            challenge.resend_at = now + challenge.interval;
        }
    }

    /// `true` when it answers a challenge sent on this path, which is validated by it. RFC 9000 section 8.2.3: it does not matter from
    /// where the answer came.
    pub(crate) fn on_response(&mut self, data: [u8; 8]) -> bool {
        let answers = self.challenge.as_ref().is_some_and(|challenge| challenge.data == data);
        if answers {
            self.validate();
        }
        answers
    }

    /// When validation fails.
    pub(crate) fn gives_up_at(&self) -> Option<Time> {
        self.challenge.as_ref().map(|challenge| challenge.give_up_at)
    }

    /// Validation failed: nothing is waited for any more.
    pub(crate) fn abandon_challenge(&mut self) {
        self.challenge = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(validated: bool) -> Path {
        Path::new("192.0.2.1:4000".parse().unwrap(), validated)
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn three_times_what_was_received() {
        let mut path = path(false);
        assert_eq!(path.allowance(), 0);
        path.on_received(1200);
        assert_eq!(path.allowance(), 3600);
        path.on_sent(3500);
        assert_eq!(path.allowance(), 100);
        path.on_sent(200);
        assert_eq!(path.allowance(), 0, "a datagram too much is not an overflow");
        path.on_received(100);
        assert_eq!(path.allowance(), 200, "and it is counted");
        path.validate();
        assert_eq!(path.allowance(), usize::MAX);
    }

    #[test]
    fn a_response_validates() {
        let mut path = path(false);
        assert!(!path.on_response([0; 8]), "nothing was asked");
        path.challenge([1; 8], at(0), at(300));
        assert!(path.has_pending_challenge());
        assert_eq!(path.pending_challenge(), Some([1; 8]));
        assert_eq!(path.pending_challenge(), None, "once is enough");
        assert!(!path.on_response([2; 8]));
        assert!(!path.is_validated());
        assert!(path.on_response([1; 8]));
        assert!(path.is_validated());
        assert_eq!((path.gives_up_at(), path.resend_at()), (None, None));
        assert!(!path.on_response([1; 8]), "answered already");
    }

    #[test]
    fn a_challenge_is_sent_three_times() {
        for give_up_at in [at(300), Time::from_nanos(100_000_001)] {
            let mut path = path(false);
            path.challenge([1; 8], at(0), give_up_at);
            assert_eq!(path.resend_at(), None, "it was not sent yet");
            let mut sent = 0;
            while path.pending_challenge().is_some() {
                sent += 1;
                if let Some(time) = path.resend_at() {
                    assert!(time < give_up_at);
                    path.resend_challenge(time);
                }
            }
            assert_eq!(sent, 3);
            assert_eq!(path.gives_up_at(), Some(give_up_at));
            path.abandon_challenge();
            assert_eq!(path.gives_up_at(), None);
            assert!(!path.on_response([1; 8]), "too late");
            assert!(!path.is_validated());
        }
    }

    #[test]
    fn a_new_challenge_takes_the_place_of_the_old() {
        let mut path = path(true);
        path.challenge([1; 8], at(0), at(300));
        path.challenge([2; 8], at(10), at(400));
        assert_eq!(path.pending_challenge(), Some([2; 8]));
        assert_eq!(path.gives_up_at(), Some(at(400)));
        assert_eq!(
            path.allowance(),
            usize::MAX,
            "a challenge does not take the validation away"
        );
        assert!(!path.on_response([1; 8]));
        assert!(path.on_response([2; 8]));
    }

    #[test]
    fn rebinding_changes_only_the_port() {
        let path = path(true);
        let is_rebinding = |remote: &str| path.is_rebinding(remote.parse().unwrap());
        assert!(is_rebinding("192.0.2.1:4001"));
        assert!(is_rebinding("[::ffff:192.0.2.1]:4001"));
        assert!(!is_rebinding("192.0.2.1:4000"));
        assert!(!is_rebinding("192.0.2.2:4001"));
    }
}
