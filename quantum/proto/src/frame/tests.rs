//! Golden vectors, and what holds for all frames and all bytes.

use proptest::prelude::*;
use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use super::{
    vectors::{Kind, Vector, vectors},
    *,
};
use crate::{
    error::TransportError,
    types::{Delivery, MessageId},
};

/// The header's acknowledgement in the vectors.
const ACK: PacketNumber = PacketNumber(1000);

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        frame.encode(ACK, &mut out);
    }
    out
}

fn decoded(bytes: impl Into<Bytes>) -> Result<Vec<Frame>, TransportError> {
    Frames::new(ACK, bytes.into()).collect()
}

fn block(first: u64, last: u64) -> Block {
    Block {
        first: PacketNumber(first),
        last: PacketNumber(last),
    }
}

fn message(channel: u32, id: u64, offset: u64, data: &'static str) -> MessageFrame {
    MessageFrame {
        channel: ChannelId(channel),
        delivery: Delivery::Ordered,
        id: MessageId(id),
        offset,
        fin: false,
        data: Bytes::from_static(data.as_bytes()),
    }
}

/// What the names in `vectors/frames.txt` stand for.
fn named(name: &str) -> Frame {
    let unordered = |offset, data, fin| MessageFrame {
        delivery: Delivery::Unordered,
        fin,
        ..message(9, 1, offset, data)
    };
    match name {
        "padding" => Frame::Padding(1),
        "three_paddings" => Frame::Padding(3),
        "ping" => Frame::Ping,
        "ack_without_blocks" => Frame::Ack(Ack {
            delay_us: 5000,
            ..Ack::default()
        }),
        "ack_blocks" => Frame::Ack(Ack {
            delay_us: 25,
            repaired: 3,
            blocks: smallvec![block(1010, 1012), block(1005, 1005), block(1002, 1003)],
            ecn: None,
        }),
        "ack_ecn" => Frame::Ack(Ack {
            blocks: smallvec![block(1001, 1001)],
            ecn: Some([100, 0, 2]),
            ..Ack::default()
        }),
        "crypto" => Frame::Crypto {
            offset: 64,
            data: Bytes::from_static(b"hello"),
        },
        "floor" | "floor_not_minimal" => Frame::Floor(PacketNumber(16_384)),
        "max_data" => Frame::MaxData(1 << 24),
        "max_channel_data" => Frame::MaxChannelData(ChannelId(3), 1 << 16),
        "path_challenge" => Frame::PathChallenge([1, 2, 3, 4, 5, 6, 7, 8]),
        "path_response" => Frame::PathResponse([8, 7, 6, 5, 4, 3, 2, 1]),
        "new_connection_id" => Frame::NewConnectionId {
            sequence: 1,
            id: ConnectionId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002)),
            reset_token: std::array::from_fn(|at| at as u8),
        },
        "retire_connection_id" => Frame::RetireConnectionId(0),
        "token" => Frame::Token(Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef])),
        "handshake_done" => Frame::HandshakeDone,
        "close" => Frame::Close {
            code: CloseCode::application(7),
            reason: "bye".into(),
        },
        "close_without_reason" => Frame::Close {
            code: CloseCode::NO_ERROR,
            reason: String::new(),
        },
        "close_invalid_utf8" => Frame::Close {
            code: CloseCode::FRAME,
            reason: "\u{fffd}A".into(),
        },
        "parity" => Frame::Parity(Parity {
            sources: smallvec![PacketNumber(100), PacketNumber(101), PacketNumber(105)],
            index: 2,
            symbol: Bytes::from_static(&[0, 2, 0xaa, 0xbb]),
        }),
        "parity_of_one" => Frame::Parity(Parity {
            sources: smallvec![PacketNumber(7)],
            index: 0,
            symbol: Bytes::from_static(&[0, 1, 0xcc]),
        }),
        "message" | "message_to_end" => Frame::Message(message(5, 77, 1200, "hi")),
        "message_fin" | "message_fin_to_end" => Frame::Message(MessageFrame {
            fin: true,
            ..message(0, 0, 0, "")
        }),
        "message_unordered" | "message_unordered_to_end" => Frame::Message(unordered(3, "abc", false)),
        "message_unordered_fin" | "message_unordered_fin_to_end" => Frame::Message(unordered(6, "def", true)),
        "message_largest" => {
            let last = u64::from(u32::MAX) - 1;
            Frame::Message(MessageFrame {
                fin: true,
                ..message(u32::MAX, varint::MAX, last, "x")
            })
        }
        "datagram" | "datagram_to_end" => Frame::Datagram(Bytes::from_static(&[1, 2, 3])),
        other => panic!("no frame is named {other}"),
    }
}

#[test]
fn golden_vectors() {
    let text = include_str!("../../vectors/frames.txt");
    let mut types = std::collections::BTreeSet::new();
    for Vector { kind, name, bytes } in vectors(text) {
        if kind == Kind::Bad {
            let error = decoded(bytes).expect_err(name);
            assert_eq!(error.code, CloseCode::FRAME, "{name}");
            continue;
        }
        types.insert(bytes[0]);
        let frame = named(name);
        let written = encoded(std::slice::from_ref(&frame));
        assert_eq!(
            written == bytes,
            kind == Kind::Both,
            "{name} is written as {}",
            hex::encode(written)
        );
        assert_eq!(decoded(bytes), Ok(vec![frame]), "{name}");
    }
    let all = (0x00..=0x0e).chain([0x10]).chain(0x20..=0x27).chain([0x30, 0x31]);
    assert_eq!(types, all.collect(), "there is a vector for each type");
}

#[test]
fn nothing_follows_an_error() {
    let mut frames = Frames::new(ACK, Bytes::from_static(&[0x01, 0xff, 0x01, 0x01]));
    assert_eq!(frames.next(), Some(Ok(Frame::Ping)));
    assert!(frames.next().is_some_and(|frame| frame.is_err()));
    assert_eq!(frames.next(), None);
}

#[test]
fn padding_is_counted_to_its_end() {
    for count in [1, 2, 15, 16, 17, 18, 33, 1_200] {
        let frames = [Frame::Padding(count), Frame::Ping];
        assert_eq!(decoded(encoded(&frames)), Ok(frames.into()));
    }
}

#[test]
fn reasons_are_cut_off_between_characters() {
    let reason = "ü".repeat(200);
    let close = Frame::Close {
        code: CloseCode::INTERNAL,
        reason: format!("a{reason}"),
    };
    let expected = Frame::Close {
        code: CloseCode::INTERNAL,
        reason: format!("a{}", "ü".repeat(127)),
    };
    assert_eq!(decoded(encoded(&[close])), Ok(vec![expected]));

    // A peer that sends more, and nonsense: 600 bytes of which each would become three.
    let mut bytes = vec![0x0e, 0x00, 0x42, 0x58];
    bytes.resize(4 + 600, 0xff);
    bytes.push(0x01);
    let frames = decoded(bytes).unwrap();
    let Frame::Close { reason, .. } = &frames[0] else {
        panic!("no CLOSE: {frames:?}")
    };
    assert!(reason.len() <= MAX_REASON);
    assert_eq!(frames[1], Frame::Ping, "the whole reason is skipped");
}

#[test]
#[should_panic(expected = "stands below")]
fn touching_blocks_are_refused() {
    let ack = Ack {
        blocks: smallvec![block(1005, 1006), block(1003, 1004)],
        ..Ack::default()
    };
    write_ack(&ack, ACK, &mut Vec::new());
}

#[test]
#[should_panic(expected = "with 1000")]
fn blocks_below_the_acknowledgement_are_refused() {
    write_ack(
        &Ack {
            blocks: smallvec![block(1000, 1001)],
            ..Ack::default()
        },
        ACK,
        &mut Vec::new(),
    );
}

/// Numbers of all lengths.
fn any_number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 2..64u32).prop_map(|(number, shift)| number >> shift)
}

fn any_data() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

fn any_ack() -> impl Strategy<Value = Ack> {
    let gaps = prop::collection::vec((0..1u64 << 40, 0..1u64 << 40), 0..=MAX_BLOCKS);
    (
        any_number(),
        any_number(),
        gaps,
        prop::option::of(prop::array::uniform3(any_number())),
    )
        .prop_map(|(delay_us, repaired, gaps, ecn)| {
            // From the acknowledgement up: numbers that are missing, and those that are there, less one each.
            let mut end = ACK.0;
            let mut blocks: SmallVec<[Block; MAX_BLOCKS]> = gaps
                .into_iter()
                .map(|(missing, more)| {
                    let first = end + missing + 1;
                    end = first + more + 1;
                    block(first, first + more)
                })
                .collect();
            blocks.reverse();
            Ack {
                delay_us,
                repaired,
                blocks,
                ecn,
            }
        })
}

fn any_parity() -> impl Strategy<Value = Parity> {
    (
        0..1u64 << 50,
        prop::collection::vec(1..1u64 << 30, 0..=9),
        0..3u8,
        any_data(),
    )
        .prop_map(|(first, steps, index, symbol)| {
            let mut sources: SmallVec<[PacketNumber; 10]> = smallvec![PacketNumber(first)];
            for step in steps {
                sources.push(PacketNumber(sources[sources.len() - 1].0 + step));
            }
            Parity { sources, index, symbol }
        })
}

fn any_message() -> impl Strategy<Value = MessageFrame> {
    (
        any::<u32>(),
        any::<bool>(),
        any_number(),
        0..u64::from(u32::MAX) - 100,
        any::<bool>(),
        any_data(),
    )
        .prop_map(|(channel, ordered, id, offset, fin, data)| MessageFrame {
            channel: ChannelId(channel),
            delivery: if ordered {
                Delivery::Ordered
            } else {
                Delivery::Unordered
            },
            id: MessageId(id),
            offset,
            fin,
            data,
        })
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (1..50usize).prop_map(Frame::Padding),
        Just(Frame::Ping),
        Just(Frame::HandshakeDone),
        any_ack().prop_map(Frame::Ack),
        (any_number(), any_data()).prop_map(|(offset, data)| Frame::Crypto {
            offset: offset >> 1,
            data
        }),
        any_number().prop_map(|number| Frame::Floor(PacketNumber(number))),
        any_number().prop_map(Frame::MaxData),
        (any::<u32>(), any_number()).prop_map(|(channel, limit)| Frame::MaxChannelData(ChannelId(channel), limit)),
        any::<[u8; 8]>().prop_map(Frame::PathChallenge),
        any::<[u8; 8]>().prop_map(Frame::PathResponse),
        (any_number(), any::<u128>(), any::<[u8; 16]>()).prop_map(|(sequence, id, reset_token)| {
            Frame::NewConnectionId {
                sequence,
                id: ConnectionId(Uuid::from_u128(id)),
                reset_token,
            }
        }),
        any_number().prop_map(Frame::RetireConnectionId),
        any_data().prop_map(Frame::Token),
        (any_number(), ".{0,60}").prop_map(|(code, reason)| Frame::Close {
            code: CloseCode(code),
            reason
        }),
        any_parity().prop_map(Frame::Parity),
        any_message().prop_map(Frame::Message),
        any_data().prop_map(Frame::Datagram),
    ]
}

/// Neighbouring PADDING is one.
fn coalesced(frames: Vec<Frame>) -> Vec<Frame> {
    let mut out: Vec<Frame> = Vec::new();
    for frame in frames {
        match (out.last_mut(), &frame) {
            (Some(Frame::Padding(before)), Frame::Padding(more)) => *before += more,
            _ => out.push(frame),
        }
    }
    out
}

/// The bytes that a frame keeps, which should be the payload's own.
fn data_of(frame: &Frame) -> Option<&Bytes> {
    match frame {
        Frame::Crypto { data, .. } | Frame::Token(data) | Frame::Datagram(data) => Some(data),
        Frame::Message(message) => Some(&message.data),
        Frame::Parity(parity) => Some(&parity.symbol),
        _ => None,
    }
}

/// Reads bytes from anyone: does not panic, takes no memory of its own, and what was read survives being written.
fn check_any_bytes(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let payload = Bytes::from(bytes);
    let memory = payload.as_ptr_range();
    let frames: Vec<_> = Frames::new(ACK, payload.clone()).collect();
    prop_assert!(frames.len() <= payload.len());
    let (good, bad): (Vec<_>, Vec<_>) = frames.into_iter().partition(Result::is_ok);
    prop_assert!(bad.len() <= 1);
    let good: Vec<Frame> = good.into_iter().map(Result::unwrap).collect();
    for data in good.iter().filter_map(data_of).filter(|data| !data.is_empty()) {
        let data = data.as_ptr_range();
        prop_assert!(memory.start <= data.start && data.end <= memory.end, "a copy was made");
    }
    prop_assert_eq!(decoded(encoded(&good)), Ok(good));
    Ok(())
}

proptest! {
    #[test]
    fn round_trip(frames in prop::collection::vec(any_frame(), 0..10)) {
        prop_assert_eq!(decoded(encoded(&frames)), Ok(coalesced(frames)));
    }

    #[test]
    fn lengths_are_bounded(message in any_message(), ack in any_ack()) {
        let len = message.data.len();
        prop_assert!(encoded(&[Frame::Message(message)]).len() <= MAX_MESSAGE_HEADER + len);
        prop_assert!(encoded(&[Frame::Ack(ack)]).len() <= MAX_ACK_LEN);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_any_bytes(bytes)?;
    }

    /// Bytes that begin as frames do come further.
    #[test]
    fn damaged_frames(frames in prop::collection::vec(any_frame(), 1..4), cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        let mut bytes = encoded(&frames);
        bytes.truncate(cut.index(bytes.len()) + 1);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        check_any_bytes(bytes)?;
    }
}
