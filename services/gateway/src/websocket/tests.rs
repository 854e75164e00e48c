use std::io::Cursor;

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{Role, WebSocket, frame::coding::CloseCode as Code},
};

use super::*;

/// What the decoder makes of `bytes` when they come in pieces of `piece`.
fn decode(bytes: &[u8], piece: usize, limit: usize) -> Result<Vec<Incoming>, Close> {
    let mut decoder = Decoder::new(limit);
    let mut found = vec![];
    for mut part in bytes.chunks(piece.max(1)) {
        while let Some(incoming) = decoder.feed(&mut part)? {
            found.push(incoming);
        }
        assert!(part.is_empty());
    }
    Ok(found)
}

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..=125 => bytes.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0x80 | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

fn message(bytes: &[u8]) -> Incoming {
    Incoming::Message(Bytes::copy_from_slice(bytes))
}

fn code(result: Result<Vec<Incoming>, Close>) -> CloseCode {
    result.unwrap_err().code
}

#[test]
fn fragments_are_joined_and_control_frames_may_stand_between() {
    let bytes = [
        frame(0x02, b"one "),
        frame(0x89, b"?"),
        frame(0x00, b"two "),
        frame(0x8a, b""),
        frame(0x80, b"three"),
        frame(0x88, &1000u16.to_be_bytes()),
    ]
    .concat();
    for piece in [1, 2, 3, 7, 1000] {
        let found = decode(&bytes, piece, 100).unwrap();
        let expected = [
            Incoming::Ping(Bytes::from_static(b"?")),
            Incoming::Pong,
            message(b"one two three"),
            Incoming::Close(Some(1000)),
        ];
        assert_eq!(found, expected, "in pieces of {piece}");
    }
}

#[test]
fn broken_rules_are_refused_as_soon_as_they_are_seen() {
    for (bytes, why) in [
        (vec![0xc2, 0x80], "reserved bit"),
        (vec![0x82, 0x01], "not masked"),
        (vec![0x83, 0x80], "unknown data frame"),
        (vec![0x8b, 0x80], "unknown control frame"),
        (vec![0x80, 0x80], "continuation of nothing"),
        (vec![0x09, 0x80], "fragmented ping"),
        (vec![0x89, 0xfe], "long ping"),
        (
            [frame(0x02, b"a"), vec![0x82, 0x80]].concat(),
            "message within a message",
        ),
        (frame(0x88, &[3]), "half a close code"),
    ] {
        assert_eq!(code(decode(&bytes, 1, 100)), CloseCode::ProtocolError, "{why}");
    }
    assert_eq!(code(decode(&[0x81, 0x80], 1, 100)), CloseCode::UnsupportedData);
}

#[test]
fn a_message_that_is_too_long_is_refused_by_its_header() {
    let header = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    for length in [101, 1 << 40, u64::MAX] {
        assert_eq!(code(decode(&header(length), 3, 100)), CloseCode::MessageTooBig);
    }
    let fragments = [frame(0x02, &[0; 60]), frame(0x00, &[0; 41])].concat();
    assert_eq!(code(decode(&fragments, 9, 100)), CloseCode::MessageTooBig);
    let fits = [frame(0x02, &[0; 60]), frame(0x80, &[0; 40])].concat();
    assert_eq!(decode(&fits, 9, 100).unwrap(), [message(&[0; 100])]);
}

#[test]
fn what_has_not_arrived_is_not_allocated() {
    let mut decoder = Decoder::new(usize::MAX);
    let bytes = [&[0x82, 0xff][..], &(1u64 << 40).to_be_bytes(), &[0; 4], &[0; 100]].concat();
    assert_eq!(decoder.feed(&mut &bytes[..]), Ok(None));
    assert!(decoder.message.capacity() <= 2 * AHEAD_BYTES);
}

/// What a client built on another implementation reads of our frames.
fn read_back(frames: &[Frame]) -> Vec<Message> {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| {
            let (header, payload) = frame.parts();
            assert_eq!(frame.len(), header.len() + payload.len());
            [header, payload].concat()
        })
        .collect();
    let mut client = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Client, None);
    frames.iter().map(|_| client.read().unwrap()).collect()
}

#[test]
fn another_implementation_reads_what_is_sent() {
    let payloads: Vec<Bytes> = [0, 1, 125, 126, 0xffff, 0x10000, 200_000]
        .iter()
        .map(|n| Bytes::from(vec![7; *n]))
        .collect();
    let frames: Vec<Frame> = payloads.iter().cloned().map(Frame::binary).collect();
    let expected: Vec<Message> = payloads.into_iter().map(Message::Binary).collect();
    assert_eq!(read_back(&frames), expected);

    let close = Close::because(CloseCode::SlowReader, "far too slowly");
    match &read_back(&[Frame::close(&close)])[0] {
        Message::Close(Some(frame)) => {
            assert_eq!(frame.code, Code::Library(4005));
            assert_eq!(frame.reason.as_str(), "reading too slowly: far too slowly");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(read_back(&[Frame::ping()]), [Message::Ping(Bytes::new())]);
    assert_eq!(
        read_back(&[Frame::pong(Bytes::from_static(b"x"))]),
        [Message::Pong(Bytes::from_static(b"x"))]
    );
    assert_eq!(read_back(&[Frame::close_reply(None)]), [Message::Close(None)]);
}

proptest! {
    #[test]
    fn messages_of_another_implementation_are_understood(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70_000), 1..4),
        piece in 1usize..100_000,
    ) {
        let mut client = WebSocket::from_raw_socket(Cursor::new(vec![]), Role::Client, None);
        for payload in &payloads {
            client.send(Message::Binary(payload.clone().into())).unwrap();
        }
        let bytes = client.into_inner().into_inner();
        let expected: Vec<Incoming> = payloads.iter().map(|payload| message(payload)).collect();
        prop_assert_eq!(decode(&bytes, piece, 1 << 20).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..40) {
        let _ = decode(&bytes, piece, 1000);
    }

    #[test]
    fn unmasking_in_pieces_is_unmasking(bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0usize..100) {
        let whole = frame(0x82, &bytes);
        let cut = cut.min(whole.len());
        let mut decoder = Decoder::new(1000);
        let mut found = vec![];
        for mut part in [&whole[..cut], &whole[cut..]] {
            while let Some(incoming) = decoder.feed(&mut part).unwrap() {
                found.push(incoming);
            }
        }
        prop_assert_eq!(found, vec![message(&bytes)]);
    }
}
