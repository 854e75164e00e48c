//! Changes that claim to be large, or would spoil the document, by both ways in and as a file.

use aetherflow_log_core::storage::Snapshot;
use aetherflow_schema::{
    documents::{At, DocumentError, Documents, PeerFrame},
    id::{DocumentId, Offset},
};
use aetherflow_statesync::Statesync;
use automerge::{AutoCommit, Change, ChangeHash, ExpandedChange, ROOT, ScalarValue, sync, transaction::Transactable};
use bytes::Bytes;

use crate::common::{
    Client,
    author::{Author, submit},
    bomb, document, eventually, grant, grant_write, memory, start,
};

/// A sync message with this change from somebody who has these heads.
fn carrying(change: &[u8], heads: Vec<ChangeHash>) -> Vec<u8> {
    let message = sync::Message {
        heads,
        need: Vec::new(),
        have: Vec::new(),
        changes: change.to_vec().into(),
        flags: None,
        version: sync::MessageVersion::V1,
    };
    message.encode()
}

/// Waits until the peer is thrown out: why it was.
async fn thrown_out(peer: &Client) -> String {
    let mut refused = None;
    eventually("the peer is thrown out", async || {
        refused = refused.take().or_else(|| {
            peer.drain().into_iter().find_map(|frame| match frame {
                PeerFrame::Malformed { reason, .. } => Some(reason),
                _ => None,
            })
        });
        refused.is_some()
    })
    .await;
    refused.unwrap()
}

/// Sends a sync message that carries this change; why it was refused.
async fn refused_to_peer(statesync: &Statesync, id: &DocumentId, change: &[u8]) -> String {
    let peer = Client::open(statesync, id).await;
    peer.send_raw(&carrying(change, Vec::new())).await;
    thrown_out(&peer).await
}

async fn refused_to_author(statesync: &Statesync, id: &DocumentId, change: Vec<u8>) -> String {
    match submit(statesync, id, vec![change.into()]).await {
        Err(DocumentError::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// Nothing of it is stored, and the document goes on.
async fn refused_everywhere(change: Vec<u8>, why: &str) {
    let (statesync, log) = start(memory());
    let id = document(1);
    let to_peer = refused_to_peer(&statesync, &id, &change).await;
    assert!(to_peer.contains(why), "{to_peer}");
    let to_author = refused_to_author(&statesync, &id, change).await;
    assert!(to_author.contains(why), "{to_author}");
    assert_eq!(log.document_tail(&id).unwrap(), None);
    submit(&statesync, &id, Author::new().write(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_bytes_that_claim_a_trillion_operations_are_refused_before_they_are_decoded() {
    for bomb in [
        bomb::puts(1 << 21, b"k"),
        bomb::puts(1 << 40, b""),
        bomb::compressed(&bomb::puts(1 << 40, b"")),
        bomb::overwrites(1 << 40),
    ] {
        refused_everywhere(bomb, "unfold to more than").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_and_bundles_that_claim_too_much_are_refused_to_peers_and_as_files() {
    let (statesync, log) = start(memory());
    for (id, bomb) in [
        (document(1), bomb::document(1 << 40)),
        (document(2), bomb::bundle(1 << 40)),
    ] {
        let reason = refused_to_peer(&statesync, &id, &bomb).await;
        assert!(reason.contains("unfold to more than"), "{reason}");
        match statesync.import(grant_write(&id), bomb.into(), None).await {
            Err(DocumentError::Invalid(reason)) => assert!(reason.contains("unfold to more than"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(log.document_tail(&id).unwrap(), None);
    }
}

/// What was refused would be a trillion operations; this many are a document of its own size, and are taken.
#[tokio::test(flavor = "multi_thread")]
async fn many_operations_in_a_few_bytes_that_are_allowed_are_applied() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut doc = AutoCommit::new();
    let list = doc.put_object(ROOT, "list", automerge::ObjType::List).unwrap();
    doc.splice(&list, 0, 0, (0..20_000).map(|_| ScalarValue::Null)).unwrap();
    let change = doc.get_changes(&[])[0].raw_bytes().to_vec();
    assert!(change.len() < 200);
    submit(&statesync, &id, vec![change.into()]).await.unwrap();
    let file = statesync.export(grant(&id), Default::default()).await.unwrap();
    assert_eq!(AutoCommit::load(&file).unwrap().get_heads(), doc.get_heads());
}

/// The same change as automerge would have written it.
fn as_automerge_writes(change: &[u8]) -> Vec<u8> {
    let change = Change::from_bytes(change.to_vec()).unwrap();
    Change::from(ExpandedChange::from(&change)).raw_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_automerge_would_have_written_otherwise_is_refused() {
    // Automerge writes what stands once as what stands once, not as a run.
    let otherwise = bomb::puts(1, b"k");
    submit(
        &start(memory()).0,
        &document(1),
        vec![as_automerge_writes(&otherwise).into()],
    )
    .await
    .unwrap();
    refused_everywhere(otherwise.clone(), "not encoded as automerge encodes it").await;
    let (statesync, log) = start(memory());
    match statesync
        .import(grant_write(&document(1)), otherwise.into(), None)
        .await
    {
        Err(DocumentError::Invalid(reason)) => assert!(reason.contains("cannot be saved"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(log.document_tail(&document(1)).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_overwrites_itself_is_refused() {
    refused_everywhere(
        as_automerge_writes(&bomb::overwrites(1)),
        "refers to one that comes after it",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_deletes_nothing_is_refused() {
    refused_everywhere(as_automerge_writes(&bomb::deletion()), "deletes nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_with_the_checksum_of_another_is_refused() {
    let mut change = Author::new().write(1)[0].to_vec();
    change[4] ^= 1;
    refused_everywhere(change, "checksum").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_does_not_load_costs_time_and_no_document() {
    let storage = memory();
    let (statesync, log) = start(storage.clone());
    let id = document(1);
    let mut author = Author::new();
    let offsets = submit(&statesync, &id, author.write(3)).await.unwrap().offsets;
    let snapshot = Snapshot {
        offset: offsets[1],
        heads: Vec::new(),
        changes: 2,
        document: Bytes::from_static(b"\x85\x6f\x4a\x83 this is no document"),
    };
    log.put_snapshot(&id, &snapshot).unwrap();
    let (statesync, _) = start(storage);
    let file = statesync.export(grant(&id), Default::default()).await.unwrap();
    assert_eq!(AutoCommit::load(&file).unwrap().get_heads(), author.doc.get_heads());
    assert!(statesync.quarantined().await.is_empty());
    assert!(offsets[1] > Offset::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_sender_and_nobody_else() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut honest = Client::open(&statesync, &id).await;
    let garbage: [&[u8]; 4] = [
        b"",
        b"\x42",
        b"\x99nonsense",
        &[0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in garbage {
        let hostile = Client::open(&statesync, &id).await;
        hostile.send_raw(bytes).await;
        thrown_out(&hostile).await;
    }
    honest.doc.put(ROOT, "still", "here").unwrap();
    honest.until_saved().await;
}

/// Two different changes with the same actor and sequence number: automerge refuses the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_applied_is_set_aside_and_the_document_goes_on() {
    let storage = memory();
    let (statesync, _) = start(storage.clone());
    let id = document(1);
    let actor = automerge::ActorId::from(vec![7; 16]);
    let mut honest = Client::open(&statesync, &id).await;
    honest.doc.set_actor(actor.clone());
    honest.doc.put(ROOT, "a", 1).unwrap();
    honest.until_saved().await;
    let forger = Client::open(&statesync, &id).await;
    let mut forged = AutoCommit::new();
    forged.set_actor(actor);
    forged.put(ROOT, "a", 2).unwrap();
    let change = forged.get_changes(&[]).remove(0);
    forger.send_raw(&carrying(change.raw_bytes(), forged.get_heads())).await;
    thrown_out(&forger).await;
    honest.doc.put(ROOT, "b", 3).unwrap();
    honest.until_saved().await;
    let set_aside = statesync.quarantined().await;
    assert_eq!(set_aside.len(), 1);
    assert_eq!(set_aside[0].document, id);

    let (statesync, _) = start(storage);
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.content, serde_json::json!({"a": 1, "b": 3}));
    assert_eq!(statesync.quarantined().await.len(), 1, "found again after a restart");
}
