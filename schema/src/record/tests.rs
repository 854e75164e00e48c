use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    access::{Author, Principal},
    id::{ChainHash, DocumentId, Offset, OpId, PartitionId, SessionId},
};

fn draft(n: u8, payload: &[u8]) -> EntryDraft {
    EntryDraft {
        kind: EntryKind::Change,
        document: DocumentId::from_bytes(&[n; 16]).unwrap(),
        op_id: OpId([n; 32]),
        author: Author {
            principal: Principal::named("user-1").unwrap(),
            session: SessionId(Uuid::from_u128(u128::from(n))),
        },
        trace: n.is_multiple_of(2).then_some(TraceContext {
            trace: [n; 16],
            span: [n; 8],
            flags: 1,
        }),
        payload: Bytes::copy_from_slice(payload),
    }
}

fn frame(drafts: &[EntryDraft]) -> Frame {
    let mut builder = FrameBuilder::new(FrameHeader {
        kind: FrameKind::Entries,
        partition: PartitionId(3),
        generation: 1,
        epoch: 7,
        base: Offset(41),
        committed_us: 1_700_000_000_000_000,
        count: 0,
        chain_before: ChainHash([9; 32]),
        chain_after: ChainHash::default(),
    });
    for draft in drafts {
        builder.push(&draft.encode().unwrap());
    }
    builder.finish()
}

#[test]
fn a_frame_has_the_bytes_of_the_golden_vector() {
    let golden = include_str!("../../testdata/record/frame-v2.hex");
    let golden: Vec<u8> = golden
        .split_whitespace()
        .flat_map(|line| (0..line.len() / 2).map(move |i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap()))
        .collect();
    let frame = frame(&[draft(1, b"one"), draft(2, b"")]);
    let hex: String = frame.bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(frame.bytes().as_ref(), golden.as_slice(), "now: {hex}");
    assert_eq!(Frame::decode(golden.into()).unwrap(), frame);
}

#[test]
fn cutting_or_flipping_any_bit_is_noticed() {
    let bytes = frame(&[draft(1, b"one"), draft(2, b"two")]).bytes().clone();
    for length in 0..bytes.len() {
        assert!(Frame::decode(bytes.slice(..length)).is_err(), "cut at {length}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::decode(damaged.into()).is_err(), "bit {bit} flipped");
    }
}

#[test]
fn an_entry_put_in_anothers_place_breaks_the_chain() {
    let forged = frame(&[draft(2, b"two"), draft(1, b"one")]);
    let honest = frame(&[draft(1, b"one"), draft(2, b"two")]);
    assert_ne!(forged.header().chain_after, honest.header().chain_after);
    assert_eq!(honest.verify_chain(), Ok(()));
}

#[test]
fn too_long_parts_are_refused() {
    let mut long = draft(1, b"");
    long.payload = Bytes::from(vec![0; limits::ENTRY_PAYLOAD_BYTES + 1]);
    assert!(matches!(
        long.encode(),
        Err(RecordError::TooLong {
            what: "the payload",
            ..
        })
    ));
}

prop_compose! {
    fn drafts()(parts in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20)) -> Vec<EntryDraft> {
        parts.iter().map(|(n, payload)| draft(*n, payload)).collect()
    }
}

proptest! {
    #[test]
    fn a_frame_gives_back_what_was_put_in(drafts in drafts()) {
        let frame = Frame::decode(frame(&drafts).bytes().clone()).unwrap();
        prop_assert_eq!(frame.verify_chain(), Ok(()));
        let entries = frame.entries().collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(entries.iter().map(|e| e.draft.clone()).collect::<Vec<_>>(), drafts.clone());
        prop_assert!(entries.iter().zip(41u64..).all(|(e, offset)| e.offset == Offset(offset)));
        let ids = frame.ids().collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert!(ids.iter().zip(&drafts).all(|((doc, op), d)| *doc == d.document.as_bytes() && *op == d.op_id));
        let whose = frame.heads().map(|head| head.unwrap().principal.to_vec()).collect::<Vec<_>>();
        prop_assert!(whose.iter().zip(&drafts).all(|(name, d)| name == d.author.principal.as_str().as_bytes()));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = b"AFLG\x02\x01".to_vec();
        framed.extend_from_slice(&bytes);
        for bytes in [bytes, framed] {
            if let Ok(frame) = Frame::decode(bytes.into()) {
                let _ = frame.verify_chain();
                let _ = frame.entries().count();
            }
        }
    }
}
