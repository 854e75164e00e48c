//! What is done once for many edits, or for many peers.

use crate::common::{Client, document, eventually, grant, start, watched::Watched};
use aetherflow_schema::{
    documents::{At, Documents, PeerFrame},
    id::DocumentId,
};
use aetherflow_statesync::Statesync;
use automerge::{ROOT, transaction::Transactable};
use bytes::Bytes;

/// Peers that have all of a document and have said so.
async fn in_step(statesync: &Statesync, id: &DocumentId, peers: usize) -> Vec<Client> {
    let mut first = Client::open(statesync, id).await;
    first.doc.put(ROOT, "n", 0).unwrap();
    first.until_saved().await;
    let mut all = vec![first];
    while all.len() < peers {
        let mut next = Client::open(statesync, id).await;
        next.request().await;
        eventually("it has the document", async || {
            next.exchange().await;
            next.doc.get_heads() == all[0].doc.get_heads()
        })
        .await;
        next.until_saved().await;
        all.push(next);
    }
    handled(statesync, id).await;
    all.iter().for_each(|peer| drop(peer.drain()));
    all
}

/// Waits until everything that was sent was taken in.
async fn handled(statesync: &Statesync, id: &DocumentId) {
    statesync.read(grant(id), At::Now).await.unwrap();
}

fn messages(frames: Vec<PeerFrame>) -> Vec<Bytes> {
    let message = |frame| match frame {
        PeerFrame::Sync { message, .. } => Some(message),
        _ => None,
    };
    frames.into_iter().filter_map(message).collect()
}

/// One thread, so that nobody is woken before all who waited for the same commit know of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_committed_together_is_told_together() {
    let storage = Watched::new();
    let (statesync, _) = start(storage.clone());
    let id = document(1);
    let mut peers = in_step(&statesync, &id, 21).await;
    let mut watcher = peers.pop().unwrap();
    storage.writing.allow(Some(0));
    for (n, author) in peers.iter_mut().enumerate() {
        author.doc.put(ROOT, format!("{n}"), true).unwrap();
        author.doc.commit();
        author.send_next().await;
        eventually("the first edit is being written, alone", async || {
            storage.writing.waits()
        })
        .await;
    }
    handled(&statesync, &id).await;
    assert!(watcher.drain().is_empty(), "nothing is told before it is committed");
    storage.writing.allow(None);
    let mut told = 0;
    eventually("all edits are told", async || {
        told += messages(watcher.receive_all()).len();
        watcher.doc.get_changes(&[]).len() == 21
    })
    .await;
    assert!(told <= 2, "{told} messages: one for the first edit, one for the others");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_stand_at_the_same_place_are_told_the_same_bytes() {
    let (statesync, _) = start(Watched::new());
    let id = document(1);
    let mut peers = in_step(&statesync, &id, 5).await;
    let mut author = peers.remove(0);
    for n in 1..=3 {
        author.doc.put(ROOT, "n", n).unwrap();
        author.until_saved().await;
        let mut told = Vec::new();
        for peer in &mut peers {
            told.extend(messages(peer.receive_all()));
            peer.send_next().await;
        }
        handled(&statesync, &id).await;
        assert_eq!(told.len(), 4);
        assert!(
            told.iter().all(|message| message.as_ptr() == told[0].as_ptr()),
            "edit {n}"
        );
    }
}
