//! What clients, servers and other nodes send.

use std::sync::LazyLock;

use aetherflow_schema::{
    access::Principal,
    id::{DocumentId, SessionId},
    native::{self, ClientFrame, wire},
    presence::bus::{BusBody, BusMember, BusMessage, BusPresent},
    repo::Message,
    sessions::NodeId,
};
use bytes::Bytes;
use uuid::Uuid;

use crate::{golden::golden, run::seeds, source::Source, within};

/// A message of the automerge-repo protocol.
pub(crate) fn repo(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| golden("repo", ""));
    let frame = Bytes::from(Source::new(data).nearly(&CORPUS));
    let Ok(message) = within(frame.len(), 40, || Message::decode(&frame)) else {
        return;
    };
    let written = message.encode();
    let again = Message::decode(&written).unwrap();
    // Timestamps may be no numbers, which are not equal to themselves.
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
    assert_eq!(again.encode(), written);
}

/// A frame of the native protocol, to the server.
pub(crate) fn client_frame(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| golden("native", "client-"));
    let frame = Bytes::from(Source::new(data).nearly(&CORPUS));
    let read = within(frame.len(), 40, || ClientFrame::decode(frame.clone()));
    if let Ok(read) = read {
        assert_eq!(ClientFrame::decode(read.clone().encode()), Ok(read));
    }
}

/// A frame of the native protocol, to a client. Its fields are not counted before they are read: the server is believed,
/// and what it may cost is what it says in two bytes for each.
pub(crate) fn server_frame(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| golden("native", "server-"));
    let frame = Bytes::from(Source::new(data).nearly(&CORPUS));
    let read = within(frame.len(), 200, || native::decode_server(frame.clone()));
    if let Ok(kind) = read {
        let written = native::encode(&wire::ServerFrame {
            kind: Some(kind.clone()),
        });
        assert_eq!(native::decode_server(written).unwrap(), kind);
    }
}

/// What another node says of presence.
pub(crate) fn bus(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Bytes>> = LazyLock::new(bus_messages);
    let bytes = Bytes::from(Source::new(data).nearly(&CORPUS));
    let read = within(bytes.len(), 80, || BusMessage::decode(bytes.clone()));
    if let Ok(message) = read {
        assert_eq!(BusMessage::decode(message.encode()), Ok(message));
    }
}

fn bus_messages() -> Vec<Bytes> {
    let session = |n| SessionId(Uuid::from_u128(n));
    let member = |n| BusMember {
        session: session(n),
        revision: n as u64,
        ttl_ms: 9000,
    };
    let bodies = [
        BusBody::Present(BusPresent {
            session: session(1),
            principal: Principal::named("ada").unwrap(),
            state: Bytes::from_static(b"here"),
            ttl_ms: 9000,
            revision: 3,
        }),
        BusBody::Absent(session(2)),
        BusBody::Roster((0..4).map(member).collect()),
        BusBody::Ask {
            node: NodeId::named("two"),
            sessions: vec![session(5), session(6)],
        },
    ];
    let message = |body| BusMessage {
        node: NodeId::named("one").unwrap(),
        order: (2, 3),
        document: DocumentId::from_bytes(&[7; 16]).unwrap(),
        lease_ms: 15_000,
        body,
    };
    bodies.map(|body| message(body).encode()).into()
}

#[test]
fn any_repo_message() {
    seeds("any_repo_message", 20_000, 300, repo);
}

#[test]
fn any_client_frame() {
    seeds("any_client_frame", 20_000, 300, client_frame);
}

#[test]
fn any_server_frame() {
    seeds("any_server_frame", 20_000, 300, server_frame);
}

#[test]
fn any_bus_message() {
    seeds("any_bus_message", 20_000, 300, bus);
}
