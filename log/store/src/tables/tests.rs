use std::path::Path;

use aetherflow_log_core::{
    PartitionState, Storage,
    conformance::{Writer, all_authored, document_in, entry},
    storage::Operation,
};
use aetherflow_schema::{
    access::Principal,
    history::AuthoredQuery,
    id::{DocumentId, OpId, PartitionId},
};

use super::*;
use crate::{OpenError, RocksStore, recovery, reindex};

/// Entries of each partition, of two documents in turn.
const ENTRIES: u64 = 16;

fn options(dir: &Path, index_entries: usize) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.partitions = 4;
    options.index_entries = index_entries;
    options
}

fn document(partition: u16, n: u64) -> DocumentId {
    document_in(partition, (n % 2) as u8)
}

fn op(n: u64) -> OpId {
    entry(&document(0, 0), n, b"").op_id()
}

fn fill(store: &RocksStore, numbers: std::ops::Range<u64>) {
    for partition in 0..4 {
        let mut writer = Writer::new(store, PartitionId(partition));
        for n in numbers.clone() {
            writer.append(&[entry(&document(partition, n), n, &n.to_be_bytes())]);
        }
    }
}

/// Every entry is found in every way there is.
fn holds(store: &RocksStore, entries: u64, context: &str) {
    for partition in 0..4 {
        let state = store.state(PartitionId(partition));
        assert!(
            matches!(state, PartitionState::Sound(tail) if tail.offset == Offset(entries)),
            "{context}: {state:?}"
        );
        for n in 0..entries {
            let operation = Operation {
                partition: PartitionId(partition),
                document: &document(partition, n),
                op: op(n),
            };
            assert_eq!(store.lookup(&[operation]).unwrap(), [Some(Offset(n + 1))], "{context}");
        }
        for parity in 0..2 {
            let document = document(partition, parity);
            let found = store.document_entries(&document, Offset::ZERO, usize::MAX).unwrap();
            let expected: Vec<Offset> = (parity..entries).step_by(2).map(|n| Offset(n + 1)).collect();
            assert_eq!(
                found.iter().map(|entry| entry.offset).collect::<Vec<_>>(),
                expected,
                "{context}"
            );
            let tail = store.document_tail(&document).unwrap();
            assert_eq!(tail.as_ref(), expected.last(), "{context}");
        }
    }
    assert_eq!(store.documents(None, 100).unwrap().len(), 8, "{context}");
    let query = AuthoredQuery {
        limit: 7,
        ..AuthoredQuery::all(Principal::anonymous())
    };
    let authored = all_authored(store, &query);
    assert!(authored.is_sorted_by_key(|entry| entry.position), "{context}");
    let mut places: Vec<_> = authored
        .iter()
        .map(|entry| (entry.position.partition, entry.position.offset))
        .collect();
    places.dedup();
    assert_eq!(places.len() as u64, 4 * entries, "{context}: each once");
    assert!(store.verify(&mut |_| {}).unwrap().damage.is_empty(), "{context}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// A copy of the open directory is what a crash leaves.
#[test]
fn a_crash_between_any_two_steps_of_indexing_loses_nothing() {
    let original = tempfile::tempdir().unwrap();
    fill(
        &RocksStore::open(options(original.path(), 1 << 10)).unwrap(),
        0..ENTRIES,
    );
    for steps in 0..=2 * INDEXES.len() {
        let context = format!("after {steps} steps");
        let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy(original.path(), dir.path());
        let options = |dir: &Path| options(dir, 1 << 10);
        {
            let options = options(dir.path());
            let opened = recovery::open(&options).unwrap();
            let db = &opened.database.db;
            let mut judged: Vec<_> = opened.tails.iter().map(|tail| Ok(*tail)).collect();
            let generation = reindex::rebuild(db, &options, &mut judged).unwrap();
            assert_eq!(generation.entries() as u64, 4 * ENTRIES);
            let mut table = PathBuf::new();
            for (step, family) in INDEXES
                .into_iter()
                .flat_map(|family| [family; 2])
                .take(steps)
                .enumerate()
            {
                if step % 2 == 0 {
                    table = write(&options, family, &generation).unwrap();
                } else {
                    ingest(db, family, &table).unwrap();
                }
            }
            let marks = indexed(db, 4).unwrap();
            let mark = |done: bool| if done { Offset(ENTRIES) } else { Offset::ZERO };
            let expected = (mark(steps == 2 * INDEXES.len()), mark(steps >= 2));
            assert_eq!(marks, [expected; 4], "{context}: the lowest mark counts");
            copy(dir.path(), crashed.path());
        }
        let store = RocksStore::open(options(crashed.path())).unwrap();
        assert!(
            !directory(&self::options(crashed.path(), 1)).exists(),
            "{context}: a file is left over"
        );
        holds(&store, ENTRIES, &context);
        fill(&store, ENTRIES..ENTRIES + 10);
        holds(&store, ENTRIES + 10, &context);
        drop(store);
        // Now all rows become tables, those that are there already once more.
        let store = RocksStore::open(self::options(crashed.path(), 1)).unwrap();
        holds(&store, ENTRIES + 10, &context);
    }
}

#[test]
fn an_index_that_is_gone_is_rebuilt_without_holding_it_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    fill(&RocksStore::open(options(dir.path(), 1 << 10)).unwrap(), 0..ENTRIES);
    let opened = recovery::open(&options(dir.path(), 7)).unwrap();
    let mut judged: Vec<_> = opened.tails.iter().map(|tail| Ok(*tail)).collect();
    let rest = reindex::rebuild(&opened.database.db, &options(dir.path(), 7), &mut judged).unwrap();
    assert!(rest.entries() < 7, "{} entries in memory", rest.entries());
    let marks = indexed(&opened.database.db, 4).unwrap();
    assert_eq!(marks[..3], [(Offset(ENTRIES), Offset(ENTRIES)); 3]);
    drop(opened);
    holds(&RocksStore::open(options(dir.path(), 7)).unwrap(), ENTRIES, "rebuilt");
}

/// Stores that were made before there was the index by principal have all others.
#[test]
fn an_index_that_is_new_is_made_of_the_whole_log_and_the_others_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    fill(&RocksStore::open(options(dir.path(), 7)).unwrap(), 0..ENTRIES);
    let mut db = options(dir.path(), 7)
        .open_db(&dir.path().join("rocksdb"), rocksdb::DBRecoveryMode::PointInTime)
        .unwrap();
    let before = INDEXES.map(|index| mark(&db, index, 4).unwrap());
    db.drop_cf(Family::ByPrincipal.name()).unwrap();
    drop(db);
    let store = RocksStore::open(options(dir.path(), 1 << 10)).unwrap();
    holds(&store, ENTRIES, "from memory");
    drop(store);
    let opened = recovery::open(&options(dir.path(), 7)).unwrap();
    let after = INDEXES.map(|index| mark(&opened.database.db, index, 4).unwrap());
    for (before, after) in before.iter().zip(&after) {
        assert!(before.iter().zip(after).all(|(before, after)| before <= after));
    }
    drop(opened);
    let store = RocksStore::open(options(dir.path(), 7)).unwrap();
    holds(&store, ENTRIES, "from tables");
    fill(&store, ENTRIES..ENTRIES + 10);
    holds(&store, ENTRIES + 10, "goes on");
}

#[test]
fn a_store_of_an_older_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 1);
    let opened = recovery::open(&options).unwrap();
    let meta = family(&opened.database.db, Family::Meta);
    opened.database.db.put_cf(meta, "format", 1u32.to_be_bytes()).unwrap();
    drop(opened);
    assert!(matches!(RocksStore::open(options), Err(OpenError::OldFormat(1))));
}
