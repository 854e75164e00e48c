//! How long to wait in silence, and what to do then.
//!
//! Owns the count of timers that expired in a row. A silence is answered by two probes (RFC 9002 section 6.2), as the end of a
//! flight is lost far more often than the path; then by the retransmission timeout of RFC 6298, doubled each time, which runs
//! from the second probe.

use std::time::Duration;

/// Probes in a row before the retransmission timeout.
const PROBES: u32 = 2;
/// The least retransmission timeout. RFC 6298 has a whole second; with the probes in front of it only stalls remain to be
/// waited for (a scheduler, the retransmission of a radio link: tens of milliseconds), and to take one for a broken path
/// costs the model of the path.
const MIN_RETRANSMISSION: Duration = Duration::from_millis(50);
/// What doubling stops at, so that a path that comes back is noticed within the idle timeout.
const MAX_RETRANSMISSION: Duration = Duration::from_secs(10);

/// What to do when a timer expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Send that many packets which ask for an acknowledgement.
    Probe(u8),
    /// Take everything in flight for lost.
    Retransmit,
}

/// Timers that expired since something was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    expired: u32,
}

impl Backoff {
    /// From the last packet sent to the next expiry. `probe_timeout` is that of the space.
    pub(super) fn interval(&self, probe_timeout: Duration) -> Duration {
        if self.expired < PROBES {
            return probe_timeout * (1 << self.expired);
        }
        let first = probe_timeout.max(MIN_RETRANSMISSION);
        let doubled = first.saturating_mul(1 << (self.expired - PROBES).min(16));
        doubled.min(MAX_RETRANSMISSION.max(first))
    }

    /// What the expiry that is due next asks for.
    pub(super) fn next_expiry(&self) -> Expiry {
        match self.expired {
            // Two, as the one probe may be lost like what it probes for. RFC 9002 section 6.2.4.
            0 => Expiry::Probe(2),
            1 => Expiry::Probe(1),
            _ => Expiry::Retransmit,
        }
    }

    pub(super) fn on_expired(&mut self) {
        self.expired = self.expired.saturating_add(1);
    }

    /// The path is alive.
    pub(super) fn reset(&mut self) {
        self.expired = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(probe_timeout: u64) -> Vec<u64> {
        let mut backoff = Backoff::default();
        let mut intervals = Vec::new();
        for _ in 0..12 {
            intervals.push(backoff.interval(Duration::from_millis(probe_timeout)).as_millis() as u64);
            backoff.on_expired();
        }
        intervals
    }

    #[test]
    fn probes_come_first_then_doubling_up_to_a_bound() {
        assert_eq!(
            silence(30),
            [30, 60, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
        );
        assert_eq!(silence(200)[..5], [200, 400, 200, 400, 800]);
        // A path slower than the bound is still given its round trip.
        assert_eq!(silence(12_000)[2..5], [12_000, 12_000, 12_000]);
    }

    #[test]
    fn two_probes_then_retransmission_until_something_is_heard() {
        let mut backoff = Backoff::default();
        for expiry in [
            Expiry::Probe(2),
            Expiry::Probe(1),
            Expiry::Retransmit,
            Expiry::Retransmit,
        ] {
            assert_eq!(backoff.next_expiry(), expiry);
            backoff.on_expired();
        }
        backoff.reset();
        assert_eq!(backoff.next_expiry(), Expiry::Probe(2));
        for _ in 0..100 {
            backoff.on_expired();
        }
        assert_eq!(backoff.interval(Duration::from_millis(20)), MAX_RETRANSMISSION);
    }
}
