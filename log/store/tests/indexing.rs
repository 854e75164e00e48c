//! Index rows on their way from memory into tables: readers always find them, and a failure on the way loses nothing.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use aetherflow_log_core::{
    Partition, PartitionState, Storage, StorageError,
    conformance::{Writer, all_authored, document_in, entry},
    partition::{Effect, Quorum},
    storage::Operation,
};
use aetherflow_log_store::{RocksStore, StoreOptions};
use aetherflow_schema::{
    access::Principal,
    history::AuthoredQuery,
    id::{Offset, PartitionId},
};

fn open(dir: &Path, index_entries: usize) -> RocksStore {
    let mut options = StoreOptions::new(dir);
    options.partitions = 4;
    options.index_entries = index_entries;
    RocksStore::open(options).unwrap()
}

fn lookup(store: &RocksStore, n: u64) -> Option<Offset> {
    let document = document_in(0, 1);
    let operation = Operation {
        partition: PartitionId(0),
        document: &document,
        op: entry(&document, n, b"").op_id(),
    };
    store.lookup(&[operation]).unwrap()[0]
}

/// Everything that was written before the look is found by it, wherever it is at that moment.
fn finds_all(store: &RocksStore, written: u64) {
    let document = document_in(0, 1);
    let offsets = |after| -> Vec<u64> {
        let entries = store.document_entries(&document, Offset(after), usize::MAX).unwrap();
        entries.iter().map(|entry| entry.offset.0).collect()
    };
    let found = offsets(0);
    assert!(found.len() as u64 >= written, "{written} were written: {found:?}");
    assert!(
        found.iter().copied().eq(1..=found.len() as u64),
        "each once, in order: {found:?}"
    );
    let half = written / 2;
    assert!(offsets(half).starts_with(&(half + 1..=written).collect::<Vec<_>>()));
    assert!(store.document_tail(&document).unwrap() >= Some(Offset(written)));
    let authored = all_authored(store, &AuthoredQuery::all(Principal::anonymous()));
    let authored: Vec<u64> = authored.iter().map(|entry| entry.position.offset.0).collect();
    assert!(authored.len() as u64 >= written, "{written} were written: {authored:?}");
    assert!(authored.iter().copied().eq(1..=authored.len() as u64), "{authored:?}");
    assert_eq!(store.documents(None, 10).unwrap(), std::slice::from_ref(&document));
    for n in [0, half, written - 1] {
        assert_eq!(lookup(store, n), Some(Offset(n + 1)), "{written} were written");
    }
}

/// The same for what moves just now, which is seldom hit by chance.
fn finds_newest(store: &RocksStore, written: u64) {
    for n in written.saturating_sub(8)..written {
        assert_eq!(lookup(store, n), Some(Offset(n + 1)), "{written} were written");
        let entries = store.document_entries(&document_in(0, 1), Offset(n), 1).unwrap();
        assert_eq!(entries[0].offset, Offset(n + 1), "{written} were written");
    }
}

#[test]
fn readers_find_everything_while_it_moves_into_tables() {
    const ENTRIES: u64 = 600;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 2);
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        for finds in [finds_all, finds_newest, finds_newest] {
            let (store, written) = (&store, &written);
            scope.spawn(move || {
                loop {
                    let so_far = written.load(Ordering::Acquire);
                    if so_far > 0 {
                        finds(store, so_far);
                    }
                    if so_far == ENTRIES {
                        return;
                    }
                }
            });
        }
        let mut writer = Writer::new(&store, PartitionId(0));
        for n in 0..ENTRIES {
            writer.append(&[entry(&document_in(0, 1), n, b"x")]);
            written.store(n + 1, Ordering::Release);
        }
    });
    assert!(store.verify(&mut |_| {}).unwrap().damage.is_empty());
    drop(store);
    finds_all(&open(dir.path(), 1 << 10), ENTRIES);
}

/// Appends one entry and says whether the store took it.
fn try_append(store: &RocksStore, core: &mut Partition<()>, n: u64) -> Result<(), StorageError> {
    let mut effects = Vec::new();
    core.submit(1, (), &[entry(&document_in(0, 1), n, b"x")], &[None], &mut effects);
    core.seal(&mut effects);
    for effect in effects {
        if let Effect::Publish(frame) = effect {
            store.write(std::slice::from_ref(&frame))?;
        }
    }
    Ok(())
}

#[test]
fn tables_that_cannot_be_written_stop_writes_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 4);
    let PartitionState::Sound(tail) = store.state(PartitionId(0)) else {
        panic!("a new store is sound");
    };
    let mut core = Partition::lead(PartitionId(0), 0, tail, Quorum { needed: 1 });
    // Where the directory for new tables would be.
    let obstacle = dir.path().join("indexing");
    fs::write(&obstacle, b"").unwrap();
    let mut acknowledged = 0;
    let refusal = loop {
        match try_append(&store, &mut core, acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "the writer ran away from the index");
    };
    assert!(matches!(refusal, StorageError::Failsafe(_)), "{refusal}");
    assert!(store.failsafe().unwrap().contains("indexing"), "{:?}", store.failsafe());
    finds_all(&store, acknowledged);

    assert!(store.resume().is_err(), "the cause is still there");
    assert!(store.failsafe().is_some());
    fs::remove_file(&obstacle).unwrap();
    store.resume().unwrap();
    assert_eq!(store.failsafe(), None);
    finds_all(&store, acknowledged);
    let mut writer = Writer::new(&store, PartitionId(0));
    let again = writer.append(&[entry(&document_in(0, 1), 1, b"x")]);
    assert_eq!(again.offsets, [Offset(2)], "a retry keeps its offset");
    for n in 1_000..1_020 {
        writer.append(&[entry(&document_in(0, 1), n, b"goes on")]);
    }
    assert!(store.verify(&mut |_| {}).unwrap().damage.is_empty());
    drop(store);
    finds_all(&open(dir.path(), 4), acknowledged);
}
