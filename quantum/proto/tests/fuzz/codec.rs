//! Readers of hostile bytes: headers, frames, transport parameters, tokens.

use quantum_proto::{Header, fuzzing};

use crate::{run::seeds, source::Source};

/// Bytes as a datagram; what is read as a header is written as it was.
pub(crate) fn header(data: &[u8]) {
    let mut source = Source::new(data);
    let mut datagram = b"QUNT".to_vec();
    if source.once_in(2) {
        datagram.push(1);
    }
    datagram.extend_from_slice(source.rest());
    for datagram in [data, &datagram] {
        if let Ok(header) = Header::decode(datagram) {
            assert_eq!(header.encode()[..], datagram[..32]);
            assert!(32 + usize::from(header.payload_len) <= datagram.len());
        }
    }
}

/// Bytes as frames.
pub(crate) fn frames(data: &[u8]) {
    let mut source = Source::new(data);
    let ack = source.word();
    fuzzing::frames(ack, source.rest());
}

/// Frames that are valid but for a few bytes.
pub(crate) fn nearly_frames(data: &[u8]) {
    let mut source = Source::new(data);
    let ack = source.word() >> source.below(64);
    let mut payload = fuzzing::valid_frames(ack, || source.word());
    fuzzing::frames(ack, &payload);
    source.mutate(&mut payload);
    fuzzing::frames(ack, &payload);
}

/// Bytes as transport parameters, and such as are valid but for a few bytes.
pub(crate) fn params(data: &[u8]) {
    fuzzing::params(data);
    let mut source = Source::new(data);
    let mut nearly = fuzzing::valid_params();
    source.mutate(&mut nearly);
    fuzzing::params(&nearly);
}

/// Tokens that are genuine but for a few bytes, or anything.
pub(crate) fn token(data: &[u8]) {
    let mut source = Source::new(data);
    let (now, visit) = (source.word(), source.once_in(2));
    fuzzing::token(now, visit, |token| match source.once_in(4) {
        true => *token = source.rest().to_vec(),
        false => source.mutate(token),
    });
}

#[test]
fn any_header() {
    seeds("any_header", 20_000, 80, header);
}

#[test]
fn any_frames() {
    seeds("any_frames", 20_000, 100, frames);
}

#[test]
fn mutated_frames() {
    seeds("mutated_frames", 20_000, 400, nearly_frames);
}

#[test]
fn any_params() {
    seeds("any_params", 20_000, 100, params);
}

#[test]
fn any_token() {
    seeds("any_token", 5_000, 60, token);
}
