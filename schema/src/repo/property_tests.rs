use bytes::Bytes;
use minicbor::Decoder;
use proptest::{collection::vec, prelude::*};

use super::{FanOut, Message, PeerMetadata, RemoteHeads, Text, VERSIONS, cbor::Reader};
use crate::{
    id::{ChangeHash, DocumentId, StorageId},
    limits,
};

fn name() -> impl Strategy<Value = Text<'static>> {
    "\\PC{0,40}".prop_map(Text::Owned)
}

fn storage() -> impl Strategy<Value = StorageId> {
    "\\PC{0,40}".prop_map(|name| StorageId(name.into()))
}

fn document() -> impl Strategy<Value = DocumentId> {
    vec(any::<u8>(), 1..=limits::DOCUMENT_ID_BYTES).prop_map(|bytes| DocumentId::from_bytes(&bytes).unwrap())
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn metadata() -> impl Strategy<Value = PeerMetadata> {
    (prop::option::of(storage()), any::<bool>()).prop_map(|(storage_id, is_ephemeral)| PeerMetadata {
        storage_id,
        is_ephemeral,
    })
}

fn new_heads() -> impl Strategy<Value = Vec<(StorageId, RemoteHeads)>> {
    let heads = vec(any::<[u8; 32]>().prop_map(ChangeHash), 0..4);
    let known = (heads, -1e15..1e15).prop_map(|(heads, timestamp_ms)| RemoteHeads { heads, timestamp_ms });
    prop::collection::btree_map(storage(), known, 0..5).prop_map(|map| map.into_iter().collect())
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let route = || (name(), name());
    prop_oneof![
        (name(), metadata(), vec(name(), 0..=VERSIONS)).prop_map(|(sender, metadata, versions)| Message::Join {
            sender,
            metadata,
            versions
        }),
        (route(), metadata(), name()).prop_map(|((sender, target), metadata, version)| Message::Peer {
            sender,
            target,
            metadata,
            version
        }),
        (route(), name()).prop_map(|((sender, target), message)| Message::Error {
            sender,
            target,
            message
        }),
        name().prop_map(|sender| Message::Leave { sender }),
        (route(), document(), data()).prop_map(|((sender, target), document, data)| Message::Request {
            sender,
            target,
            document,
            data
        }),
        (route(), document(), data()).prop_map(|((sender, target), document, data)| Message::Sync {
            sender,
            target,
            document,
            data
        }),
        (route(), document()).prop_map(|((sender, target), document)| Message::DocUnavailable {
            sender,
            target,
            document
        }),
        (route(), document(), name(), any::<u64>(), data()).prop_map(
            |((sender, target), document, session, count, data)| Message::Ephemeral {
                sender,
                target,
                document,
                session,
                count,
                data
            }
        ),
        (route(), vec(storage(), 0..5), vec(storage(), 0..5)).prop_map(|((sender, target), add, remove)| {
            Message::RemoteSubscriptionChange {
                sender,
                target,
                add,
                remove,
            }
        }),
        (route(), document(), new_heads()).prop_map(|((sender, target), document, new_heads)| {
            Message::RemoteHeadsChanged {
                sender,
                target,
                document,
                new_heads,
            }
        }),
    ]
}

/// Pieces of CBOR that, strung together, are well-formed more often than random bytes are.
fn almost_cbor() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![0x5f, 0x7f, 0x80, 0x81, 0x9f, 0xa1, 0xbf, 0xc1, 0xd8, 0xf7, 0xff])
            .prop_map(|b| vec![b]),
        vec(any::<u8>(), 0..9).prop_map(|bytes| minicbor::to_vec(minicbor::bytes::ByteVec::from(bytes)).unwrap()),
        "[a-z]{0,3}".prop_map(|text| minicbor::to_vec(text).unwrap()),
        any::<i64>().prop_map(|n| minicbor::to_vec(n).unwrap()),
        any::<f64>().prop_map(|n| minicbor::to_vec(n).unwrap()),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_message_survives_its_frame(message in message()) {
        let frame = message.encode();
        prop_assert_eq!(Message::decode(&frame), Ok(message));
    }

    #[test]
    fn a_frame_from_a_fan_out_is_the_message_to_that_target(message in message(), target in name()) {
        let frame = FanOut::new(&message).frame(&target);
        let again = Message::decode(&frame).unwrap();
        prop_assert_eq!(again.target(), message.target().map(|_| &*target));
        prop_assert_eq!((again.kind(), again.sender(), again.document()), (message.kind(), message.sender(), message.document()));
        prop_assert_eq!(FanOut::new(&again).frame(""), FanOut::new(&message).frame(""));
    }

    #[test]
    fn a_frame_is_one_item_of_valid_cbor(message in message()) {
        let frame = message.encode();
        let mut decoder = Decoder::new(&frame);
        decoder.skip().unwrap();
        prop_assert_eq!(decoder.position(), frame.len());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Message::decode(&bytes.into());
    }

    #[test]
    fn no_damage_to_a_frame_makes_it_panic(message in message(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut frame = message.encode().to_vec();
        for (place, byte) in damage {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        let _ = Message::decode(&frame.into());
    }

    #[test]
    fn a_frame_cut_short_is_an_error(message in message(), place in any::<prop::sample::Index>()) {
        let frame = message.encode();
        let cut = frame.slice(..place.index(frame.len()));
        prop_assert!(Message::decode(&cut).is_err());
    }

    #[test]
    fn what_is_skipped_ends_where_another_decoder_ends_it(bytes in almost_cbor()) {
        let frame = Bytes::from(bytes);
        let mut reader = Reader::new(&frame, 0);
        if reader.skip("it").is_ok() {
            let mut other = Decoder::new(&frame);
            // The other one skips stray breaks and half map entries too, so only what we take can be compared; and it
            // checks that skipped text is UTF-8, which this one leaves alone.
            if other.skip().is_ok() {
                prop_assert_eq!(reader.position(), other.position());
            }
        }
    }
}
