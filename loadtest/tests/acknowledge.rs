//! Every upload is acknowledged, however the client goes on talking.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use aetherflow_loadtest::{
    server::{Server, ServerOptions},
    wire::{self, Endpoint},
};
use aetherflow_schema::{id::DocumentId, repo::Message};
use automerge::{
    AutoCommit, ROOT,
    sync::{self, ChunkList, MessageVersion, SyncDoc},
    transaction::Transactable,
};
use tokio::time::timeout;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(10);

/// A client that answers the server while its own upload is on the way says, without changes, that it has the heads it
/// has just uploaded. To the sync protocol both ends are then equal and there is nothing to say; but until the server
/// has named these heads the client cannot know that they are saved. Whether the two messages are handled together is
/// a matter of moments, so it is tried many times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_acknowledged_though_the_client_speaks_again_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap();
    let mut socket = Endpoint::from(server.address()).dial().await.unwrap();
    let target = wire::join(&mut socket, "hasty").await.unwrap();
    for attempt in 0..50 {
        let document = DocumentId::from_uuid(Uuid::new_v4());
        let frame = |message: sync::Message| {
            let message = Message::Sync {
                sender: "hasty".into(),
                target: (&*target).into(),
                document: document.clone(),
                data: message.encode().into(),
            };
            message.encode()
        };
        let mut content = AutoCommit::new();
        let mut state = sync::State::new();
        for edit in 0..5 {
            content.put(ROOT, "edit", edit).unwrap();
            content.commit();
            let heads = content.get_heads();
            let again = sync::Message {
                heads: heads.clone(),
                need: Vec::new(),
                have: Vec::new(),
                changes: ChunkList::empty(),
                flags: None,
                version: MessageVersion::V1,
            };
            loop {
                if let Some(saying) = content.sync().generate_sync_message(&mut state) {
                    let uploads = !saying.changes.is_empty();
                    wire::send(&mut socket, frame(saying)).await.unwrap();
                    if uploads {
                        wire::send(&mut socket, frame(again.clone())).await.unwrap();
                    }
                }
                let heard = timeout(PATIENCE, wire::receive(&mut socket)).await;
                let heard = heard.unwrap_or_else(|_| panic!("document {attempt}: edit {edit} was never acknowledged"));
                let heard = heard.unwrap();
                let Message::Sync {
                    data, document: about, ..
                } = wire::decode(&heard).unwrap()
                else {
                    panic!("{:?}", wire::decode(&heard));
                };
                if about != document {
                    continue;
                }
                let message = sync::Message::decode(&data).unwrap();
                let acknowledged = message.heads == heads;
                content.sync().receive_sync_message(&mut state, message).unwrap();
                if acknowledged {
                    break;
                }
            }
        }
    }
}
