//! Counters of a connection.

use std::time::Duration;

/// What a connection has done, and how it stands now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets opened, duplicates not included.
    pub packets_received: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Packets that arrived twice.
    pub packets_duplicate: u64,
    /// Packets that did not open: forged, damaged or without keys.
    pub packets_rejected: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Packets declared lost that were acknowledged later.
    pub packets_spurious: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Probes sent because nothing was heard.
    pub probes: u64,
    /// Parity packets sent.
    pub parity_sent: u64,
    /// Messages' bytes repeated in later packets.
    pub repeated_bytes: u64,
    /// Packets that the peer repaired from parity.
    pub repaired_by_peer: u64,
    /// Packets repaired here.
    pub repaired: u64,
    /// Messages taken from the application.
    pub messages_sent: u64,
    /// Messages given to the application.
    pub messages_received: u64,
    /// Bytes of messages sent, retransmissions not included.
    pub message_bytes_sent: u64,
    /// Bytes of messages delivered.
    pub message_bytes_received: u64,
    /// Smoothed RTT.
    pub rtt: Duration,
    /// Smallest RTT of late.
    pub rtt_min: Duration,
    /// Bytes that may be in flight.
    pub congestion_window: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes per second.
    pub pacing_rate: u64,
    /// What BBR is doing.
    pub state: &'static str,
    /// UDP payload bytes of a full datagram.
    pub mtu: u16,
    /// Fraction of packets lost of late.
    pub loss: f64,
    /// Packets in a row that are lost, on average.
    pub burst: f64,
    /// Parity blocks that contradicted themselves and were dropped.
    pub blocks_contradictory: u64,
}

impl Stats {
    /// Adds another connection's counters; how it stood is not added.
    pub fn absorb(&mut self, other: &Self) {
        self.packets_sent += other.packets_sent;
        self.packets_received += other.packets_received;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.datagrams_sent += other.datagrams_sent;
        self.packets_duplicate += other.packets_duplicate;
        self.packets_rejected += other.packets_rejected;
        self.packets_lost += other.packets_lost;
        self.packets_spurious += other.packets_spurious;
        self.timeouts += other.timeouts;
        self.probes += other.probes;
        self.parity_sent += other.parity_sent;
        self.repeated_bytes += other.repeated_bytes;
        self.repaired_by_peer += other.repaired_by_peer;
        self.repaired += other.repaired;
        self.messages_sent += other.messages_sent;
        self.messages_received += other.messages_received;
        self.message_bytes_sent += other.message_bytes_sent;
        self.message_bytes_received += other.message_bytes_received;
        self.blocks_contradictory += other.blocks_contradictory;
    }
}
