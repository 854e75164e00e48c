//! What was exchanged with a client: counted on the way of every frame, so by relaxed atomic additions alone.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counters that the connection moves and others read.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    packets_in: AtomicU64,
    packets_out: AtomicU64,
    retransmissions: AtomicU64,
    rtt_us: AtomicU64,
}

/// What they stood at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrafficStats {
    /// Bytes that came from the client.
    pub bytes_in: u64,
    /// Bytes that went to it.
    pub bytes_out: u64,
    /// Packets that came; frames, where the transport shows no packets.
    pub packets_in: u64,
    /// Packets, or frames, that went.
    pub packets_out: u64,
    /// Of the packets that went, those that carried again what had been lost; 0 where the transport does not tell.
    pub retransmissions: u64,
    /// The newest smoothed round-trip time, microseconds; 0 when it is not known.
    pub rtt_us: u64,
}

impl Traffic {
    /// So much came from the client.
    pub fn received(&self, packets: u64, bytes: u64) {
        self.packets_in.fetch_add(packets, Relaxed);
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// So much went to it.
    pub fn sent(&self, packets: u64, bytes: u64) {
        self.packets_out.fetch_add(packets, Relaxed);
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// So many more packets were sent again.
    pub fn retransmitted(&self, packets: u64) {
        self.retransmissions.fetch_add(packets, Relaxed);
    }

    /// The round-trip time is now this.
    pub fn set_rtt(&self, rtt: Duration) {
        self.rtt_us
            .store(rtt.as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// What they stand at; not all at the same instant.
    pub fn stats(&self) -> TrafficStats {
        TrafficStats {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            packets_in: self.packets_in.load(Relaxed),
            packets_out: self.packets_out.load(Relaxed),
            retransmissions: self.retransmissions.load(Relaxed),
            rtt_us: self.rtt_us.load(Relaxed),
        }
    }
}

/// Adds what was counted. A round-trip time cannot be added: that of the sum is the longest.
impl AddAssign for TrafficStats {
    fn add_assign(&mut self, other: Self) {
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.packets_in = self.packets_in.saturating_add(other.packets_in);
        self.packets_out = self.packets_out.saturating_add(other.packets_out);
        self.retransmissions = self.retransmissions.saturating_add(other.retransmissions);
        self.rtt_us = self.rtt_us.max(other.rtt_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_found_and_added() {
        let traffic = Traffic::default();
        traffic.received(2, 300);
        traffic.sent(1, 50);
        traffic.retransmitted(4);
        traffic.set_rtt(Duration::from_millis(12));
        let mut sum = traffic.stats();
        traffic.set_rtt(Duration::from_millis(3));
        sum += traffic.stats();
        let expected = TrafficStats {
            bytes_in: 600,
            bytes_out: 100,
            packets_in: 4,
            packets_out: 2,
            retransmissions: 8,
            rtt_us: 12_000,
        };
        assert_eq!(sum, expected);
    }
}
