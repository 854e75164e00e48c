//! Frames of a client, and what they are answered by.

use std::{collections::BTreeMap, time::Duration};

use aetherflow_loadtest::{
    native::{Connection, Transport},
    server::{Server, ServerOptions},
};
use aetherflow_schema::{
    id::DocumentId,
    native::{
        ClientFrame, RequestId, Start, Submit, Subscribe,
        wire::{Tier, server_frame::Kind},
    },
};
use automerge::{AutoCommit, Change, ROOT, ReadDoc, transaction::Transactable};
use bytes::Bytes;
use uuid::Uuid;

pub(crate) const WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn start(dir: &tempfile::TempDir) -> Server {
    Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap()
}

pub(crate) async fn open(transport: Transport, server: &Server, name: &str) -> Connection {
    let endpoint = server.endpoint().unwrap();
    Connection::open_on(transport, &endpoint, name).await.unwrap()
}

pub(crate) fn document() -> DocumentId {
    DocumentId::from_uuid(Uuid::new_v4())
}

pub(crate) fn submit(request: u64, document: &DocumentId, changes: &[Change]) -> ClientFrame {
    ClientFrame::Submit(Submit {
        request: RequestId(request),
        document: document.clone(),
        changes: changes
            .iter()
            .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
            .collect(),
        fencing: None,
    })
}

pub(crate) fn subscribe(request: u64, document: &DocumentId, start: Start) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe {
        request: RequestId(request),
        document: document.clone(),
        start,
    })
}

pub(crate) async fn receipt(connection: &mut Connection) -> Vec<u64> {
    match connection.hear().await.unwrap() {
        Kind::Receipt(receipt) => {
            assert_eq!(receipt.tier(), Tier::Durable);
            receipt.offsets
        }
        other => panic!("{other:?}"),
    }
}

/// The offsets and changes that a subscription brings, up to this offset.
pub(crate) async fn entries(connection: &mut Connection, last: u64) -> BTreeMap<u64, Bytes> {
    let mut entries = BTreeMap::new();
    while !entries.contains_key(&last) {
        match connection.hear().await.unwrap() {
            Kind::Ops(ops) => {
                for entry in ops.entries {
                    assert!(entries.insert(entry.offset, entry.payload).is_none(), "each comes once");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    entries
}

/// So many changes.
pub(crate) fn changes(document: &mut AutoCommit, count: i64) -> Vec<Change> {
    let before = document.get_heads();
    for n in 0..count {
        let key = format!("key {}", document.keys(ROOT).count());
        document.put(ROOT, key, n).unwrap();
        document.commit();
    }
    document.get_changes(&before)
}
