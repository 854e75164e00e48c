//! A log that cannot be read when a document has to be built anew: nobody goes on with less than what is committed.

use std::{sync::Arc, time::Duration};

use aetherflow_log_core::Storage;
use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    access::AuthorizedEdit,
    document_log::{Changes, DocumentLog},
    documents::{DocumentError, Documents, PeerFrame},
    id::{DocumentId, OpId},
    record::{EntryDraft, EntryKind},
};
use aetherflow_statesync::Statesync;
use automerge::{AutoCommit, ROOT, transaction::Transactable};
use serde_json::json;

use crate::common::{
    Client,
    author::{Author, submit},
    document, eventually, grant, grant_write, start_with,
    watched::Watched,
};

fn start(storage: Arc<dyn Storage>, budget: Duration) -> (Statesync, LogHandle) {
    start_with(storage, |options| options.apply_budget = budget)
}

const AMPLE: Duration = Duration::from_secs(60);

/// A document with somebody who writes and somebody who only listens.
async fn with_peers(statesync: &Statesync, id: &DocumentId) -> (Client, Client) {
    let mut writer = Client::open(statesync, id).await;
    writer.doc.put(ROOT, "a", 1).unwrap();
    writer.until_saved().await;
    let mut listener = Client::open(statesync, id).await;
    listener.request().await;
    eventually("the listener has the document", async || {
        listener.exchange().await;
        listener.doc.get_heads() == writer.doc.get_heads()
    })
    .await;
    (writer, listener)
}

async fn is_lost(client: &mut Client) {
    eventually("the peer is told to come again", async || {
        let frames = client.receive_all();
        frames.iter().any(|frame| matches!(frame, PeerFrame::Lost { .. }))
    })
    .await;
}

/// Another change with an actor and sequence number that exist: it is stored, and automerge refuses it.
fn forge(honest: &AutoCommit) -> Author {
    let mut forger = Author::new();
    forger.doc.set_actor(honest.get_actor().clone());
    forger.doc.put(ROOT, "forged", true).unwrap();
    forger
}

async fn goes_on(statesync: &Statesync, id: &DocumentId, writer: &mut Client) {
    let mut again = Client::open(statesync, id).await;
    again.doc = std::mem::take(&mut writer.doc);
    again.doc.put(ROOT, "b", 2).unwrap();
    again.until_saved().await;
    let json = statesync.read(grant(id), Default::default()).await.unwrap();
    assert_eq!(json.content, json!({"a": 1, "b": 2}));
    let set_aside = statesync.quarantined().await;
    assert_eq!(set_aside.len(), 1, "the forged change, found again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_built_anew_is_closed_and_whole_when_it_is_opened_again() {
    let storage = Watched::new();
    let (statesync, _) = start(storage.clone(), AMPLE);
    let id = document(1);
    let (mut writer, mut listener) = with_peers(&statesync, &id).await;
    let forged = forge(&writer.doc).write(0);
    storage.reading.fail(true);
    let submitted = submit(&statesync, &id, forged).await;
    assert!(matches!(submitted, Err(DocumentError::Unknown(_))), "{submitted:?}");
    is_lost(&mut writer).await;
    is_lost(&mut listener).await;
    let read = statesync.read(grant(&id), Default::default()).await;
    assert!(matches!(read, Err(DocumentError::Unreadable(_))), "{read:?}");
    storage.reading.fail(false);
    goes_on(&statesync, &id, &mut writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn building_a_document_anew_has_a_deadline() {
    let storage = Watched::new();
    let (statesync, _) = start(storage.clone(), Duration::from_millis(200));
    let id = document(1);
    let (mut writer, mut listener) = with_peers(&statesync, &id).await;
    let forged = forge(&writer.doc).write(0);
    storage.reading.stop(true);
    let submitted = submit(&statesync, &id, forged).await;
    assert!(matches!(submitted, Err(DocumentError::Unknown(_))), "{submitted:?}");
    is_lost(&mut writer).await;
    is_lost(&mut listener).await;
    storage.reading.stop(false);
    goes_on(&statesync, &id, &mut writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_read_after_the_log_resumed_is_closed() {
    let storage = Watched::new();
    let (statesync, log) = start(storage.clone(), AMPLE);
    let id = document(1);
    let (mut writer, _listener) = with_peers(&statesync, &id).await;
    storage.inner.fail_next_write("the disk is full");
    let failed = submit(&statesync, &id, Author::new().write(1)).await;
    assert!(matches!(failed, Err(DocumentError::Unknown(_))), "{failed:?}");
    log.resume().await.unwrap();
    storage.reading.fail(true);
    statesync.resumed().await;
    is_lost(&mut writer).await;
    storage.reading.fail(false);
    let json = statesync.read(grant(&id), Default::default()).await.unwrap();
    assert_eq!(json.content, json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_when_a_document_is_closed_is_there_when_it_is_opened_again() {
    let storage = Watched::new();
    let (statesync, _) = start(storage.clone(), AMPLE);
    let id = document(1);
    let (mut writer, _listener) = with_peers(&statesync, &id).await;
    let forged = forge(&writer.doc).write(0);
    let edit = |changes| {
        let document = id.clone();
        AuthorizedEdit::new(
            &grant(&id),
            Changes {
                document,
                changes,
                fence: None,
            },
        )
        .unwrap()
    };
    storage.writing.allow(Some(0));
    let forged = statesync.submit(edit(forged)).await.unwrap();
    eventually("the forged change is being written", async || storage.writing.waits()).await;
    let sound = statesync.submit(edit(Author::new().write(1))).await.unwrap();
    // What is asked after it is answered after it was taken.
    statesync.read(grant(&id), Default::default()).await.unwrap();
    let reads = storage.reading.count();
    storage.reading.fail(true);
    storage.writing.allow(Some(1));
    eventually("the document cannot be built anew", async || {
        storage.reading.count() > reads
    })
    .await;
    storage.reading.fail(false);
    let next = tokio::spawn({
        let (statesync, id) = (statesync.clone(), id.clone());
        async move {
            while statesync.read(grant(&id), Default::default()).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    });
    eventually("the other one is being written", async || storage.writing.waits()).await;
    // Time for somebody to open it without what is being written: that nobody does cannot be waited for.
    for _ in 0..200 {
        if next.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    storage.writing.allow(None);
    tokio::time::timeout(AMPLE, next).await.unwrap().unwrap();
    for outcome in [forged.await, sound.await] {
        assert!(matches!(outcome, Err(DocumentError::Unknown(_))), "{outcome:?}");
    }
    is_lost(&mut writer).await;
    let json = statesync.read(grant(&id), Default::default()).await.unwrap();
    assert_eq!(json.content, json!({"a": 1, "key 0": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_after_all_is_there_when_the_log_resumed() {
    let (statesync, log) = start(Watched::new(), AMPLE);
    let id = document(1);
    let (writer, mut listener) = with_peers(&statesync, &id).await;
    let mut fork = Author::new();
    fork.doc.merge(&mut writer.doc.clone()).unwrap();
    fork.doc.put(ROOT, "late", true).unwrap();
    let change = fork.write(0).pop().unwrap();
    let draft = EntryDraft {
        kind: EntryKind::Change,
        document: id.clone(),
        op_id: OpId(fork.doc.get_heads()[0].0),
        author: grant(&id).author().clone(),
        trace: None,
        payload: change,
    };
    log.append(vec![draft.encode().unwrap()]).await.unwrap();
    statesync.resumed().await;
    eventually("the listener has it", async || {
        listener.exchange().await;
        listener.doc.get_heads() == fork.doc.get_heads()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_file_is_the_same_in_the_log_as_in_memory() {
    let storage = Watched::new();
    let id = document(1);
    let mut file = AutoCommit::new();
    for n in 0..300 {
        file.put(ROOT, "n", n).unwrap();
        file.commit();
    }
    // It waits for one that is not in the file.
    let waiting = Author::new().write(2).remove(1);
    file.load_incremental(&waiting).unwrap();
    let (statesync, _) = start(storage.clone(), AMPLE);
    statesync
        .import(grant_write(&id), file.save().into(), None)
        .await
        .unwrap();
    let before = statesync.export(grant(&id), Default::default()).await.unwrap();
    let (statesync, _) = start(storage, AMPLE);
    let after = statesync.export(grant(&id), Default::default()).await.unwrap();
    assert!(before == after, "{} bytes, then {}", before.len(), after.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn making_a_document_of_json_or_a_file_is_given_up_when_it_takes_too_long() {
    let (statesync, _) = start(Watched::new(), Duration::ZERO);
    let content = json!({"list": (0..20_000).collect::<Vec<_>>()});
    let created = statesync.create(grant_write(&document(1)), Some(content)).await;
    let mut file = AutoCommit::new();
    for n in 0..2_000 {
        file.put(ROOT, "n", n).unwrap();
        file.commit();
    }
    let imported = statesync
        .import(grant_write(&document(2)), file.save().into(), None)
        .await;
    for written in [created, imported] {
        let Err(DocumentError::Invalid(reason)) = written else {
            panic!("{written:?}");
        };
        assert!(reason.contains("too long"), "{reason}");
    }
    assert_eq!(statesync.list(None, 10).await.unwrap(), [], "nothing of it was stored");
}
