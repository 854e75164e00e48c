//! When a packet that was overtaken counts as lost.
//!
//! Owns the allowance for reordering. A packet is lost when so many later ones were received, or when it was sent so long ago,
//! measured in round trips (RFC 9002 section 6.1). Both thresholds begin tight, so that losses are repaired early, and follow the
//! path: a packet declared lost that arrives after all shows how wide they should have been (as D-SACK does in RFC 8985 section 6.2).
//! Without such evidence they narrow again, though never below the reordering still seen.
//! Invariants: 3 to 256 packets, 9/8 to 2 round trips. Later arrivals teach nothing: waiting for them would cost more than
//! sending again.

use std::time::Duration;

use super::rtt::GRANULARITY;
use crate::time::Time;

/// RFC 9002 section 6.1.1 (kPacketThreshold).
const MIN_PACKETS: u64 = 3;
/// More than any path should reorder; the time threshold acts long before on all but the fastest.
const MAX_PACKETS: u64 = 256;
/// Round trips are counted in eighths. RFC 9002 section 6.1.2 (kTimeThreshold): 9/8.
const MIN_EIGHTHS: u32 = 9;
/// Two round trips: about when a probe would go out.
const MAX_EIGHTHS: u32 = 16;
/// After so many round trips the thresholds narrow ...
const PERIOD_ROUNDS: u32 = 32;
/// ... but not more often than this.
const MIN_PERIOD: Duration = Duration::from_secs(1);

/// How late a packet was.
#[derive(Clone, Copy, Debug)]
struct Lateness {
    packets: u64,
    eighths: u32,
}

const NOT_LATE: Lateness = Lateness {
    packets: MIN_PACKETS,
    eighths: MIN_EIGHTHS,
};

/// The thresholds of a path.
#[derive(Debug)]
pub(super) struct Reordering {
    threshold: Lateness,
    /// What the thresholds would have to be for the packets of this period.
    seen: Lateness,
    period_began: Time,
}

impl Reordering {
    pub(super) fn new() -> Self {
        Self {
            threshold: NOT_LATE,
            seen: NOT_LATE,
            period_began: Time::ZERO,
        }
    }

    /// So many numbers above it were received: it is lost.
    pub(super) fn packets(&self) -> u64 {
        self.threshold.packets
    }

    /// So long after it was sent, and overtaken, a packet is lost. `rtt`: see [`super::Rtt::loss_base`].
    pub(super) fn delay(&self, rtt: Duration) -> Duration {
        (rtt * self.threshold.eighths / 8).max(GRANULARITY)
    }

    /// A packet was acknowledged `elapsed` after it was sent, when the largest acknowledged was already `distance` above it.
    /// `spurious`: it had been declared lost.
    pub(super) fn on_late(&mut self, distance: u64, elapsed: Duration, rtt: Duration, spurious: bool) {
        // A quarter more than was seen, or each new maximum would cost another spurious loss.
        let packets = distance + distance / 4 + 1;
        let eighths = elapsed.as_nanos() * 8 / rtt.max(GRANULARITY).as_nanos() + 1;
        let Ok(eighths) = u32::try_from(eighths) else { return };
        if packets > MAX_PACKETS || eighths > MAX_EIGHTHS {
            return;
        }
        self.seen = self.seen.max(Lateness { packets, eighths });
        if spurious {
            self.threshold = self.threshold.max(self.seen);
        }
    }

    /// Narrows the thresholds by half of what they are above the least, once per period.
    pub(super) fn on_time(&mut self, now: Time, rtt: Duration) {
        if now.since(self.period_began) < MIN_PERIOD.max(rtt * PERIOD_ROUNDS) {
            return;
        }
        let narrower = Lateness {
            packets: MIN_PACKETS.midpoint(self.threshold.packets),
            eighths: MIN_EIGHTHS.midpoint(self.threshold.eighths),
        };
        self.threshold = Lateness {
            packets: narrower.packets.max(self.seen.packets).min(self.threshold.packets),
            eighths: narrower.eighths.max(self.seen.eighths).min(self.threshold.eighths),
        };
        self.seen = NOT_LATE;
        self.period_began = now;
    }
}

impl Lateness {
    fn max(self, other: Self) -> Self {
        Self {
            packets: self.packets.max(other.packets),
            eighths: self.eighths.max(other.eighths),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn thresholds(reordering: &Reordering) -> (u64, u64) {
        (reordering.packets(), reordering.delay(RTT).as_millis() as u64)
    }

    #[test]
    fn spurious_losses_widen_within_bounds() {
        let cases = [
            // distance, elapsed, spurious, then: packets, delay
            (40, 85, false, (3, 90)),
            (4, 80, true, (6, 90)),
            (4, 95, true, (6, 100)),
            (20, 120, true, (26, 130)),
            (200, 149, true, (251, 150)),
            (250, 85, true, (3, 90)),
            (4, 160, true, (3, 90)),
            (4, 100_000_000, true, (3, 90)),
            (u64::MAX / 2, 85, true, (3, 90)),
        ];
        for (distance, elapsed, spurious, expected) in cases {
            let mut reordering = Reordering::new();
            reordering.on_late(distance, Duration::from_millis(elapsed), RTT, spurious);
            assert_eq!(
                thresholds(&reordering),
                expected,
                "{distance} packets, {elapsed} ms, {spurious}"
            );
        }
    }

    #[test]
    fn they_narrow_by_half_each_period_down_to_what_is_seen() {
        let mut reordering = Reordering::new();
        reordering.on_late(80, Duration::from_millis(145), RTT, true);
        assert_eq!(thresholds(&reordering), (101, 150));
        let period = RTT * PERIOD_ROUNDS;
        let mut now = Time::ZERO + period;
        reordering.on_time(now - Duration::from_nanos(1), RTT);
        reordering.on_time(now, RTT);
        // The evidence of the period that ends still counts.
        assert_eq!(thresholds(&reordering), (101, 150));
        let mut narrowed = Vec::new();
        for _ in 0..8 {
            now += period;
            reordering.on_time(now, RTT);
            reordering.on_time(now, RTT);
            narrowed.push(thresholds(&reordering));
        }
        assert_eq!(narrowed[..4], [(52, 120), (27, 100), (15, 90), (9, 90)]);
        assert_eq!(narrowed[7], (3, 90));

        reordering.on_late(20, RTT, RTT, true);
        for _ in 0..5 {
            reordering.on_late(12, RTT, RTT, false);
            now += period;
            reordering.on_time(now, RTT);
        }
        assert_eq!(reordering.packets(), 16);
    }

    #[test]
    fn a_short_path_waits_for_the_granularity() {
        assert_eq!(Reordering::new().delay(Duration::from_micros(50)), GRANULARITY);
    }
}
