//! What the user of the crate may choose.

use std::{sync::Arc, time::Duration};

/// How connections behave. The defaults fit interactive applications on any network.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// The connection is dropped after this long without a packet. Default 30 s.
    pub idle_timeout: Duration,
    /// An idle connection sends a PING this often, so that NAT bindings stay. `None`: never. Default 10 s.
    pub keep_alive: Option<Duration>,
    /// Bytes of a message that the peer may send. Any value will do; both windows below are at least 4/3 of it. Default 16 MiB.
    pub max_message: u32,
    /// Bytes that the peer may have under way or unread on the connection; bounds the memory of the receiving side. Raised to
    /// what the largest message needs. Default 24 MiB.
    pub receive_window: u32,
    /// The same for each channel. Default 24 MiB.
    pub channel_window: u32,
    /// Channels that the peer may use. Default 1024; each used one costs about 200 bytes.
    pub max_channels: u32,
    /// Bytes of an unreliable datagram that the peer may send. 0: none. Default 1200.
    pub max_datagram: u16,
    /// Bytes that may be queued for sending, those in flight included. Default 1 MiB.
    pub send_buffer: usize,
    /// Unreliable datagrams queued for sending; the oldest is dropped. (Of those received, 256 wait for the application.) Default 64.
    pub datagram_queue: usize,
    /// Longest time that an acknowledgement is held back. Default 5 ms.
    pub max_ack_delay: Duration,
    /// Largest UDP payload to send and to take, from 1,200 to 65,507 bytes; a value beyond counts as the nearest of these. Default 1452.
    pub max_udp_payload: u16,
    /// Whether small messages may be protected by parity or repetition on lossy paths. Default `true`.
    pub protection: bool,
    /// The RTT assumed before the first sample. Default 100 ms.
    pub initial_rtt: Duration,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            keep_alive: Some(Duration::from_secs(10)),
            max_message: 16 << 20,
            receive_window: 24 << 20,
            channel_window: 24 << 20,
            max_channels: 1024,
            max_datagram: 1200,
            send_buffer: 1 << 20,
            datagram_queue: 64,
            max_ack_delay: Duration::from_millis(5),
            max_udp_payload: 1452,
            protection: true,
            initial_rtt: Duration::from_millis(100),
        }
    }
}

/// What belongs to an endpoint, whatever its connections do.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Seeds everything random but TLS. A driver fills it from the system's source; a simulation chooses it.
    pub seed: [u8; 32],
    /// Keys tokens and stateless resets; keep it over restarts, so that clients of before a restart hear a reset at once.
    pub secret: [u8; 32],
    /// Connections at the same time, half-open ones included. Default 65,536.
    pub max_connections: usize,
    /// Half-open connections beyond which a SYN must bring a token (a retry is sent). Default 256.
    pub retry_above: usize,
    /// Half-open connections beyond which a SYN is ignored even with one. Default 4,096.
    pub max_half_open: usize,
}

impl EndpointConfig {
    /// The defaults, with what must be random.
    pub fn new(seed: [u8; 32], secret: [u8; 32]) -> Self {
        Self {
            seed,
            secret,
            max_connections: 65_536,
            retry_above: 256,
            max_half_open: 4_096,
        }
    }
}

/// A server: its TLS identity and its transport settings.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// TLS 1.3 with at least one ALPN protocol.
    pub tls: Arc<rustls::ServerConfig>,
    /// For every connection.
    pub transport: Arc<TransportConfig>,
}

/// A client: whom it trusts and its transport settings.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// From [`Connection::take_token`](crate::Connection::take_token) of an earlier connection to the same server: spares a
    /// round trip when the server demands that addresses are proved.
    pub token: Option<bytes::Bytes>,
    /// TLS 1.3 with at least one ALPN protocol.
    pub tls: Arc<rustls::ClientConfig>,
    /// For the connection.
    pub transport: Arc<TransportConfig>,
}
