use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn server() -> Identity {
    Identity {
        peer: PeerId("server".into()),
        storage: StorageId("disk".into()),
    }
}

fn document() -> DocumentId {
    DocumentId::from_uuid(Uuid::from_u128(7))
}

fn join(versions: &[&'static str]) -> Bytes {
    let join = Message::Join {
        sender: "ada".into(),
        metadata: PeerMetadata {
            storage_id: Some(StorageId("laptop".into())),
            is_ephemeral: false,
        },
        versions: versions.iter().map(|version| (*version).into()).collect(),
    };
    join.encode()
}

fn sync(sender: &'static str) -> Bytes {
    let sync = Message::Sync {
        sender: sender.into(),
        target: "server".into(),
        document: document(),
        data: Bytes::from_static(b"data"),
    };
    sync.encode()
}

fn ephemeral(data: Vec<u8>) -> Bytes {
    let ephemeral = Message::Ephemeral {
        sender: "ada".into(),
        target: "server".into(),
        document: document(),
        session: "s".into(),
        count: 3,
        data: data.into(),
    };
    ephemeral.encode()
}

fn fresh() -> RepoSession {
    RepoSession::new(2, 100)
}

fn joined() -> RepoSession {
    let mut session = fresh();
    assert!(matches!(
        session.handle(&server(), &join(&["1"])).1,
        Action::Join { .. }
    ));
    session
}

fn act(session: &mut RepoSession, frame: &Bytes, check: impl FnOnce(Action<'_>)) {
    check(session.handle(&server(), frame).1);
}

fn close_code(action: &Action<'_>) -> Option<CloseCode> {
    match action {
        Action::Close(close) | Action::Refuse { close, .. } => Some(close.code),
        _ => None,
    }
}

#[test]
fn a_join_is_answered_with_who_the_server_is() {
    for versions in [&["1"][..], &["0", "1"]] {
        let mut session = fresh();
        act(&mut session, &join(versions), |action| {
            let Action::Join { peer, storage, reply } = action else {
                panic!("{action:?}")
            };
            assert_eq!(peer.0.as_ref(), "ada");
            assert_eq!(storage, Some(StorageId("laptop".into())));
            let expected = Message::Peer {
                sender: "server".into(),
                target: "ada".into(),
                metadata: PeerMetadata {
                    storage_id: Some(StorageId("disk".into())),
                    is_ephemeral: false,
                },
                version: "1".into(),
            };
            assert_eq!(Message::decode(&reply), Ok(expected));
        });
        assert_eq!(session.peer(), Some(&PeerId("ada".into())));
    }
}

#[test]
fn the_storage_of_an_ephemeral_peer_is_not_worth_remembering() {
    let metadata = PeerMetadata {
        storage_id: Some(StorageId("tab".into())),
        is_ephemeral: true,
    };
    let join = Message::Join {
        sender: "ada".into(),
        metadata,
        versions: vec!["1".into()],
    };
    act(&mut fresh(), &join.encode(), |action| {
        assert!(matches!(action, Action::Join { storage: None, .. }), "{action:?}");
    });
}

#[test]
fn an_unknown_version_is_refused_in_words_first() {
    let mut session = fresh();
    act(&mut session, &join(&["2"]), |action| {
        assert_eq!(close_code(&action), Some(CloseCode::UnsupportedVersion));
        let Action::Refuse { reply, .. } = action else {
            panic!("{action:?}")
        };
        let reply = Message::decode(&reply).unwrap();
        assert_eq!((reply.kind(), reply.target()), ("error", Some("ada")));
    });
    assert_eq!(session.peer(), None);
}

#[test]
fn before_a_join_a_few_frames_are_ignored_and_no_more() {
    let mut session = fresh();
    for _ in 0..2 {
        act(&mut session, &sync("ada"), |action| {
            assert_eq!(action, Action::Ignore(Ignored::NotJoined));
        });
    }
    act(&mut session, &sync("ada"), |action| {
        assert_eq!(close_code(&action), Some(CloseCode::PolicyViolation));
    });
}

#[test]
fn sync_and_request_go_to_their_document() {
    let mut session = joined();
    act(&mut session, &sync("ada"), |action| {
        let expected = Action::Document {
            document: document(),
            request: false,
            data: Bytes::from_static(b"data"),
        };
        assert_eq!(action, expected);
    });
    let request = Message::Request {
        sender: "ada".into(),
        target: "server".into(),
        document: document(),
        data: Bytes::new(),
    };
    act(&mut session, &request.encode(), |action| {
        assert!(matches!(action, Action::Document { request: true, .. }));
    });
}

#[test]
fn nobody_speaks_in_anothers_name() {
    act(&mut joined(), &sync("eve"), |action| {
        assert_eq!(action, Action::Ignore(Ignored::WrongSender));
    });
}

#[test]
fn who_joins_twice_or_as_the_server_is_closed() {
    act(&mut joined(), &join(&["1"]), |action| {
        assert_eq!(close_code(&action), Some(CloseCode::PolicyViolation));
    });
    let join = Message::Join {
        sender: "server".into(),
        metadata: PeerMetadata::default(),
        versions: vec!["1".into()],
    };
    act(&mut fresh(), &join.encode(), |action| {
        assert_eq!(close_code(&action), Some(CloseCode::PolicyViolation));
    });
}

#[test]
fn ephemera_are_passed_on_only_when_receivers_can_read_them() {
    let mut session = joined();
    act(&mut session, &ephemeral(vec![0x01]), |action| {
        assert!(
            matches!(action, Action::Forward(Message::Ephemeral { count: 3, .. })),
            "{action:?}"
        );
    });
    for (data, why) in [
        (vec![0x18; 101], Ignored::EphemeralSize),
        (vec![0xff], Ignored::EphemeralData),
        (vec![], Ignored::EphemeralData),
    ] {
        act(&mut session, &ephemeral(data), |action| {
            assert_eq!(action, Action::Ignore(why))
        });
    }
}

#[test]
fn what_others_claim_to_have_is_not_believed() {
    let message = Message::RemoteHeadsChanged {
        sender: "ada".into(),
        target: "server".into(),
        document: document(),
        new_heads: vec![],
    };
    act(&mut joined(), &message.encode(), |action| {
        assert_eq!(action, Action::Ignore(Ignored::RemoteHeads));
    });
}

#[test]
fn who_leaves_is_let_go() {
    let leave = Message::Leave { sender: "ada".into() };
    act(&mut joined(), &leave.encode(), |action| {
        assert_eq!(close_code(&action), Some(CloseCode::Normal));
    });
}

proptest! {
    #[test]
    fn garbage_closes_the_connection_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let frame = Bytes::from(bytes);
        for mut session in [fresh(), joined()] {
            if Message::decode(&frame).is_err() {
                let action = session.handle(&server(), &frame).1;
                prop_assert_eq!(close_code(&action), Some(CloseCode::MalformedMessage));
            }
        }
    }

    #[test]
    fn no_damage_to_a_frame_makes_it_panic(at in 0usize..60, byte in any::<u8>()) {
        for frame in [join(&["1"]), sync("ada"), ephemeral(vec![0x01])] {
            let mut bytes = frame.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let frame = bytes.into();
            let _ = fresh().handle(&server(), &frame);
            let _ = joined().handle(&server(), &frame);
        }
    }
}
