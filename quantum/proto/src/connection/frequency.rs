//! How many packets one acknowledgement answers.

use std::time::Duration;

use crate::time::Time;

/// Acknowledgements in a round trip that are enough for the sender's model of the path: with half as many it cedes its part of a link to CUBIC.
const PER_ROUND: u32 = 32;
/// At most so many packets wait for an acknowledgement, and at least the two of RFC 9000 section 13.2.2.
const MOST: u32 = 10;
pub(super) const LEAST: u32 = 2;

/// Counts the packets of a round trip: the more there are, the fewer need an acknowledgement of their own.
#[derive(Debug, Default)]
pub(super) struct Frequency {
    round_began: Time,
    packets: u32,
    every: u32,
}

impl Frequency {
    /// A packet arrived; returns after how many an acknowledgement is due.
    pub(super) fn on_packet(&mut self, now: Time, rtt: Duration) -> u32 {
        self.packets += 1;
        if now.since(self.round_began) >= rtt {
            self.every = self.packets / PER_ROUND;
            self.round_began = now;
            self.packets = 0;
        }
        self.every.clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(packets: u64, interval: Duration, rtt: Duration) -> u32 {
        let mut frequency = Frequency::default();
        let mut now = Time::ZERO;
        let mut every = 0;
        for _ in 0..packets {
            now += interval;
            every = frequency.on_packet(now, rtt);
        }
        every
    }

    #[test]
    fn a_sparse_flow_is_acknowledged_every_second_packet() {
        assert_eq!(after(100, Duration::from_millis(16), Duration::from_millis(100)), 2);
    }

    #[test]
    fn a_bulk_flow_is_acknowledged_as_often_as_a_round_trip_needs() {
        assert_eq!(after(1000, Duration::from_micros(500), Duration::from_millis(80)), 5);
        assert_eq!(after(9000, Duration::from_micros(100), Duration::from_millis(100)), 10);
    }
}
