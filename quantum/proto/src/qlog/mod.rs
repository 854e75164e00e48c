//! A connection's log in the form of qlog, which qvis (<https://qvis.quictools.info>) opens.
//!
//! Owns what the log must remember between two records. Inputs: what happens, from [`Connection`](crate::Connection), and only when a
//! sink is set. Effects: records, handed to the [`QlogSink`].
//! Each record is one element of a JSON text sequence (RFC 7464). The first describes the log, each further one is an event.
//! Schema: qlog 0.3 (draft-ietf-quic-qlog-main-schema and draft-ietf-quic-qlog-quic-events), as that is what qvis reads; the mapping of
//! frames is in [`frames`]. A packet's header has the further fields `flags` (as on the wire) and `acknowledgement`.
//! Invariants: no content of messages, no keys and no tokens are written.
//! On failure: there is none; a sink that cannot write drops the record.

mod frames;
mod json;
mod metrics;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use bytes::Bytes;

pub(crate) use self::metrics::Metrics;
use self::{
    frames::Settled,
    json::{Array, Object},
};
use crate::{
    error::{CloseCode, ConnectionError},
    frame::{Frame, Frames},
    header::{Flags, HEADER_LEN, Header, TAG_LEN},
    number::PacketNumber,
    params::Params,
    time::Time,
    types::{ConnectionId, Level, Side},
};

/// Takes a connection's qlog. It is called while packets are processed: it should hand the record on, and not wait for a disk.
pub trait QlogSink: Send {
    /// One record, with the separator (0x1e) before and the newline behind it: a file is these texts one after the other.
    fn event(&mut self, record: &str);
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Sent,
    Received,
}

/// Who set something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Local,
    Remote,
}

/// A packet in clear.
pub(crate) struct Packet<'a> {
    pub(crate) level: Level,
    pub(crate) number: PacketNumber,
    pub(crate) flags: Flags,
    pub(crate) id: ConnectionId,
    /// The header's acknowledgement, when it is valid.
    pub(crate) ack: Option<PacketNumber>,
    /// The frames.
    pub(crate) payload: &'a [u8],
}

/// See the module.
pub(crate) struct Qlog {
    sink: Box<dyn QlogSink>,
    side: Side,
    /// Times are relative to this one.
    began: Time,
    /// Kept for its memory.
    record: String,
    /// What was settled so far, by direction and space.
    settled: [[PacketNumber; 3]; 2],
    /// The key generation, by direction.
    generations: [u64; 2],
    metrics: Metrics,
    state: &'static str,
    /// The peer's parameters are written.
    knows_peer: bool,
}

impl Qlog {
    /// Begins the log.
    pub(crate) fn new(sink: Box<dyn QlogSink>, now: Time, side: Side, id: ConnectionId) -> Self {
        let mut qlog = Self {
            sink,
            side,
            began: now,
            record: String::with_capacity(1024),
            settled: Default::default(),
            generations: [0; 2],
            metrics: Metrics::default(),
            state: "",
            knows_peer: false,
        };
        qlog.write(|record| {
            record.text("qlog_version", "0.3");
            record.text("qlog_format", "JSON-SEQ");
            record.text("title", "Quantum");
            let mut trace = record.object("trace");
            let mut vantage_point = trace.object("vantage_point");
            vantage_point.text("name", "quantum");
            vantage_point.text("type", name_of(side));
            drop(vantage_point);
            let mut common = trace.object("common_fields");
            common.hex("ODCID", id.0.as_bytes());
            common.text("time_format", "relative");
            common.number("reference_time", now.as_nanos() / 1_000_000);
            common.array("protocol_type").text("QUANTUM");
        });
        qlog
    }

    /// The connection begins. The core does not know its own address.
    pub(crate) fn started(&mut self, now: Time, remote: SocketAddr, id: ConnectionId) {
        let unknown = match remote {
            SocketAddr::V4(_) => "0.0.0.0",
            SocketAddr::V6(_) => "::",
        };
        self.event(now, "connectivity:connection_started", |data| {
            data.text("ip_version", if remote.is_ipv4() { "v4" } else { "v6" });
            data.text("src_ip", unknown);
            data.text("dst_ip", &remote.ip().to_string());
            data.text("protocol", "QUANTUM");
            data.number("src_port", 0);
            data.number("dst_port", u64::from(remote.port()));
            data.hex("src_cid", id.0.as_bytes());
            data.hex("dst_cid", id.0.as_bytes());
        });
    }

    /// What an end said of itself; the peer's only once.
    pub(crate) fn parameters(&mut self, now: Time, owner: Owner, params: &Params) {
        if owner == Owner::Remote && std::mem::replace(&mut self.knows_peer, true) {
            return;
        }
        self.event(now, "transport:parameters_set", |data| {
            data.text("owner", owner.name());
            data.number("max_idle_timeout", params.idle_timeout.as_millis() as u64);
            data.number("max_udp_payload_size", u64::from(params.max_udp_payload));
            data.millis("max_ack_delay", params.max_ack_delay);
            data.number("initial_max_data", params.initial_max_data);
            data.number("initial_max_stream_data_bidi_remote", params.initial_max_channel_data);
            data.number("initial_max_streams_bidi", u64::from(params.max_channels));
            data.number("max_datagram_frame_size", u64::from(params.max_datagram));
            data.number("max_message", u64::from(params.max_message));
            data.flag("fec", params.fec);
        });
    }

    /// A packet goes out, or one that came was opened.
    pub(crate) fn packet(&mut self, now: Time, direction: Direction, packet: &Packet<'_>) {
        self.key_generation(now, direction, packet);
        let settled = self.settle(direction, packet);
        let name = match direction {
            Direction::Sent => "transport:packet_sent",
            Direction::Received => "transport:packet_received",
        };
        self.event(now, name, |data| {
            write_header(
                data,
                type_of(packet.level),
                Some(packet.number),
                packet.flags,
                packet.id,
                packet.ack,
            );
            write_size(data, HEADER_LEN + packet.payload.len() + TAG_LEN);
            write_frames(&mut data.array("frames"), packet, settled);
        });
    }

    /// The first packet of a generation names its keys.
    fn key_generation(&mut self, now: Time, direction: Direction, packet: &Packet<'_>) {
        let generation = packet.number.generation();
        if packet.level != Level::Application || generation <= self.generations[direction as usize] {
            return;
        }
        self.generations[direction as usize] = generation;
        let client = (self.side == Side::Client) == (direction == Direction::Sent);
        self.event(now, "security:key_updated", |data| {
            data.text(
                "key_type",
                if client {
                    "client_1rtt_secret"
                } else {
                    "server_1rtt_secret"
                },
            );
            data.number("generation", generation);
            data.text(
                "trigger",
                if direction == Direction::Sent {
                    "local_update"
                } else {
                    "remote_update"
                },
            );
        });
    }

    fn settle(&mut self, direction: Direction, packet: &Packet<'_>) -> Settled {
        let before = &mut self.settled[direction as usize][packet.level.space() as usize];
        let now = packet.ack.unwrap_or_default().max(*before);
        Settled {
            before: std::mem::replace(before, now),
            now,
        }
    }

    /// A retry, version or stateless reset packet came.
    pub(crate) fn stateless(&mut self, now: Time, header: &Header) {
        self.event(now, "transport:packet_received", |data| {
            write_header(data, stateless_type(header.flags), None, header.flags, header.id, None);
            write_size(data, HEADER_LEN + usize::from(header.payload_len));
            data.array("frames");
        });
    }

    /// A packet came to nothing; `trigger` is one of qlog's.
    pub(crate) fn dropped(&mut self, now: Time, header: &Header, trigger: &str) {
        let kind = header.flags.level().map_or("unknown", type_of);
        self.event(now, "transport:packet_dropped", |data| {
            write_header(data, kind, None, header.flags, header.id, None);
            write_size(data, HEADER_LEN + usize::from(header.payload_len));
            data.text("trigger", trigger);
        });
    }

    /// A packet counts as lost; `timeout`: because nothing was heard for too long.
    pub(crate) fn lost(&mut self, now: Time, level: Level, number: PacketNumber, timeout: bool) {
        self.event(now, "recovery:packet_lost", |data| {
            let mut header = data.object("header");
            header.text("packet_type", type_of(level));
            header.number("packet_number", number.0);
            drop(header);
            if timeout {
                data.text("trigger", "pto_expired");
            }
        });
    }

    /// How the path is seen now. Only what changed is written.
    pub(crate) fn metrics(&mut self, now: Time, metrics: Metrics, state: &'static str) {
        let before = std::mem::replace(&mut self.metrics, metrics);
        if before != metrics {
            self.event(now, "recovery:metrics_updated", |data| {
                metrics::write(data, &before, &metrics)
            });
        }
        let old = std::mem::replace(&mut self.state, state);
        if old != state {
            self.event(now, "recovery:congestion_state_updated", |data| {
                if !old.is_empty() {
                    data.text("old", old);
                }
                data.text("new", state);
            });
        }
    }

    /// The connection is over. `said` is what this end tells the peer, when it does.
    pub(crate) fn closed(&mut self, now: Time, error: &ConnectionError, said: Option<(CloseCode, &str)>) {
        let (owner, trigger, told) = match error {
            ConnectionError::Closed => (Owner::Local, "clean", said),
            ConnectionError::Transport(_) => (Owner::Local, "error", said),
            ConnectionError::ClosedByPeer(error) => (Owner::Remote, "unspecified", Some((error.code, &*error.reason))),
            ConnectionError::TimedOut => (Owner::Local, "idle_timeout", None),
            ConnectionError::Reset => (Owner::Remote, "stateless_reset", None),
            ConnectionError::Version => (Owner::Remote, "version_mismatch", None),
        };
        self.event(now, "connectivity:connection_closed", |data| {
            data.text("owner", owner.name());
            if let Some((code, reason)) = told {
                match code.0.checked_sub(CloseCode::application(0).0) {
                    Some(code) => data.number("application_code", code),
                    None => data.number("connection_code", code.0),
                }
                data.text("reason", reason);
            }
            data.text("trigger", trigger);
        });
    }

    fn event(&mut self, now: Time, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let time = now.since(self.began);
        self.write(|record| {
            record.millis("time", time);
            record.text("name", name);
            fill(&mut record.object("data"));
        });
    }

    fn write(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        self.record.clear();
        self.record.push('\u{1e}');
        fill(&mut Object::open(&mut self.record));
        self.record.push('\n');
        self.sink.event(&self.record);
    }
}

impl Owner {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

fn name_of(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn type_of(level: Level) -> &'static str {
    match level {
        Level::Initial => "initial",
        Level::Handshake => "handshake",
        Level::Early => "0RTT",
        Level::Application => "1RTT",
    }
}

fn stateless_type(flags: Flags) -> &'static str {
    match (flags.has(Flags::SYN), flags.has(Flags::PSH)) {
        (true, true) => "retry",
        (true, false) => "version_negotiation",
        (false, _) => "stateless_reset",
    }
}

fn write_header(
    data: &mut Object<'_>,
    kind: &str,
    number: Option<PacketNumber>,
    flags: Flags,
    id: ConnectionId,
    ack: Option<PacketNumber>,
) {
    let mut header = data.object("header");
    header.text("packet_type", kind);
    if let Some(number) = number {
        header.number("packet_number", number.0);
    }
    header.number("flags", u64::from(flags.0));
    header.hex("dcid", id.0.as_bytes());
    if let Some(ack) = ack {
        header.number("acknowledgement", ack.0);
    }
}

/// Bytes of the packet, and of its payload with the tag.
fn write_size(data: &mut Object<'_>, bytes: usize) {
    let mut raw = data.object("raw");
    raw.number("length", bytes as u64);
    raw.number("payload_length", (bytes - HEADER_LEN) as u64);
}

fn write_frames(out: &mut Array<'_>, packet: &Packet<'_>, settled: Settled) {
    let mut acked = false;
    let payload = Bytes::copy_from_slice(packet.payload);
    for frame in Frames::new(packet.ack.unwrap_or_default(), payload).map_while(Result::ok) {
        acked |= matches!(frame, Frame::Ack(_));
        frames::write(out, &frame, settled);
    }
    if !acked && settled.before < settled.now {
        frames::write_settled(out, settled);
    }
}
