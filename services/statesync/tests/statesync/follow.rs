//! Followers: wherever they start and however they read, they are told every entry once and in order.

use std::{collections::BTreeSet, time::Duration};

use aetherflow_schema::{
    document_log::{DocumentLog, Offered, Stretch},
    documents::{DocumentError, Documents},
    id::{ChangeHash, DocumentId, Offset},
    native::Start,
    record::EntryKind,
};
use automerge::{ROOT, ReadDoc, transaction::Transactable};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::common::{
    Client,
    author::{Author, submit},
    document, eventually,
    follower::Listener,
    grant, grant_write, memory, start,
};

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_the_sync_protocol_and_followers_see_each_others_edits() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let listener = Listener::follow(&statesync, &id, Start::Snapshot);
    let mut peer = Client::open(&statesync, &id).await;
    peer.doc.put(ROOT, "by the peer", 1).unwrap();
    peer.until_saved().await;
    let change = peer.doc.get_last_local_change().unwrap();
    eventually("the follower is told", async || listener.offsets().len() == 1).await;
    let entry = listener.entries().remove(0);
    assert_eq!(entry.draft.payload, change.raw_bytes());
    assert_eq!(entry.draft.author.principal.as_str(), "anonymous");
    assert!(entry.committed_us > 0);

    let mut author = Author::new();
    let submitted = submit(&statesync, &id, author.write(2)).await.unwrap();
    eventually("the peer has it", async || {
        peer.exchange().await;
        peer.doc.keys(ROOT).count() == 3
    })
    .await;
    eventually("the follower has it", async || listener.offsets().len() == 3).await;
    assert_eq!(listener.offsets()[1..], submitted.offsets);
    assert_eq!(listener.document().get_heads(), peer.doc.get_heads());
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_start_from_nothing_an_offset_or_heads() {
    let storage = memory();
    let (statesync, _) = start(storage.clone());
    let id = document(1);
    let mut author = Author::new();
    let first = submit(&statesync, &id, author.write(5)).await.unwrap();
    let heads: Vec<_> = author.doc.get_heads().iter().map(|hash| ChangeHash(hash.0)).collect();
    let then = author.doc.clone();
    submit(&statesync, &id, author.write(5)).await.unwrap();

    // Nothing is open: what is followed by offsets stays so.
    let (statesync, _) = start(storage);
    let by_offset = Listener::follow(&statesync, &id, Start::After(first.offsets[4]));
    eventually("the rest", async || by_offset.offsets().len() == 5).await;
    assert_eq!(statesync.usage(), (0, 0), "no document was opened for that");
    let from_start = Listener::follow(&statesync, &id, Start::After(Offset::ZERO));
    eventually("all", async || from_start.offsets().len() == 10).await;

    let fresh = Listener::follow(&statesync, &id, Start::Snapshot);
    let by_heads = Listener::follow(&statesync, &id, Start::AfterHeads(heads));
    let level: Vec<_> = author.doc.get_heads().iter().map(|hash| ChangeHash(hash.0)).collect();
    let level = Listener::follow(&statesync, &id, Start::AfterHeads(level));
    for listener in [&fresh, &by_heads, &level] {
        eventually("the snapshot", async || listener.snapshot().is_some()).await;
        let snapshot = listener.snapshot().unwrap();
        assert_eq!(snapshot.offset.0, 10);
        assert_eq!(snapshot.heads[0].0, author.doc.get_heads()[0].0);
    }
    assert_eq!(level.snapshot().unwrap().bytes.len(), 0);
    let mut by_heads_document = then;
    let missing = by_heads.snapshot().unwrap().bytes;
    assert!(missing.len() < fresh.snapshot().unwrap().bytes.len() * 4);
    assert_eq!(by_heads_document.load_incremental(&missing).unwrap(), 5);
    assert_eq!(by_heads_document.get_heads(), author.doc.get_heads());

    submit(&statesync, &id, author.write(1)).await.unwrap();
    for listener in [by_offset, from_start, fresh, by_heads, level] {
        eventually("what is new", async || listener.offsets().last() == Some(&Offset(11))).await;
        listener.assert_in_order();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_short_frames_only_is_told_everything_in_such() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut author = Author::new();
    submit(&statesync, &id, author.write(30)).await.unwrap();
    let listener = Listener::follow(&statesync, &id, Start::After(Offset::ZERO));
    eventually("history", async || listener.offsets().len() == 30).await;
    assert_eq!(listener.frames().len(), 1);
    let each = listener.frames()[0].0 / 30;

    let told = |listener: &Listener| listener.frames().iter().map(|(bytes, _)| *bytes).max();
    let brief = Listener::taking(5 * each, &statesync, &id, Start::Snapshot);
    let late = Listener::taking(5 * each, &statesync, &id, Start::After(Offset::ZERO));
    eventually("the snapshot", async || brief.snapshot().is_some()).await;
    for _ in 0..3 {
        // Together, and while it is told what is new.
        submit(&statesync, &id, author.write(30)).await.unwrap();
    }
    eventually("all of it", async || {
        brief.offsets().len() == 90 && late.offsets().len() == 120
    })
    .await;
    for listener in [&brief, &late] {
        listener.assert_in_order();
        assert!(told(listener) <= Some(5 * each), "{:?}", listener.frames());
        assert!(listener.frames().len() < 70, "{:?}", listener.frames());
    }
    // A single one cannot be told in parts.
    brief.takes(1);
    submit(&statesync, &id, author.write(2)).await.unwrap();
    eventually("all of it", async || brief.offsets().len() == 92).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_all_heads_still_gets_what_waits_for_others() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut author = Author::new();
    submit(&statesync, &id, author.write(1)).await.unwrap();
    let mut level = author.doc.clone();
    let heads = level.get_heads().iter().map(|hash| ChangeHash(hash.0)).collect();
    let mut rest = author.write(2);
    let early = rest.pop().unwrap();
    submit(&statesync, &id, vec![early]).await.unwrap();

    let listener = Listener::follow(&statesync, &id, Start::AfterHeads(heads));
    eventually("the snapshot", async || listener.snapshot().is_some()).await;
    level.load_incremental(&listener.snapshot().unwrap().bytes).unwrap();
    level.load_incremental(&rest[0]).unwrap();
    assert_eq!(level.get_heads(), author.doc.get_heads());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_does_not_exist_can_be_followed_and_a_place_that_does_not_cannot() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let listener = Listener::follow(&statesync, &id, Start::Snapshot);
    eventually("the snapshot", async || listener.snapshot().is_some()).await;
    let nothing = listener.snapshot().unwrap();
    assert_eq!((nothing.offset, nothing.bytes.len()), (Offset::ZERO, 0));
    let ahead = Listener::follow(&statesync, &id, Start::After(Offset(1)));
    eventually("the refusal", async || ahead.failure().is_some()).await;
    assert!(matches!(ahead.failure(), Some(DocumentError::NoSuchPlace(_))));

    submit(&statesync, &id, Author::new().write(1)).await.unwrap();
    eventually("the first entry", async || listener.offsets().len() == 1).await;
    let far = Stretch {
        grant: grant(&id),
        after: Offset(2),
        until: None,
        bytes: 1,
    };
    assert!(matches!(statesync.fetch(far).await, Err(DocumentError::NoSuchPlace(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drops_its_following_is_told_no_more() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut author = Author::new();
    let mut listener = Listener::follow(&statesync, &id, Start::After(Offset::ZERO));
    submit(&statesync, &id, author.write(1)).await.unwrap();
    eventually("the first", async || listener.offsets().len() == 1).await;
    eventually("it is a member", async || statesync.followers() == 1).await;
    listener.stop();
    assert_eq!(statesync.followers(), 0);
    let witness = Listener::follow(&statesync, &id, Start::After(Offset::ZERO));
    submit(&statesync, &id, author.write(1)).await.unwrap();
    eventually("the other one hears", async || witness.offsets().len() == 2).await;
    assert_eq!(listener.offsets().len(), 1);
    witness.answer(Offered::Gone);
    submit(&statesync, &id, author.write(1)).await.unwrap();
    eventually("one that is gone is forgotten", async || statesync.followers() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_no_room_goes_on_from_the_log_when_it_has() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut author = Author::new();
    let listener = Listener::follow(&statesync, &id, Start::After(Offset::ZERO));
    submit(&statesync, &id, author.write(1)).await.unwrap();
    eventually("the first", async || listener.offsets().len() == 1).await;
    listener.answer(Offered::Full);
    for _ in 0..20 {
        submit(&statesync, &id, author.write(10)).await.unwrap();
    }
    assert_eq!(listener.offsets().len(), 1);
    listener.answer(Offered::Taken);
    eventually("all of it", async || listener.offsets().len() == 201).await;
    listener.assert_in_order();
}

/// Followers that come at any time and from any place, some of them short of room now and then, while several documents
/// are being written: each is told exactly what is in the log, once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whenever_followers_come_they_are_told_everything_once_and_in_order() {
    let seed = std::env::var("AETHERFLOW_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("AETHERFLOW_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..12 {
        handover(&mut rng).await;
    }
}

async fn handover(rng: &mut StdRng) {
    let (statesync, _) = start(memory());
    let ids: Vec<_> = (0..3).map(document).collect();
    let writers: Vec<_> = ids
        .iter()
        .flat_map(|id| [id.clone(), id.clone()])
        .map(|id| {
            let statesync = statesync.clone();
            let batches: Vec<usize> = (0..rng.random_range(20..60)).map(|_| rng.random_range(1..6)).collect();
            tokio::spawn(async move {
                let mut author = Author::new();
                for batch in batches {
                    submit(&statesync, &id, author.write(batch)).await.unwrap();
                }
            })
        })
        .collect();
    let mut listeners = Vec::new();
    while listeners.len() < 30 {
        let id = &ids[rng.random_range(0..ids.len())];
        let newest = match statesync.fetch(everything(id)).await {
            Ok(page) => page.entries.last().map_or(0, |last| last.offset.0),
            Err(_) => 0,
        };
        let start = match rng.random_range(0..3) {
            0 => Start::Snapshot,
            1 => Start::After(Offset::ZERO),
            _ => Start::After(Offset(rng.random_range(0..=newest))),
        };
        let from = if let Start::After(offset) = &start {
            *offset
        } else {
            Offset::ZERO
        };
        let listener = Listener::follow(&statesync, id, start);
        listener.full_each(rng.random_range(0..4) * 7);
        listeners.push((id.clone(), from, listener));
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..3000))).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for (id, from, listener) in listeners {
        let page = statesync.fetch(everything(&id)).await.unwrap();
        let newest = page.entries.last().unwrap().offset;
        eventually("it has heard the last", async || listener.reached().max(from) == newest).await;
        listener.assert_in_order();
        let from = listener.snapshot().map_or(from, |snapshot| snapshot.offset);
        let expected: Vec<_> = page
            .entries
            .iter()
            .map(|entry| entry.offset)
            .filter(|offset| *offset > from)
            .collect();
        assert_eq!(listener.offsets(), expected);
        if listener.snapshot().is_some() {
            let all: BTreeSet<_> = page.entries.iter().map(|entry| entry.draft.op_id).collect();
            let mut found = listener.document();
            let found: BTreeSet<_> = found.get_changes_meta(&[]).iter().map(|change| change.hash.0).collect();
            assert!(found.iter().eq(all.iter().map(|op_id| &op_id.0)));
        }
    }
}

fn everything(id: &DocumentId) -> Stretch {
    Stretch {
        grant: grant(id),
        after: Offset::ZERO,
        until: None,
        bytes: usize::MAX,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_all_kinds_reach_followers_and_the_snapshot_of_a_large_document_is_whole() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let listener = Listener::follow(&statesync, &id, Start::After(Offset::ZERO));
    let mut author = Author::new();
    author.write(300);
    let written = statesync
        .import(grant_write(&id), author.doc.save().into(), None)
        .await
        .unwrap();
    eventually("the entries", async || {
        listener.offsets().last() == Some(&written.offset)
    })
    .await;
    let kinds: Vec<_> = listener.entries().iter().map(|entry| entry.draft.kind).collect();
    assert_eq!(kinds, [EntryKind::Created, EntryKind::Document]);
    assert_eq!(listener.document().get_heads(), author.doc.get_heads());
}
