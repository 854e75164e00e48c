use std::{num::NonZeroU64, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::{wire::client_frame::Kind, *};
use crate::{
    id::{ChangeHash, DocumentId, Offset},
    limits,
    locks::Fencing,
};

fn any_document() -> impl Strategy<Value = DocumentId> {
    vec(any::<u8>(), 1..=limits::DOCUMENT_ID_BYTES).prop_map(|bytes| DocumentId::from_bytes(&bytes).unwrap())
}

fn any_bytes(n: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), n).prop_map(Bytes::from)
}

fn any_start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Snapshot),
        any::<u64>().prop_map(|offset| Start::After(Offset(offset))),
        vec(any::<[u8; 32]>().prop_map(ChangeHash), 0..5).prop_map(Start::AfterHeads),
    ]
}

fn any_frame() -> impl Strategy<Value = ClientFrame> {
    let request = || any::<u64>().prop_map(RequestId);
    prop_oneof![
        (
            "\\PC{0,40}",
            "\\PC{1,40}",
            any_bytes(0..40),
            vec("[a-z.]{1,12}", 0..5),
            any::<u64>()
        )
            .prop_map(|(token, client_id, resume_token, capabilities, frame_bytes)| {
                ClientFrame::Hello(Hello {
                    token,
                    client_id,
                    resume_token,
                    capabilities,
                    frame_bytes: NonZeroU64::new(frame_bytes),
                })
            }),
        (request(), any_document(), vec(any_bytes(1..100), 1..5), any::<u64>()).prop_map(
            |(request, document, changes, token)| {
                ClientFrame::Submit(Submit {
                    request,
                    document,
                    changes,
                    fencing: (token != 0).then_some(Fencing(token)),
                })
            }
        ),
        (request(), any_document(), 1..=3_600_000u32, any::<Option<u32>>()).prop_map(
            |(request, document, ttl_ms, token)| {
                ClientFrame::AcquireLock(AcquireLock {
                    request,
                    document,
                    ttl_ms,
                    fencing: token.map(|token| Fencing(1 + u64::from(token))),
                })
            }
        ),
        (request(), any_document(), any::<u64>()).prop_map(|(request, document, token)| {
            ClientFrame::ReleaseLock(ReleaseLock {
                request,
                document,
                fencing: Fencing(token),
            })
        }),
        (request(), proptest::option::of(any_document()))
            .prop_map(|(request, document)| ClientFrame::ListLocks(ListLocks { request, document })),
        (request(), any_document(), any_start()).prop_map(|(request, document, start)| {
            ClientFrame::Subscribe(Subscribe {
                request,
                document,
                start,
            })
        }),
        any_document().prop_map(ClientFrame::Unsubscribe),
        (request(), any_document(), 1..u64::MAX, any::<bool>()).prop_map(|(request, document, from, open)| {
            ClientFrame::Fetch(Fetch {
                request,
                document,
                from: Offset(from),
                until: (!open).then_some(Offset(from + 1)),
            })
        }),
        (any_document(), any_bytes(0..100), 0..=PRESENCE_TTL_MS_MAX).prop_map(|(document, state, ttl_ms)| {
            ClientFrame::Presence(Presence {
                document,
                state,
                ttl_ms,
            })
        }),
        any::<u64>().prop_map(ClientFrame::Ping),
    ]
}

proptest! {
    #[test]
    fn every_client_frame_survives_its_bytes(frame in any_frame()) {
        prop_assert_eq!(ClientFrame::decode(frame.clone().encode()), Ok(frame));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = ClientFrame::decode(bytes.clone());
        let _ = decode_server(bytes);
    }

    #[test]
    fn no_damage_to_a_frame_makes_it_panic(frame in any_frame(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = frame.encode().to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = ClientFrame::decode(bytes.into());
    }
}

fn document() -> DocumentId {
    DocumentId::from_bytes(&(0..16).collect::<Vec<u8>>()).unwrap()
}

fn raw_document() -> Bytes {
    (0..16).collect()
}

#[test]
fn payloads_are_slices_of_the_frame() {
    let changes = vec![Bytes::from(vec![1; 500]), Bytes::from(vec![2; 500])];
    let frame = ClientFrame::Submit(Submit {
        request: RequestId(1),
        document: document(),
        changes,
        fencing: None,
    });
    let bytes = frame.encode();
    let Ok(ClientFrame::Submit(submit)) = ClientFrame::decode(bytes.clone()) else {
        panic!("not a submit");
    };
    for change in &submit.changes {
        assert!(bytes.as_ptr_range().contains(&change.as_ptr()));
    }
}

/// What decoding says to a client frame of this kind.
fn refused(kind: Kind) -> String {
    let frame = wire::ClientFrame { kind: Some(kind) };
    match ClientFrame::decode(encode(&frame)) {
        Ok(frame) => panic!("accepted: {frame:?}"),
        Err(error) => {
            assert_eq!(error.close_code().code(), 4004);
            error.to_string()
        }
    }
}

#[test]
fn a_hello_out_of_bounds_is_refused_with_the_field() {
    let hello = || wire::Hello {
        client_id: "c".into(),
        ..Default::default()
    };
    let refused = |hello| refused(Kind::Hello(hello));
    assert_eq!(refused(wire::Hello::default()), "Hello.client_id must be not empty");
    let token = "t".repeat(TOKEN_BYTES + 1);
    assert_eq!(
        refused(wire::Hello { token, ..hello() }),
        "Hello.token has 8193, more than the 8192 allowed"
    );
    let resume_token = vec![0; RESUME_TOKEN_BYTES + 1].into();
    assert_eq!(
        refused(wire::Hello {
            resume_token,
            ..hello()
        }),
        "Hello.resume_token has 257, more than the 256 allowed"
    );
    let capabilities = vec!["c".into(); CAPABILITIES + 1];
    assert_eq!(
        refused(wire::Hello {
            capabilities,
            ..hello()
        }),
        "Hello.capabilities has 33, more than the 32 allowed"
    );
    let capabilities = vec![String::new()];
    assert_eq!(
        refused(wire::Hello {
            capabilities,
            ..hello()
        }),
        "Hello.capabilities must be not empty"
    );
}

#[test]
fn edits_and_reads_out_of_bounds_are_refused_with_the_field() {
    let submit = |changes| {
        let document = raw_document();
        let request_id = 1;
        refused(Kind::Submit(wire::Submit {
            request_id,
            document,
            changes,
            fencing: 0,
        }))
    };
    assert_eq!(submit(vec![]), "Submit.changes must be not empty");
    assert_eq!(submit(vec![Bytes::new()]), "Submit.changes must be not empty");
    assert_eq!(
        submit(vec![raw_document(); SUBMIT_CHANGES + 1]),
        "Submit.changes has 1025, more than the 1024 allowed"
    );
    let fetch = |from_offset, until_offset| {
        let document = raw_document();
        let request_id = 1;
        refused(Kind::Fetch(wire::Fetch {
            request_id,
            document,
            from_offset,
            until_offset,
        }))
    };
    let expected = "Fetch.from_offset must be from 1, and before Fetch.until_offset";
    assert_eq!([fetch(0, 0), fetch(5, 5), fetch(5, 4)], [expected; 3]);
    let document = vec![0; limits::DOCUMENT_ID_BYTES + 1].into();
    assert_eq!(
        refused(Kind::Unsubscribe(wire::Unsubscribe { document })),
        "document: a document id has 1 to 64 bytes, and this has 65"
    );
}

#[test]
fn subscriptions_and_presence_out_of_bounds_are_refused_with_the_field() {
    let subscribe = |heads: usize| {
        let document = raw_document();
        let from = Some(wire::subscribe::From::AfterHeads(vec![0; heads].into()));
        refused(Kind::Subscribe(wire::Subscribe {
            request_id: 1,
            document,
            from,
        }))
    };
    assert_eq!(subscribe(33), "Subscribe.after_heads must be a multiple of 32 bytes");
    assert_eq!(
        subscribe(32 * (limits::SYNC_HASHES + 1)),
        "Subscribe.after_heads has 65537, more than the 65536 allowed"
    );
    let presence = |bytes: usize, ttl_ms| {
        let document = raw_document();
        let state = vec![0; bytes].into();
        refused(Kind::Presence(wire::Presence {
            document,
            state,
            ttl_ms,
        }))
    };
    assert_eq!(
        presence(0, PRESENCE_TTL_MS_MAX + 1),
        "Presence.ttl_ms must be at most 3600000"
    );
    assert_eq!(
        presence(PRESENCE_BYTES + 1, 0),
        "Presence.state has 16385, more than the 16384 allowed"
    );
}

#[test]
fn a_lock_is_wanted_for_a_time_within_bounds() {
    let acquire = |ttl_ms| {
        refused(Kind::AcquireLock(wire::AcquireLock {
            request_id: 1,
            document: raw_document(),
            ttl_ms,
            fencing: 0,
        }))
    };
    let expected = "AcquireLock.ttl_ms must be 1 to 3600000";
    assert_eq!([acquire(0), acquire(3_600_001)], [expected; 2]);
}

#[test]
fn frames_of_many_fields_are_refused_before_they_are_stored() {
    // A submit of a million empty changes: two bytes each on the wire, sixteen times as many in memory.
    let changes = [0x1a, 0x00].repeat(1_000_000);
    let frame = [vec![0x12, 0x80, 0x89, 0x7a], changes].concat();
    assert_eq!(
        ClientFrame::decode(frame.into()),
        Err(FrameError::Fields { limit: FRAME_FIELDS })
    );
    // The same before something that is no field at all.
    let changes = [[0x1a, 0x00].repeat(1_000_000), vec![0xff; 4]].concat();
    let frame = [vec![0x12, 0x84, 0x89, 0x7a], changes].concat();
    assert_eq!(
        ClientFrame::decode(frame.into()),
        Err(FrameError::Fields { limit: FRAME_FIELDS })
    );
    // And the same as many submits, which protobuf would merge into one.
    let frame = [0x12, 0x02, 0x1a, 0x00].repeat(1_000_000);
    assert_eq!(
        ClientFrame::decode(frame.into()),
        Err(FrameError::Fields { limit: FRAME_FIELDS })
    );
}

#[test]
fn a_frame_of_no_known_kind_is_an_error_and_unknown_fields_are_not() {
    assert_eq!(ClientFrame::decode(Bytes::new()), Err(FrameError::NoKind));
    assert_eq!(
        ClientFrame::decode(Bytes::from_static(&[0x7a, 0])),
        Err(FrameError::NoKind)
    );
    assert_eq!(decode_server(Bytes::new()), Err(FrameError::NoKind));
    let text = [&ClientFrame::Ping(3).encode()[..], &[0xa2, 0x06, 0x02, 0xff, 0xff]].concat();
    assert_eq!(ClientFrame::decode(text.into()), Ok(ClientFrame::Ping(3)));
    let ping = [&ClientFrame::Ping(3).encode()[..], &[0xa0, 0x06, 0x01]].concat();
    assert_eq!(ClientFrame::decode(ping.into()), Ok(ClientFrame::Ping(3)));
}

#[test]
fn tokens_do_not_get_into_logs() {
    let hello = ClientFrame::Hello(Hello {
        token: "a.b.c".into(),
        client_id: "laptop".into(),
        resume_token: Bytes::from_static(b"again"),
        capabilities: Vec::new(),
        frame_bytes: None,
    });
    let shown = format!("{hello:?}");
    assert!(
        shown.contains("laptop") && !shown.contains("a.b.c") && !shown.contains("again"),
        "{shown}"
    );
}

#[test]
fn a_reject_says_when_to_retry_or_that_it_is_of_no_use() {
    let overloaded = wire::Reject::of(RequestId(1), &DocumentError::Overloaded);
    let delay = overloaded.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
    assert_eq!(
        (overloaded.code(), delay),
        (wire::RejectCode::Overloaded, Some(Duration::from_secs(1)))
    );
    let invalid = wire::Reject::of(RequestId(1), &DocumentError::Invalid("no".into()));
    assert_eq!(
        (invalid.code(), invalid.retry_after_ms),
        (wire::RejectCode::Invalid, None)
    );
}
