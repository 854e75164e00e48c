//! Documents as their entries: submitting and reading them.

use aetherflow_schema::{
    document_log::{DocumentLog, EntryPage, Stretch, Tier},
    documents::{DocumentError, Documents},
    id::{ChangeHash, DocumentId, Offset},
    native::Start,
    record::EntryKind,
};
use aetherflow_statesync::Statesync;
use automerge::{AutoCommit, ROOT, ReadDoc, transaction::Transactable};
use bytes::Bytes;

use crate::common::{
    Client,
    author::{Author, submit},
    document, eventually,
    follower::Listener,
    grant, memory, start,
};

async fn fetch(statesync: &Statesync, id: &DocumentId, after: u64, until: Option<u64>, bytes: usize) -> EntryPage {
    let stretch = Stretch {
        grant: grant(id),
        after: Offset(after),
        until: until.map(Offset),
        bytes,
    };
    statesync.fetch(stretch).await.unwrap()
}

fn offsets(page: &EntryPage) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.offset.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_sent_again_has_the_offsets_it_was_given_and_is_stored_once() {
    let storage = memory();
    let (statesync, _) = start(storage.clone());
    let id = document(1);
    let mut author = Author::new();
    let changes = author.write(3);
    let first = submit(&statesync, &id, changes.clone()).await.unwrap();
    assert_eq!(first.tier, Tier::Durable);
    assert_eq!(first.offsets.len(), 3);
    assert!(first.offsets.is_sorted());
    assert_eq!(submit(&statesync, &id, changes.clone()).await.unwrap(), first);
    let more = [author.write(1), changes.clone()].concat();
    let again = submit(&statesync, &id, more).await.unwrap();
    assert_eq!(again.offsets[1..], first.offsets);
    assert!(again.offsets[0] > first.offsets[2]);

    let (statesync, _) = start(storage);
    assert_eq!(
        submit(&statesync, &id, changes).await.unwrap(),
        first,
        "after a restart"
    );
    let page = fetch(&statesync, &id, 0, None, 1 << 20).await;
    assert_eq!(page.entries.len(), 4);
    assert!(page.entries.iter().all(|entry| entry.draft.kind == EntryKind::Change));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_change_is_refused_whole_and_says_which() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut author = Author::new();
    let good = author.write(1);
    let whole = Bytes::from(author.doc.save());
    let two = Bytes::from([&good[0][..], &good[0][..]].concat());
    let mut damaged = good[0].to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [Bytes::from_static(b"no change"), whole, two, damaged.into()] {
        let refused = submit(&statesync, &id, vec![good[0].clone(), bad]).await;
        let Err(DocumentError::Invalid(reason)) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.starts_with("change 2 of 2"), "{reason}");
    }
    let nothing = Stretch {
        grant: grant(&id),
        after: Offset::ZERO,
        until: None,
        bytes: 1,
    };
    assert_eq!(statesync.fetch(nothing).await, Err(DocumentError::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_comes_before_what_it_depends_on_takes_effect_when_that_is_there() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let changes = Author::new().write(2);
    submit(&statesync, &id, vec![changes[1].clone()]).await.unwrap();
    let early = Listener::follow(&statesync, &id, Start::Snapshot);
    let early_heads = Listener::follow(&statesync, &id, Start::AfterHeads(vec![ChangeHash([9; 32])]));
    submit(&statesync, &id, vec![changes[0].clone()]).await.unwrap();
    for listener in [early, early_heads] {
        eventually("both are there", async || listener.document().keys(ROOT).count() == 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_for_another_survives_restarts_and_snapshots() {
    let storage = memory();
    let id = document(1);
    let early = Author::new().write(3);
    let mut other = Author::new();
    for with_snapshot in [false, true] {
        let (statesync, log) = start(storage.clone());
        if with_snapshot {
            submit(&statesync, &id, other.write(100)).await.unwrap();
            // Who has nothing gets the whole document, which is kept for the next one.
            let whole = Listener::follow(&statesync, &id, Start::Snapshot);
            eventually("the whole document", async || whole.snapshot().is_some()).await;
            submit(&statesync, &id, vec![early[2].clone()]).await.unwrap();
            eventually("a snapshot", async || log.snapshot(&id).unwrap().is_some()).await;
        } else {
            submit(&statesync, &id, vec![early[1].clone()]).await.unwrap();
            submit(&statesync, &id, other.write(3)).await.unwrap();
        }
    }
    for complete in [false, true] {
        let (statesync, _) = start(storage.clone());
        let mut peer = Client::open(&statesync, &id).await;
        if complete {
            submit(&statesync, &id, vec![early[0].clone()]).await.unwrap();
        }
        let listener = Listener::follow(&statesync, &id, Start::Snapshot);
        let expected = if complete { 106 } else { 103 };
        eventually("the peer has what there is", async || {
            peer.exchange().await;
            peer.doc.get_changes_meta(&[]).len() == expected
        })
        .await;
        eventually("so has the follower", async || {
            listener.document().get_changes_meta(&[]).len() == expected
        })
        .await;
        assert!(statesync.quarantined().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_read_in_pages_up_to_where_it_was_asked_for() {
    let (statesync, _) = start(memory());
    let id = document(1);
    // Other documents of the partition make gaps.
    let other = (2..)
        .map(document)
        .find(|other| other.partition(4) == id.partition(4))
        .unwrap();
    let (mut author, mut stranger) = (Author::new(), Author::new());
    for _ in 0..10 {
        submit(&statesync, &id, author.write(2)).await.unwrap();
        submit(&statesync, &other, stranger.write(1)).await.unwrap();
    }
    let whole = fetch(&statesync, &id, 0, None, 1 << 20).await;
    assert_eq!((whole.entries.len(), whole.next, whole.until.0), (20, None, 31));
    let (mut after, mut until, mut paged, mut pages) = (0, None, Vec::new(), 0);
    loop {
        let page = fetch(&statesync, &id, after, until, 1).await;
        assert!(page.entries.len() <= 1);
        paged.extend(offsets(&page));
        pages += 1;
        until = Some(page.until.0);
        match page.next {
            Some(next) => after = next.0,
            None => break,
        }
        // What comes later is not part of it.
        submit(&statesync, &id, author.write(1)).await.unwrap();
    }
    assert!(pages >= 20);
    assert_eq!(paged, offsets(&whole));
    let stretch = fetch(&statesync, &id, 3, Some(9), 1 << 20).await;
    assert_eq!((offsets(&stretch), stretch.next), (vec![4, 5, 7, 8], None));
    let end = fetch(&statesync, &id, whole.until.0 - 1, Some(whole.until.0), 1).await;
    assert_eq!((end.entries.len(), end.next), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_stored_for_certain_is_asked_about_again() {
    let storage = memory();
    let (statesync, log) = start(storage.clone());
    let id = document(1);
    let mut author = Author::new();
    let listener = Listener::follow(&statesync, &id, Start::Snapshot);
    submit(&statesync, &id, author.write(1)).await.unwrap();
    storage.fail_next_write("the disk is full");
    let lost = author.write(1);
    let failed = submit(&statesync, &id, lost.clone()).await;
    assert!(
        matches!(failed, Err(DocumentError::Unknown(_) | DocumentError::ReadOnly(_))),
        "{failed:?}"
    );
    let refused = submit(&statesync, &id, lost.clone()).await;
    assert!(matches!(refused, Err(DocumentError::ReadOnly(_))), "{refused:?}");
    log.resume().await.unwrap();
    statesync.resumed().await;
    let stored = submit(&statesync, &id, lost).await.unwrap();
    eventually("the follower has it", async || {
        listener.offsets().last() == stored.offsets.last()
    })
    .await;
    listener.assert_in_order();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_change_is_set_aside_and_its_author_told() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut honest = Author::new();
    submit(&statesync, &id, honest.write(1)).await.unwrap();
    let mut forger = Author::new();
    forger.doc.set_actor(honest.doc.get_actor().clone());
    forger.doc.put(ROOT, "forged", true).unwrap();
    let forged = submit(&statesync, &id, forger.write(0)).await;
    assert!(matches!(forged, Err(DocumentError::Invalid(_))), "{forged:?}");
    submit(&statesync, &id, honest.write(1)).await.unwrap();
    let file = statesync.export(grant(&id), Default::default()).await.unwrap();
    let mut served = AutoCommit::load(&file).unwrap();
    assert_eq!(served.get_heads(), honest.doc.get_heads());
    assert_eq!(statesync.quarantined().await.len(), 1);
}
