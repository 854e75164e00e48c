//! Frames made by the stock client's encoder, and ours: see `testdata/repo/README.md`.

use std::{fs, path::PathBuf};

use bytes::Bytes;

use super::{FanOut, Message, PROTOCOL_VERSION, PeerMetadata, RemoteHeads};
use crate::id::{DocumentId, StorageId};

const STORAGE: &str = "dda9df85-f9ec-4ee8-82d0-a5e7f719e227";
const OTHER: &str = "0e91f015-a0bb-4dd9-bb90-7e1b11ac7dc2";
const HEADS: [&str; 2] = [
    "66Gdib3djpvsK1AfCyz3SdZ3Tb6ardXh1kqfiuoaZfdUXDXmz",
    "2cPxgpDBGnrDbiFUS3dBxF7Ey5rUxYDS5SHdDkWNpT6Ng4Xiaf",
];
const TIMESTAMP_MS: f64 = 1_795_435_820_437.0;

fn storage(name: &str) -> StorageId {
    StorageId(name.into())
}

fn document() -> DocumentId {
    "2j9knpCseyhnK8izDmLpGP5WMdZQ".parse().unwrap()
}

fn long_document() -> DocumentId {
    DocumentId::from_bytes(&(0..64).map(|i| 255 - i).collect::<Vec<u8>>()).unwrap()
}

fn rising(n: u8, first: u8) -> Bytes {
    (0..n).map(|i| first.wrapping_add(i)).collect()
}

fn join(sender: &'static str, storage_id: Option<&str>, is_ephemeral: bool) -> Message<'static> {
    Message::Join {
        sender: sender.into(),
        metadata: PeerMetadata {
            storage_id: storage_id.map(storage),
            is_ephemeral,
        },
        versions: vec![PROTOCOL_VERSION.into()],
    }
}

fn sync(document: DocumentId, data: Bytes) -> Message<'static> {
    Message::Sync {
        sender: "alice".into(),
        target: "server".into(),
        document,
        data,
    }
}

fn ephemeral(sender: &'static str, session: String, count: u64, data: Bytes) -> Message<'static> {
    Message::Ephemeral {
        sender: sender.into(),
        target: "server".into(),
        document: document(),
        session: session.into(),
        count,
        data,
    }
}

fn subscription(sender: &'static str, add: &[&str]) -> Message<'static> {
    Message::RemoteSubscriptionChange {
        sender: sender.into(),
        target: "server".into(),
        add: add.iter().map(|name| storage(name)).collect(),
        remove: Vec::new(),
    }
}

fn remote_heads(new_heads: &[(&str, &[&str], f64)]) -> Message<'static> {
    let entry = |(name, heads, timestamp_ms): &(&str, &[&str], f64)| {
        let heads = heads.iter().map(|head| head.parse().unwrap()).collect();
        let timestamp_ms = *timestamp_ms;
        (storage(name), RemoteHeads { heads, timestamp_ms })
    };
    Message::RemoteHeadsChanged {
        sender: "server".into(),
        target: "bob".into(),
        document: document(),
        new_heads: new_heads.iter().map(entry).collect(),
    }
}

/// The messages of which there is a frame by the stock encoder and one by ours.
fn messages() -> Vec<(&'static str, Message<'static>)> {
    vec![
        ("join", join("alice", Some(STORAGE), false)),
        ("join-without-storage", join("bob", None, true)),
        ("join-bare", join("carol", None, false)),
        (
            "peer",
            Message::Peer {
                sender: "server".into(),
                target: "alice".into(),
                metadata: PeerMetadata {
                    storage_id: Some(storage(STORAGE)),
                    is_ephemeral: false,
                },
                version: PROTOCOL_VERSION.into(),
            },
        ),
        (
            "error",
            Message::Error {
                sender: "server".into(),
                target: "alice".into(),
                message: "unsupported protocol version".into(),
            },
        ),
        ("leave", Message::Leave { sender: "alice".into() }),
        (
            "request",
            Message::Request {
                sender: "bob".into(),
                target: "server".into(),
                document: document(),
                data: rising(10, 0x42),
            },
        ),
        ("sync", sync(document(), rising(200, 0x42))),
        ("sync-with-a-long-document-id", sync(long_document(), rising(3, 1))),
        (
            "doc-unavailable",
            Message::DocUnavailable {
                sender: "alice".into(),
                target: "server".into(),
                document: document(),
            },
        ),
        (
            "ephemeral",
            ephemeral("alice", "0ccvoojq34vg".into(), 1, rising(7, 0xb9)),
        ),
        (
            "ephemeral-with-a-large-count",
            ephemeral("ålice 🦀", "é".repeat(20), 1 << 40, rising(1, 0xf6)),
        ),
        ("remote-subscription-change", subscription("alice", &[STORAGE, OTHER])),
        ("remote-subscription-change-add-only", subscription("bob", &[STORAGE])),
        ("remote-heads-changed", remote_heads(&[(STORAGE, &HEADS, TIMESTAMP_MS)])),
        (
            "remote-heads-changed-empty",
            remote_heads(&[(STORAGE, &[], TIMESTAMP_MS), (OTHER, &[], 7.5)]),
        ),
        (
            "unknown",
            Message::Unknown {
                kind: "from-the-future".into(),
            },
        ),
    ]
}

/// Frames by the stock encoder with other settings.
fn variants() -> Vec<(&'static str, Message<'static>)> {
    let ephemeral = || ephemeral("alice", "0ccvoojq34vg".into(), 1, rising(7, 0xb9));
    vec![
        ("sync-tagged", sync(document(), rising(200, 0x42))),
        ("sync-short-headers", sync(document(), rising(200, 0x42))),
        ("ephemeral-float-count", ephemeral()),
        ("ephemeral-bigint-count", ephemeral()),
    ]
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/repo")).join(format!("{name}.hex"))
}

fn read(name: &str) -> Bytes {
    let text: String = fs::read_to_string(path(name)).unwrap().split_whitespace().collect();
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

/// What the tests compare with, unless the vectors are to be written anew.
fn golden(name: &str, frame: &Bytes) -> Bytes {
    if std::env::var_os("AETHERFLOW_WRITE_VECTORS").is_some() {
        let text: Vec<String> = frame
            .chunks(50)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
            .collect();
        fs::write(path(name), text.concat()).unwrap();
    }
    read(name)
}

#[test]
fn golden_frames_of_the_stock_encoder_are_understood() {
    for (name, message) in messages().into_iter().chain(variants()) {
        let frame = read(&format!("stock-{name}"));
        assert_eq!(Message::decode(&frame), Ok(message), "{name}");
    }
}

#[test]
fn golden_frames_of_ours_stay_as_they_are() {
    for (name, message) in messages() {
        let frame = message.encode();
        assert_eq!(golden(&format!("ours-{name}"), &frame), frame, "{name}");
        assert_eq!(Message::decode(&frame), Ok(message), "{name}");
    }
}

#[test]
fn golden_frames_cut_short_anywhere_are_errors() {
    for name in messages().into_iter().chain(variants()).map(|(name, _)| name) {
        let frame = read(&format!("stock-{name}"));
        for n in 0..frame.len() {
            assert!(Message::decode(&frame.slice(..n)).is_err(), "{name} cut to {n} bytes");
        }
    }
}

#[test]
fn golden_frames_for_many_targets_are_those_for_each() {
    for (name, message) in messages() {
        let shared = FanOut::new(&message);
        let target = message.target().unwrap_or_default();
        assert_eq!(shared.frame(target), message.encode(), "{name}");
    }
}

#[test]
fn every_golden_file_is_tested() {
    let folder = path("").parent().unwrap().to_owned();
    let files = fs::read_dir(folder).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".hex").map(str::to_owned)
    });
    let known = |name: &str| {
        let both = |kind: &str, known: &str| name == format!("{kind}-{known}");
        messages().iter().any(|(m, _)| both("stock", m) || both("ours", m))
            || variants().iter().any(|(v, _)| both("stock", v))
    };
    let unknown: Vec<String> = files.filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
