//! Frames as qlog has them: by the names of QUIC's where they mean the same, by our own otherwise.
//!
//! | Quantum | qlog |
//! |---|---|
//! | MESSAGE | `stream`; `stream_id` is the channel, `offset` counts within the message; `message_id` and `unordered` are ours |
//! | MAX_CHANNEL_DATA | `max_stream_data` |
//! | TOKEN | `new_token` |
//! | CLOSE | `connection_close` |
//! | FLOOR, PARITY | `floor`, `parity` |

use super::json::{Array, Object};
use crate::{
    error::CloseCode,
    frame::{Ack, Frame, Parity},
    number::PacketNumber,
    types::Delivery,
};

/// What a packet settles: from what the one before settled, to its header's acknowledgement.
#[derive(Clone, Copy)]
pub(super) struct Settled {
    pub(super) before: PacketNumber,
    pub(super) now: PacketNumber,
}

/// The first code that belongs to the application.
const APPLICATION: u64 = CloseCode::application(0).0;

pub(super) fn write(frames: &mut Array<'_>, frame: &Frame, settled: Settled) {
    let mut out = frames.object();
    out.text("frame_type", name(frame));
    match frame {
        Frame::Padding(count) => out.number("payload_length", *count as u64),
        Frame::Ping | Frame::HandshakeDone => {}
        Frame::Ack(ack) => write_ack(&mut out, Some(ack), settled),
        Frame::Crypto { offset, data } => {
            out.number("offset", *offset);
            out.number("length", data.len() as u64);
        }
        Frame::Floor(number) => out.number("packet_number", number.0),
        Frame::MaxData(limit) => out.number("maximum", *limit),
        Frame::MaxChannelData(channel, limit) => {
            out.number("stream_id", u64::from(channel.0));
            out.number("maximum", *limit);
        }
        Frame::PathChallenge(data) | Frame::PathResponse(data) => out.hex("data", data),
        Frame::NewConnectionId { sequence, id, .. } => {
            // The reset token is a secret of the path, and of no use to a reader.
            out.number("sequence_number", *sequence);
            out.number("retire_prior_to", 0);
            out.number("connection_id_length", 16);
            out.hex("connection_id", id.0.as_bytes());
        }
        Frame::RetireConnectionId(sequence) => out.number("sequence_number", *sequence),
        Frame::Token(token) => out.object("token").number("length", token.len() as u64),
        Frame::Close { code, reason } => write_close(&mut out, *code, reason),
        Frame::Parity(parity) => write_parity(&mut out, parity),
        Frame::Message(message) => {
            out.number("stream_id", u64::from(message.channel.0));
            out.number("offset", message.offset);
            out.number("length", message.data.len() as u64);
            out.flag("fin", message.fin);
            out.number("message_id", message.id.0);
            out.flag("unordered", message.delivery == Delivery::Unordered);
        }
        Frame::Datagram(data) => out.number("length", data.len() as u64),
    }
}

fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Padding(_) => "padding",
        Frame::Ping => "ping",
        Frame::Ack(_) => "ack",
        Frame::Crypto { .. } => "crypto",
        Frame::Floor(_) => "floor",
        Frame::MaxData(_) => "max_data",
        Frame::MaxChannelData(..) => "max_stream_data",
        Frame::PathChallenge(_) => "path_challenge",
        Frame::PathResponse(_) => "path_response",
        Frame::NewConnectionId { .. } => "new_connection_id",
        Frame::RetireConnectionId(_) => "retire_connection_id",
        Frame::Token(_) => "new_token",
        Frame::HandshakeDone => "handshake_done",
        Frame::Close { .. } => "connection_close",
        Frame::Parity(_) => "parity",
        Frame::Message(_) => "stream",
        Frame::Datagram(_) => "datagram",
    }
}

/// What only the header says, for packets without an ACK frame.
pub(super) fn write_settled(frames: &mut Array<'_>, settled: Settled) {
    let mut out = frames.object();
    out.text("frame_type", "ack");
    write_ack(&mut out, None, settled);
}

/// Ranges below the header's acknowledgement begin where those of the packet before ended: with all of them, from 0 on, in each
/// ACK, a log would grow with the square of its length.
fn write_ack(out: &mut Object<'_>, ack: Option<&Ack>, settled: Settled) {
    if let Some(ack) = ack {
        out.millis("ack_delay", std::time::Duration::from_micros(ack.delay_us));
        if ack.repaired > 0 {
            out.number("repaired", ack.repaired);
        }
        if let Some([ect0, ect1, ce]) = ack.ecn {
            out.number("ect0", ect0);
            out.number("ect1", ect1);
            out.number("ce", ce);
        }
    }
    let mut ranges = out.array("acked_ranges");
    if settled.before < settled.now {
        ranges.range(settled.before.0, settled.now.0 - 1);
    }
    for block in ack.iter().flat_map(|ack| ack.blocks.iter().rev()) {
        ranges.range(block.first.0, block.last.0);
    }
}

fn write_close(out: &mut Object<'_>, code: CloseCode, reason: &str) {
    let (space, code) = match code.0.checked_sub(APPLICATION) {
        Some(code) => ("application", code),
        None => ("transport", code.0),
    };
    out.text("error_space", space);
    out.number("error_code", code);
    out.text("reason", reason);
}

fn write_parity(out: &mut Object<'_>, parity: &Parity) {
    out.number("index", u64::from(parity.index));
    out.number("length", parity.symbol.len() as u64);
    let mut sources = out.array("sources");
    for source in &parity.sources {
        sources.range(source.0, source.0);
    }
}
