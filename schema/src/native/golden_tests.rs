//! The frames in `testdata/native`: see the README there.

use std::{collections::BTreeSet, fs, num::NonZeroU64, path::PathBuf};

use super::*;
use crate::{
    id::{ChangeHash, DocumentId, Offset},
    limits,
    locks::Fencing,
};

fn document() -> DocumentId {
    DocumentId::from_bytes(&(0..16).collect::<Vec<u8>>()).unwrap()
}

fn raw_document() -> Bytes {
    (0..16).collect()
}

fn hello_frames() -> Vec<(&'static str, ClientFrame)> {
    vec![
        (
            "hello",
            ClientFrame::Hello(Hello {
                token: "a.b.c".into(),
                client_id: "laptop".into(),
                resume_token: Bytes::from_static(b"again"),
                capabilities: vec!["locks".into(), "zstd".into()],
                frame_bytes: None,
            }),
        ),
        (
            "hello-taking-short-frames",
            ClientFrame::Hello(Hello {
                token: String::new(),
                client_id: "laptop".into(),
                resume_token: Bytes::new(),
                capabilities: Vec::new(),
                frame_bytes: NonZeroU64::new(1 << 20),
            }),
        ),
    ]
}

fn client_frames() -> Vec<(&'static str, ClientFrame)> {
    let subscribe = |start| {
        ClientFrame::Subscribe(Subscribe {
            request: RequestId(8),
            document: document(),
            start,
        })
    };
    let acquire = |fencing| {
        ClientFrame::AcquireLock(AcquireLock {
            request: RequestId(10),
            document: document(),
            ttl_ms: 30_000,
            fencing,
        })
    };
    let list = |document| {
        ClientFrame::ListLocks(ListLocks {
            request: RequestId(12),
            document,
        })
    };
    let others = vec![
        (
            "submit",
            ClientFrame::Submit(Submit {
                request: RequestId(7),
                document: document(),
                changes: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
                fencing: None,
            }),
        ),
        (
            "submit-under-a-lock",
            ClientFrame::Submit(Submit {
                request: RequestId(7),
                document: document(),
                changes: vec![Bytes::from_static(b"one")],
                fencing: Some(Fencing(1 << 60)),
            }),
        ),
        ("subscribe", subscribe(Start::Snapshot)),
        ("subscribe-after-nothing", subscribe(Start::After(Offset::ZERO))),
        ("subscribe-after-an-offset", subscribe(Start::After(Offset(300)))),
        (
            "subscribe-after-heads",
            subscribe(Start::AfterHeads(vec![ChangeHash([1; 32]), ChangeHash([2; 32])])),
        ),
        ("unsubscribe", ClientFrame::Unsubscribe(document())),
        (
            "fetch",
            ClientFrame::Fetch(Fetch {
                request: RequestId(9),
                document: document(),
                from: Offset(1),
                until: Some(Offset(1000)),
            }),
        ),
        (
            "presence",
            ClientFrame::Presence(Presence {
                document: document(),
                state: Bytes::from_static(b"cursor"),
                ttl_ms: 30_000,
            }),
        ),
        ("ping", ClientFrame::Ping(u64::MAX)),
        ("acquire-lock", acquire(None)),
        ("renew-lock", acquire(Some(Fencing(1 << 60)))),
        (
            "release-lock",
            ClientFrame::ReleaseLock(ReleaseLock {
                request: RequestId(11),
                document: document(),
                fencing: Fencing(1 << 60),
            }),
        ),
        ("list-locks", list(Some(document()))),
        ("list-own-locks", list(None)),
    ];
    hello_frames().into_iter().chain(others).collect()
}

fn welcome(session_id: Bytes) -> wire::Welcome {
    wire::Welcome {
        session_id,
        resume_token: Bytes::from_static(b"next"),
        resumed: true,
        limits: Some(wire::Limits {
            frame_bytes: limits::CLIENT_FRAME_BYTES as u64,
            change_bytes: limits::ENTRY_PAYLOAD_BYTES as u64,
            submit_changes: SUBMIT_CHANGES as u32,
            subscriptions: 1000,
            presence_bytes: PRESENCE_BYTES as u32,
            resume_window_ms: 120_000,
        }),
        server_time_ms: 1_795_435_820_437,
        capabilities: vec!["locks".into()],
        principal: "alice".into(),
    }
}

fn lock() -> wire::Lock {
    wire::Lock {
        document: raw_document(),
        fencing: 1 << 60,
        session_id: Bytes::from_static(&[0x0a; 16]),
        principal: "alice".into(),
        until_ms: 1_795_435_850_437,
    }
}

fn lock_frames() -> Vec<(&'static str, wire::ServerFrame)> {
    vec![
        (
            "lock-granted",
            wire::LockGranted {
                request_id: 10,
                lock: Some(lock()),
                ttl_ms: 30_000,
            }
            .into(),
        ),
        ("lock-released", wire::LockReleased { request_id: 11 }.into()),
        (
            "locks",
            wire::Locks {
                request_id: 12,
                locks: vec![lock()],
            }
            .into(),
        ),
    ]
}

fn server_frames() -> Vec<(&'static str, wire::ServerFrame)> {
    let session_id = Bytes::from_static(&[0x0a; 16]);
    vec![
        ("welcome", welcome(session_id.clone()).into()),
        (
            "receipt",
            wire::Receipt {
                request_id: 7,
                offsets: vec![300, 301, 12],
                tier: wire::Tier::Replicated.into(),
            }
            .into(),
        ),
        (
            "reject",
            wire::Reject::of(RequestId(7), &DocumentError::Overloaded).into(),
        ),
        (
            "snapshot",
            wire::Snapshot {
                document: raw_document(),
                offset: 301,
                bytes: Bytes::from_static(b"file"),
                heads: Bytes::from_static(&[1; 32]),
            }
            .into(),
        ),
        (
            "ops",
            wire::Ops {
                document: raw_document(),
                entries: vec![wire::Entry {
                    offset: 302,
                    kind: wire::EntryKind::Change.into(),
                    committed_ms: 1_795_435_820_438,
                    principal: "bob".into(),
                    session_id: session_id.clone(),
                    payload: Bytes::from_static(b"change"),
                }],
                request_id: Some(0),
                last: true,
            }
            .into(),
        ),
        (
            "presence-event",
            wire::PresenceEvent {
                document: raw_document(),
                session_id,
                principal: "bob".into(),
                change: wire::PresenceChange::Updated.into(),
                state: Bytes::from_static(b"cursor"),
                ttl_ms: 15_000,
            }
            .into(),
        ),
        (
            "go-away",
            wire::GoAway {
                code: 4013,
                reconnect_after_ms: 2_750,
                closes_in_ms: 10_000,
                reason: "server draining".into(),
            }
            .into(),
        ),
        (
            "pong",
            wire::Pong {
                nonce: u64::MAX,
                server_time_ms: 1,
            }
            .into(),
        ),
    ]
}

/// The frame in `testdata/native`; with `AETHERFLOW_WRITE_VECTORS` set, `frame` is written there first.
fn golden(name: &str, frame: &Bytes) -> Bytes {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/native")).join(format!("{name}.hex"));
    if std::env::var_os("AETHERFLOW_WRITE_VECTORS").is_some() {
        let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        fs::write(&path, frame.chunks(50).map(line).collect::<String>()).unwrap();
    }
    let text: String = fs::read_to_string(path).unwrap().split_whitespace().collect();
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

#[test]
fn golden_client_frames_stay_as_they_are() {
    for (name, frame) in client_frames() {
        let bytes = frame.clone().encode();
        let golden = golden(&format!("client-{name}"), &bytes);
        assert_eq!(golden, bytes, "{name}");
        assert_eq!(ClientFrame::decode(golden), Ok(frame), "{name}");
    }
}

#[test]
fn golden_server_frames_stay_as_they_are() {
    for (name, frame) in server_frames().into_iter().chain(lock_frames()) {
        let bytes = encode(&frame);
        let golden = golden(&format!("server-{name}"), &bytes);
        assert_eq!(golden, bytes, "{name}");
        assert_eq!(decode_server(golden).ok(), frame.kind, "{name}");
    }
}

#[test]
fn golden_frames_cut_short_anywhere_are_errors() {
    for (name, frame) in client_frames() {
        let bytes = frame.encode();
        for n in 0..bytes.len() {
            assert!(
                ClientFrame::decode(bytes.slice(..n)).is_err(),
                "{name} cut to {n} bytes"
            );
        }
    }
    for (name, frame) in server_frames().into_iter().chain(lock_frames()) {
        let bytes = encode(&frame);
        for n in 0..bytes.len() {
            assert!(decode_server(bytes.slice(..n)).is_err(), "{name} cut to {n} bytes");
        }
    }
}

#[test]
fn every_golden_file_is_tested() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/native");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let files: BTreeSet<_> = files
        .filter_map(|name| name.into_string().unwrap().strip_suffix(".hex").map(str::to_owned))
        .collect();
    let client = client_frames().into_iter().map(|(name, _)| format!("client-{name}"));
    let server = server_frames()
        .into_iter()
        .chain(lock_frames())
        .map(|(name, _)| format!("server-{name}"));
    assert_eq!(files, client.chain(server).collect());
}
