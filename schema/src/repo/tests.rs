use bytes::Bytes;
use minicbor::{Decoder, Encoder, data::Tag};

use super::{DecodeError, ERROR_TEXT_BYTES, Message, PeerMetadata, VERSIONS, cbor::Reader};
use crate::limits;

const DOCUMENT: &str = "2j9knpCseyhnK8izDmLpGP5WMdZQ";

/// A map with these entries, written by another encoder; the values are raw CBOR.
fn map(entries: &[(&str, &[u8])]) -> Bytes {
    let mut encoder = Encoder::new(Vec::new());
    encoder.map(entries.len() as u64).unwrap();
    for (key, value) in entries {
        encoder.str(key).unwrap();
        encoder.writer_mut().extend_from_slice(value);
    }
    encoder.into_writer().into()
}

fn text(text: &str) -> Vec<u8> {
    minicbor::to_vec(text).unwrap()
}

/// An ephemeral message with this as its count and this as its data.
fn ephemeral(count: &[u8], data: &[u8]) -> Bytes {
    map(&[
        ("count", count),
        ("data", data),
        ("type", &text("ephemeral")),
        ("senderId", &text("a")),
        ("sessionId", &text("s")),
        ("targetId", &text("b")),
        ("documentId", &text(DOCUMENT)),
    ])
}

#[test]
fn a_count_may_have_any_form_of_number() {
    let forms: &[(&[u8], u64)] = &[
        (&[7], 7),
        (&[0x18, 7], 7),
        (&[0x1b, 0, 0, 0, 0, 0, 0, 0, 7], 7),
        (&[0x1b, 255, 255, 255, 255, 255, 255, 255, 255], u64::MAX),
        (&[0xf9, 0x47, 0x00], 7),
        (&[0xfa, 0x40, 0xe0, 0, 0], 7),
        (&[0xfb, 0x40, 0x1c, 0, 0, 0, 0, 0, 0], 7),
        (&[0xf9, 0x80, 0x00], 0),
    ];
    for (form, n) in forms {
        let frame = ephemeral(form, &[0x40]);
        let decoded = Message::decode(&frame);
        assert!(
            matches!(decoded, Ok(Message::Ephemeral { count, .. }) if count == *n),
            "{form:x?}: {decoded:?}"
        );
    }
    let (half, inf, nan, minus_one) = ([0xf9, 0x38, 0], [0xf9, 0x7c, 0], [0xf9, 0x7e, 0], [0x20]);
    for form in [
        &half[..],
        &inf,
        &nan,
        &minus_one,
        &text("7"),
        &[0xf5],
        &[0xfb, 0x7f, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert!(Message::decode(&ephemeral(form, &[0x40])).is_err(), "{form:x?}");
    }
    assert!(matches!(
        Message::decode(&ephemeral(&[0xf7], &[0x40])),
        Err(DecodeError::Missing { field: "count", .. })
    ));
}

#[test]
fn every_half_precision_number_is_read_as_another_decoder_reads_it() {
    for bits in 0..=u16::MAX {
        let item = Bytes::from([&[0xf9][..], &bits.to_be_bytes()].concat());
        let ours = Reader::new(&item, 0).number("it").ok();
        let theirs = Decoder::new(&item).f16().ok().filter(|n| n.is_finite());
        assert_eq!(ours, theirs.map(f64::from), "{bits:#x}");
    }
}

#[test]
fn data_may_be_tagged_and_in_pieces_and_is_not_copied_when_whole() {
    let whole = ephemeral(&[1], &[0x43, 1, 2, 3]);
    let tagged = ephemeral(&[1], &[0xd8, 64, 0x43, 1, 2, 3]);
    let pieces = ephemeral(&[1], &[0x5f, 0x41, 1, 0x40, 0x42, 2, 3, 0xff]);
    for frame in [&whole, &tagged, &pieces] {
        let Ok(Message::Ephemeral { data, .. }) = Message::decode(frame) else {
            panic!("{:?}", Message::decode(frame));
        };
        assert_eq!(&data[..], [1, 2, 3]);
        assert_eq!(frame.as_ptr_range().contains(&data.as_ptr()), frame != &pieces);
    }
    let wrong: [&[u8]; 6] = [
        &[0xd8, 65, 0x40],
        &[0x60],
        &[0x80],
        &[0x5f, 0x60, 0xff],
        &[0x5f, 0x5f, 0xff, 0xff],
        &[0xff],
    ];
    for value in wrong {
        assert!(Message::decode(&ephemeral(&[1], value)).is_err(), "{value:x?}");
    }
}

#[test]
fn maps_and_text_may_have_indefinite_length_and_unknown_keys() {
    let mut encoder = Encoder::new(Vec::new());
    let unknown = |e: &mut Encoder<Vec<u8>>| {
        e.str("unknown").unwrap();
        e.tag(Tag::new(1)).unwrap().begin_map().unwrap().u8(1).unwrap();
        e.begin_array()
            .unwrap()
            .undefined()
            .unwrap()
            .array(1)
            .unwrap()
            .f64(0.5)
            .unwrap();
        e.end().unwrap().end().unwrap();
    };
    encoder.begin_map().unwrap();
    unknown(&mut encoder);
    encoder
        .begin_str()
        .unwrap()
        .str("ty")
        .unwrap()
        .str("pe")
        .unwrap()
        .end()
        .unwrap();
    encoder
        .begin_str()
        .unwrap()
        .str("lea")
        .unwrap()
        .str("ve")
        .unwrap()
        .end()
        .unwrap();
    encoder.u64(5).unwrap().null().unwrap();
    unknown(&mut encoder);
    encoder
        .str("senderId")
        .unwrap()
        .begin_str()
        .unwrap()
        .str("al")
        .unwrap()
        .str("ice")
        .unwrap()
        .end()
        .unwrap();
    encoder.end().unwrap();
    let frame = Bytes::from(encoder.into_writer());
    assert_eq!(Message::decode(&frame), Ok(Message::Leave { sender: "alice".into() }));
}

#[test]
fn a_join_may_say_next_to_nothing() {
    let bare = map(&[
        ("type", &text("join")),
        ("senderId", &text("")),
        ("peerMetadata", &[0xf6]),
    ]);
    let Ok(Message::Join {
        sender,
        metadata,
        versions,
    }) = Message::decode(&bare)
    else {
        panic!("{:?}", Message::decode(&bare));
    };
    assert_eq!(
        (&*sender, metadata, versions),
        ("", PeerMetadata::default(), vec!["1".into()])
    );
}

#[test]
fn a_known_key_may_not_occur_twice() {
    let twice = map(&[
        ("type", &text("leave")),
        ("senderId", &text("a")),
        ("senderId", &text("b")),
    ]);
    assert_eq!(
        Message::decode(&twice),
        Err(DecodeError::Duplicate {
            field: "senderId",
            at: 23
        })
    );
    let mut heads = Vec::new();
    let mut encoder = Encoder::new(&mut heads);
    encoder.map(2).unwrap();
    for _ in 0..2 {
        encoder.str("s").unwrap().map(2).unwrap();
        encoder
            .str("heads")
            .unwrap()
            .array(0)
            .unwrap()
            .str("timestamp")
            .unwrap()
            .u8(1)
            .unwrap();
    }
    let mut entries: Vec<(&str, &[u8])> = vec![("newHeads", &heads)];
    let (kind, peer, document) = (text("remote-heads-changed"), text("a"), text(DOCUMENT));
    entries.extend([
        ("type", &kind[..]),
        ("senderId", &peer),
        ("targetId", &peer),
        ("documentId", &document),
    ]);
    assert!(matches!(
        Message::decode(&map(&entries)),
        Err(DecodeError::Duplicate { field: "newHeads", .. })
    ));
}

#[test]
fn an_unknown_type_may_use_the_fields_as_it_likes() {
    let frame = map(&[("senderId", &[0x80]), ("data", &[0xf5]), ("type", &text("novel"))]);
    assert_eq!(Message::decode(&frame), Ok(Message::Unknown { kind: "novel".into() }));
}

#[test]
fn what_is_not_a_message_is_refused_with_the_field_and_the_byte() {
    let leave = text("leave");
    let cases: &[(&[u8], &str)] = &[
        (b"", "the frame ends at byte 0, in the message"),
        (&[0x80], "the message must be a map, and at byte 0 there is an array"),
        (&[0xa0], "type is missing in the map at byte 0"),
        (&[0xa0, 0xa0], "the message ends at byte 1 but the frame goes on"),
        (&[0xa1, 0x61, 0x61, 0x1c], "byte 3, in an unknown field, is not CBOR"),
        (&[0xa1, 0x61, 0xff, 0x00], "the message, at byte 1, is not UTF-8"),
        (&[0xbf, 0x61, 0x61, 0xff], "byte 3, in an unknown field, is not CBOR"),
        (
            &map(&[("type", &leave), ("senderId", &[0x01])]),
            "senderId must be text, and at byte 21 there is an integer",
        ),
        (&map(&[("type", &leave)]), "senderId is missing in the map at byte 0"),
    ];
    for (bytes, expected) in cases {
        let error = Message::decode(&Bytes::copy_from_slice(bytes)).unwrap_err();
        assert_eq!(error.to_string(), *expected, "{bytes:x?}");
        assert_eq!(error.close_code().code(), 4004);
    }
}

#[test]
fn document_ids_on_the_wire_are_base58check_and_nothing_else() {
    for id in [
        "",
        "automerge:2j9knpCseyhnK8izDmLpGP5WMdZQ",
        "2j9knpCseyhnK8izDmLpGP5WMdZR",
        "0OIl",
        &"2".repeat(121),
    ] {
        let frame = map(&[
            ("type", &text("doc-unavailable")),
            ("senderId", &text("a")),
            ("targetId", &text("b")),
            ("documentId", &text(id)),
        ]);
        let error = Message::decode(&frame).unwrap_err();
        assert!(error.to_string().starts_with("documentId, at byte 55"), "{id}: {error}");
    }
}

#[test]
fn nothing_may_exceed_its_limit() {
    let too_long = |frame: Bytes| matches!(Message::decode(&frame), Err(DecodeError::TooLong { .. }));
    let list = |n: usize| minicbor::to_vec(vec!["s"; n]).unwrap();
    let leave = |n| map(&[("type", &text("leave")), ("senderId", &text(&"é".repeat(n)))]);
    assert!(!too_long(leave(limits::PEER_ID_BYTES / 2)));
    assert!(too_long(leave(limits::PEER_ID_BYTES / 2 + 1)));
    let join = |n| {
        map(&[
            ("type", &text("join")),
            ("senderId", &text("a")),
            ("supportedProtocolVersions", &list(n)),
        ])
    };
    assert!(!too_long(join(VERSIONS)));
    assert!(too_long(join(VERSIONS + 1)));
    let (a, b) = (text("a"), text("b"));
    let change = |n| {
        let kind = text("remote-subscription-change");
        map(&[
            ("type", &kind),
            ("senderId", &a),
            ("targetId", &b),
            ("remove", &list(n)),
        ])
    };
    assert!(!too_long(change(limits::REMOTE_SUBSCRIPTIONS)));
    assert!(too_long(change(limits::REMOTE_SUBSCRIPTIONS + 1)));
    let error = |n| {
        let words = text(&"x".repeat(n));
        map(&[
            ("type", &text("error")),
            ("senderId", &a),
            ("targetId", &b),
            ("message", &words),
        ])
    };
    assert!(!too_long(error(ERROR_TEXT_BYTES)));
    assert!(too_long(error(ERROR_TEXT_BYTES + 1)));
}

#[test]
fn a_frame_of_very_many_items_is_refused() {
    let item = |byte: u8| [vec![0xa1, 0x61, 0x61, 0x9f], vec![byte; 1 << 20]].concat();
    let pieces = [vec![0xa1, 0x61, 0x61, 0x5f], vec![0x40; 1 << 20]].concat();
    for frame in [item(0x00), item(0xc1), pieces] {
        let error = Message::decode(&frame.into()).unwrap_err();
        assert!(matches!(error, DecodeError::TooLong { .. }), "{error}");
    }
}

#[test]
fn depth_is_bounded_and_claimed_lengths_reserve_nothing() {
    for opener in [0x81, 0x9f, 0xbf, 0xa1] {
        let nested = |depth: usize| {
            let mut value = Vec::new();
            for _ in 0..depth {
                value.push(opener);
                value.extend(matches!(opener, 0xa1 | 0xbf).then_some(0));
            }
            value.push(0);
            value.extend((0..depth).filter(|_| opener & 0x1f == 0x1f).map(|_| 0xff));
            map(&[("type", &text("novel")), ("deep", &value)])
        };
        assert!(Message::decode(&nested(limits::NESTING)).is_ok(), "{opener:#x}");
        let error = Message::decode(&nested(limits::NESTING + 1)).unwrap_err();
        assert!(matches!(error, DecodeError::TooDeep { .. }), "{opener:#x}: {error}");
    }
    for major in [0x5b, 0x7b, 0x9b, 0xbb] {
        let claim = [&[0xa1, 0x61, 0x61, major][..], &[0xff; 8]].concat();
        assert!(
            matches!(Message::decode(&claim.into()), Err(DecodeError::Truncated { .. })),
            "{major:#x}"
        );
    }
    let claim = [&[0xbb][..], &[0xff; 8]].concat();
    assert!(matches!(
        Message::decode(&claim.into()),
        Err(DecodeError::Truncated { .. })
    ));
}
