//! Frames that no correct client sends.

use std::collections::BTreeMap;

use aetherflow_loadtest::wire::{self, Socket, WireError};
use aetherflow_schema::{
    close::CloseCode,
    id::{DocumentId, StorageId},
    limits,
    repo::{Message, PeerMetadata},
};
use automerge::{
    AutoCommit, ROOT,
    sync::{self, SyncDoc},
    transaction::Transactable,
};
use bytes::Bytes;
use futures_util::{SinkExt, future::join_all};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{io::AsyncWriteExt, time::timeout};
use tokio_tungstenite::tungstenite;
use uuid::Uuid;

use crate::{FRAME_BYTES, PATIENCE, Stage, close_code};

/// Connections at once.
const AT_ONCE: usize = 16;

/// As often as that many send mutated frames.
const MUTATION_ROUNDS: usize = 60;

fn name(rng: &mut StdRng) -> String {
    format!("hostile-{:016x}", rng.random::<u64>())
}

/// Random bytes, before a join and after one.
pub(crate) async fn garbage(stage: &mut Stage) {
    for _ in 0..12 {
        let hostile = (0..AT_ONCE).map(|n| {
            let endpoint = stage.endpoint(n);
            let mut rng = StdRng::from_rng(&mut stage.rng);
            async move {
                let mut socket = endpoint.dial().await.unwrap();
                if n % 2 == 0 {
                    wire::join(&mut socket, &name(&mut rng)).await.unwrap();
                }
                for _ in 0..rng.random_range(1..20) {
                    let length = rng.random_range(0..4096);
                    let frame: Vec<u8> = (0..length).map(|_| rng.random()).collect();
                    if wire::send(&mut socket, frame.into()).await.is_err() {
                        break;
                    }
                }
                assert_eq!(close_code(&mut socket).await, CloseCode::MalformedMessage.code());
            }
        });
        join_all(hostile).await;
        stage.measure();
    }
}

/// Valid frames with something changed. What still makes sense may have its effect; the connection either goes on or is
/// closed with a reason.
pub(crate) async fn mutations(stage: &mut Stage) {
    let target = stage.crew.documents()[0].clone();
    let mut endings: BTreeMap<Option<u16>, usize> = BTreeMap::new();
    for _ in 0..MUTATION_ROUNDS {
        let hostile = (0..AT_ONCE).map(|n| {
            let endpoint = stage.endpoint(n);
            let target = target.clone();
            let mut rng = StdRng::from_rng(&mut stage.rng);
            async move {
                let mut socket = endpoint.dial().await.unwrap();
                let me = name(&mut rng);
                let server = wire::join(&mut socket, &me).await.unwrap();
                let templates = templates(&me, &server, &target);
                for _ in 0..rng.random_range(1..4) {
                    let message = templates.choose(&mut rng).unwrap();
                    let frame = if rng.random() {
                        mutate(&message.encode(), &mut rng)
                    } else {
                        mutate_inside(message.clone(), &mut rng).encode()
                    };
                    if wire::send(&mut socket, frame).await.is_err() {
                        break;
                    }
                }
                still_served_or_closed(&mut socket, &me, &server).await
            }
        });
        for ending in join_all(hostile).await {
            *endings.entry(ending).or_default() += 1;
        }
        stage.measure();
    }
    println!("mutated frames: connections by how the server closed them: {endings:?}");
    assert!(
        endings.contains_key(&None),
        "no mutation is harmless: only the first one is tested"
    );
    assert!(endings.len() > 1, "the mutations are too mild");
}

/// Asks for a document that does not exist: there is an answer, or a close code.
async fn still_served_or_closed(socket: &mut Socket, me: &str, server: &str) -> Option<u16> {
    let document = DocumentId::from_uuid(Uuid::new_v4());
    let mut empty = AutoCommit::new();
    let ask = empty.sync().generate_sync_message(&mut sync::State::new()).unwrap();
    let request = Message::Request {
        sender: me.into(),
        target: server.into(),
        document: document.clone(),
        data: ask.encode().into(),
    };
    // If it was closed already, that is read below.
    let _ = wire::send(socket, request.encode()).await;
    let answered = timeout(PATIENCE, async {
        loop {
            match wire::receive(socket).await {
                Ok(frame) => {
                    if wire::decode(&frame).unwrap().document() == Some(&document) {
                        return None;
                    }
                }
                Err(ending) => return Some(ending),
            }
        }
    });
    match answered.await.expect("neither an answer nor a close") {
        None => None,
        Some(WireError::Closed { code: Some(code), .. }) => {
            assert_ne!(
                code,
                CloseCode::InternalError.code(),
                "the server failed in a way it did not foresee"
            );
            Some(code)
        }
        Some(other) => panic!("closed without a reason: {other}"),
    }
}

/// One valid message of each kind, about a document that honest writers edit.
fn templates(me: &str, server: &str, document: &DocumentId) -> Vec<Message<'static>> {
    let sender = || me.to_owned().into();
    let target = || server.to_owned().into();
    let document = || document.clone();
    let mut foreign = AutoCommit::new();
    (0..5).for_each(|n| {
        foreign.put(ROOT, "hostile", n).unwrap();
        foreign.commit();
    });
    let mut state = sync::State::new();
    let offer = foreign.sync().generate_sync_message(&mut state).unwrap();
    let other = AutoCommit::new().sync().generate_sync_message(&mut sync::State::new());
    foreign.sync().receive_sync_message(&mut state, other.unwrap()).unwrap();
    let upload = foreign.sync().generate_sync_message(&mut state).unwrap();
    let [offer, upload] = [offer, upload].map(|message| Message::Sync {
        sender: sender(),
        target: target(),
        document: document(),
        data: message.encode().into(),
    });
    let ephemeral = Message::Ephemeral {
        sender: sender(),
        target: target(),
        document: document(),
        session: "session".into(),
        count: 1,
        data: Bytes::from_static(b"\xa1\x61a\x01"),
    };
    let subscription = Message::RemoteSubscriptionChange {
        sender: sender(),
        target: target(),
        add: vec![StorageId("storage".into())],
        remove: Vec::new(),
    };
    let unavailable = Message::DocUnavailable {
        sender: sender(),
        target: target(),
        document: document(),
    };
    let join = Message::Join {
        sender: sender(),
        metadata: PeerMetadata::default(),
        versions: vec!["1".into()],
    };
    vec![offer, upload, ephemeral, subscription, unavailable, join]
}

/// Changes what the message carries and leaves the frame around it whole, so that more than the decoder is met.
fn mutate_inside(mut message: Message<'static>, rng: &mut StdRng) -> Message<'static> {
    match &mut message {
        Message::Sync { data, .. } | Message::Ephemeral { data, .. } => *data = mutate(data, rng),
        Message::RemoteSubscriptionChange { add, .. } => {
            add.extend((0..rng.random_range(0..2_000)).map(|n| StorageId(format!("storage-{n}").into())));
        }
        Message::DocUnavailable { document, .. } => {
            let length = rng.random_range(1..=limits::DOCUMENT_ID_BYTES);
            *document = DocumentId::from_bytes(&vec![rng.random(); length]).unwrap();
        }
        _ => {}
    }
    message
}

fn mutate(frame: &Bytes, rng: &mut StdRng) -> Bytes {
    let mut bytes = frame.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.random()),
            4 => {
                let piece: Vec<u8> = bytes[at..].iter().take(40).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                bytes.remove(at);
            }
        }
    }
    bytes.into()
}

/// Protocol versions that nobody speaks, a second join, and a join under the server's own name.
pub(crate) async fn versions(stage: &mut Stage) {
    let cases: [&[&str]; 3] = [&["2"], &["0", "banana", ""], &["1.0"]];
    for versions in cases {
        let mut socket = stage.endpoint(0).dial().await.unwrap();
        let join = wire::join_frame(&name(&mut stage.rng), versions);
        wire::send(&mut socket, join).await.unwrap();
        let frame = wire::receive(&mut socket).await.unwrap();
        assert!(
            matches!(wire::decode(&frame).unwrap(), Message::Error { .. }),
            "{versions:?}"
        );
        assert_eq!(
            close_code(&mut socket).await,
            CloseCode::UnsupportedVersion.code(),
            "{versions:?}"
        );
    }
    let mut socket = stage.endpoint(1).dial().await.unwrap();
    let me = name(&mut stage.rng);
    let server = wire::join(&mut socket, &me).await.unwrap();
    wire::send(&mut socket, wire::join_frame(&me, &["1"])).await.unwrap();
    assert_eq!(close_code(&mut socket).await, CloseCode::PolicyViolation.code());
    let mut socket = stage.endpoint(2).dial().await.unwrap();
    wire::send(&mut socket, wire::join_frame(&server, &["1"]))
        .await
        .unwrap();
    assert_eq!(close_code(&mut socket).await, CloseCode::PolicyViolation.code());
}

/// Text messages, and bytes that are not WebSocket.
pub(crate) async fn broken_websocket(stage: &mut Stage) {
    for joined in [false, true] {
        let mut socket = stage.endpoint(3).dial().await.unwrap();
        if joined {
            wire::join(&mut socket, &name(&mut stage.rng)).await.unwrap();
        }
        socket.send(tungstenite::Message::text("hello")).await.unwrap();
        assert_eq!(close_code(&mut socket).await, CloseCode::UnsupportedData.code());
    }
    let broken: [(&str, &[u8]); 5] = [
        ("not masked", b"\x82\x01a"),
        ("reserved bits", b"\xf2\x80\0\0\0\0"),
        ("an unknown kind", b"\x83\x80\0\0\0\0"),
        ("a continuation of nothing", b"\x80\x80\0\0\0\0"),
        ("a long ping", b"\x89\xfe\x01\0\0\0\0\0"),
    ];
    for (what, bytes) in broken {
        let mut socket = stage.endpoint(0).dial().await.unwrap();
        wire::join(&mut socket, &name(&mut stage.rng)).await.unwrap();
        socket.get_mut().write_all(bytes).await.unwrap();
        assert_eq!(close_code(&mut socket).await, CloseCode::ProtocolError.code(), "{what}");
    }
}

/// A frame that announces too much, one that announces all there is in 64 bits, and fragments that add up to too much.
pub(crate) async fn oversized(stage: &mut Stage) {
    for length in [FRAME_BYTES as u64 + 1, u64::MAX] {
        let mut socket = stage.endpoint(1).dial().await.unwrap();
        let mut header = vec![0x82, 0xff];
        header.extend(length.to_be_bytes());
        header.extend([0; 4]);
        socket.get_mut().write_all(&header).await.unwrap();
        assert_eq!(close_code(&mut socket).await, CloseCode::MessageTooBig.code());
    }
    let hostile = (0..AT_ONCE).map(|n| {
        let endpoint = stage.endpoint(n);
        let name = name(&mut stage.rng);
        async move {
            let mut socket = endpoint.dial().await.unwrap();
            wire::join(&mut socket, &name).await.unwrap();
            // Just below the limit, not final; then what makes it too much.
            let body = vec![0; FRAME_BYTES - 1];
            let mut first = vec![0x02, 0xff];
            first.extend((body.len() as u64).to_be_bytes());
            first.extend([0; 4]);
            let stream = socket.get_mut();
            stream.write_all(&first).await.unwrap();
            stream.write_all(&body).await.unwrap();
            stream.write_all(b"\x80\x82\0\0\0\0ab").await.unwrap();
            assert_eq!(close_code(&mut socket).await, CloseCode::MessageTooBig.code());
        }
    });
    join_all(hostile).await;
}
