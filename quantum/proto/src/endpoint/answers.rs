//! Datagrams that are sent without state. `quantum/SPEC.md` section 8.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::{
    connection::Transmit,
    crypto::{STATELESS_NUMBER, seal_stateless},
    endpoint::DatagramEvent,
    error::CloseCode,
    frame::Frame,
    header::{Flags, HEADER_LEN, Header, TAG_LEN, VERSION},
    number::PacketNumber,
    types::ConnectionId,
};

/// Random bytes in front of a reset's token.
pub(super) const RESET_NOISE: usize = 8;
/// Bytes of a stateless reset.
pub(super) const RESET_LEN: usize = HEADER_LEN + RESET_NOISE + 16;

fn reply(remote: SocketAddr, data: Vec<u8>) -> DatagramEvent {
    let transmit = Transmit {
        remote,
        bytes: data.len(),
        segment: data.len(),
        ecn: None,
    };
    DatagramEvent::Reply(transmit, data)
}

fn header(id: ConnectionId, flags: Flags, payload_len: usize) -> Header {
    Header {
        version: VERSION,
        flags,
        id,
        number: STATELESS_NUMBER.low(),
        ack: 0,
        payload_len: payload_len as u16,
    }
}

/// A packet with one frame, sealed with the initial keys of the server's side.
fn sealed(remote: SocketAddr, id: ConnectionId, flags: Flags, frame: &Frame) -> DatagramEvent {
    let mut packet = vec![0; HEADER_LEN];
    frame.encode(PacketNumber::ZERO, &mut packet);
    let head = header(id, flags, packet.len() - HEADER_LEN + TAG_LEN).encode();
    packet[..HEADER_LEN].copy_from_slice(&head);
    match seal_stateless(id, &head, &mut packet, HEADER_LEN) {
        Ok(()) => reply(remote, packet),
        Err(_) => DatagramEvent::Ignored,
    }
}

/// Asks the client to prove its address.
pub(super) fn retry(remote: SocketAddr, id: ConnectionId, token: Bytes) -> DatagramEvent {
    sealed(
        remote,
        id,
        Flags::SYN.with(Flags::RST).with(Flags::PSH),
        &Frame::Token(token),
    )
}

/// Ends a connection that was never begun.
pub(super) fn close(remote: SocketAddr, id: ConnectionId, code: CloseCode) -> DatagramEvent {
    let frame = Frame::Close {
        code,
        reason: code.to_string(),
    };
    sealed(remote, id, Flags::SYN.with(Flags::FIN), &frame)
}

/// Names the versions that we speak.
pub(super) fn version(remote: SocketAddr, id: ConnectionId) -> DatagramEvent {
    let mut data = header(id, Flags::SYN.with(Flags::RST), 1).encode().to_vec();
    data.push(VERSION);
    reply(remote, data)
}

/// Tells a peer that its connection is gone.
pub(super) fn reset(remote: SocketAddr, id: ConnectionId, noise: &[u8; RESET_NOISE], token: [u8; 16]) -> DatagramEvent {
    let mut data = header(id, Flags::RST, RESET_NOISE + token.len()).encode().to_vec();
    data.extend_from_slice(noise);
    data.extend_from_slice(&token);
    reply(remote, data)
}
