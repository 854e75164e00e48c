//! The file of the store: found as it was left, whatever a crash has done to its end.

use std::{collections::HashSet, fs, path::PathBuf};

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    locks::Fencing,
};
use bytes::Bytes;
use proptest::{prelude::*, sample::Index};

use super::{
    Store,
    file::{StoreFile, Stored},
    pending::Local,
    record::{MAGIC, Record, What},
};
use crate::{error::StoreError, replica::Part};

const DOCUMENTS: u8 = 3;

fn id(document: u8) -> DocumentId {
    DocumentId::from_bytes(&[document; 16]).unwrap()
}

fn record(document: u8, what: What) -> Record {
    Record {
        document: id(document),
        what,
    }
}

fn local(document: u8, n: u8) -> Record {
    let bytes = vec![n; 100 + usize::from(n)].into();
    let hash = ChangeHash([n; 32]);
    // Every third one was made under a lock.
    let fencing = n.is_multiple_of(3).then_some(Fencing(n.into()));
    record(document, What::Local { hash, bytes, fencing })
}

fn merged(document: u8, n: u8) -> Record {
    let bytes = vec![n; 60].into();
    let cursor = Offset(n.into());
    record(document, What::Merged { cursor, bytes })
}

fn acknowledged(document: u8, n: u8) -> Record {
    record(document, What::Acknowledged(ChangeHash([n; 32])))
}

/// A folder with the path of a store in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}

fn open(path: &std::path::Path) -> StoreFile {
    StoreFile::open(path, false).unwrap()
}

/// A change without an outcome.
type Unsettled = (ChangeHash, Bytes, Option<Fencing>);

/// Everything that the store says.
#[derive(Debug, PartialEq)]
struct Said {
    documents: Vec<Stored>,
    pending: Vec<(DocumentId, Vec<Unsettled>)>,
    refused: Vec<HashSet<ChangeHash>>,
}

fn pending(store: &StoreFile) -> Vec<(DocumentId, Vec<Unsettled>)> {
    let of = |local: Local| (local.hash, local.bytes, local.fencing);
    let all = store.pending().into_iter();
    all.map(|(document, locals)| (document, locals.into_iter().map(of).collect()))
        .collect()
}

fn said(store: &StoreFile) -> Said {
    Said {
        documents: (0..DOCUMENTS)
            .map(|document| store.load(&id(document)).unwrap())
            .collect(),
        pending: pending(store),
        refused: (0..DOCUMENTS).map(|document| store.refused(&id(document))).collect(),
    }
}

#[test]
fn a_store_that_is_opened_again_has_everything_and_knows_what_has_no_outcome() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store
        .append(vec![merged(0, 1), local(0, 2), local(1, 3), local(0, 6)])
        .unwrap();
    store.append(vec![acknowledged(0, 2), merged(0, 5)]).unwrap();
    store
        .append(vec![record(1, What::Refused(ChangeHash([3; 32])))])
        .unwrap();
    store.sync().unwrap();
    let before = said(&store);
    drop(store);
    let store = open(&path);
    assert_eq!(said(&store), before);
    let stored = &before.documents[0];
    assert_eq!((stored.parts.len(), stored.cursor), (4, Some(Offset(5))));
    assert_eq!(before.documents[1].parts[1..], [Part::Refused(ChangeHash([3; 32]))]);
    assert_eq!(before.documents[2], Stored::default());
    assert_eq!(
        before.pending,
        [(
            id(0),
            vec![(ChangeHash([6; 32]), vec![6; 106].into(), Some(Fencing(6)))]
        )]
    );
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn_and_the_rest_goes_on() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store.append(vec![local(0, 1)]).unwrap();
    store.sync().unwrap();
    let synced = fs::metadata(&path).unwrap().len();
    store.append(vec![local(0, 2), local(0, 3)]).unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    for length in synced..bytes.len() as u64 {
        fs::write(&path, &bytes[..length as usize]).unwrap();
        let mut store = open(&path);
        let pending = store.pending()[0].1.len();
        assert!((1..=2).contains(&pending), "{pending} after {length} bytes");
        store.append(vec![local(0, 9)]).unwrap();
        drop(store);
        assert_eq!(open(&path).pending()[0].1.len(), pending + 1, "after {length} bytes");
    }
}

#[test]
fn an_end_that_was_never_synced_may_be_anything() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store.append(vec![local(0, 1)]).unwrap();
    store.sync().unwrap();
    let synced = fs::metadata(&path).unwrap().len() as usize;
    store.append(vec![local(0, 2), local(0, 3)]).unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    // Blocks reach the disk in any order: the first of two records is missing, the second is there.
    for at in [synced, synced + 10, synced + 50] {
        let mut torn = bytes.clone();
        torn[at..at + 8].fill(0);
        fs::write(&path, torn).unwrap();
        assert_eq!(open(&path).pending()[0].1.len(), 1, "byte {at}");
    }
}

#[test]
fn damage_to_what_was_on_disk_is_reported_and_passed_over_only_when_asked_to() {
    let (_dir, path) = place();
    let mut store = open(&path);
    for n in 1..=3 {
        store.append(vec![local(0, n), merged(1, n)]).unwrap();
        store.sync().unwrap();
    }
    let whole = said(&store);
    drop(store);
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    let at = MAGIC.len() + 40;
    damaged[at] ^= 1;
    fs::write(&path, &damaged).unwrap();
    match StoreFile::open(&path, false) {
        Err(StoreError::Damaged { at, .. }) => assert_eq!(at, MAGIC.len() as u64),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), damaged, "nothing was changed");
    let store = StoreFile::open(&path, true).unwrap();
    let left = said(&store);
    assert_eq!(left.pending[0].1, whole.pending[0].1[1..]);
    assert_eq!(left.documents[1].parts, whole.documents[1].parts);
    assert_eq!(left.documents[1].cursor, None, "nobody knows what is missing");
    drop(store);
    assert_eq!(said(&open(&path)), left, "it is whole again");
}

#[test]
fn one_client_at_a_time_and_no_other_files() {
    let (dir, path) = place();
    let store = open(&path);
    assert!(matches!(StoreFile::open(&path, false), Err(StoreError::InUse { .. })));
    drop(store);
    drop(open(&path));
    let other = dir.path().join("other");
    for text in ["a text that is no store", "short", "AFCLIENT\x02\0\0\0"] {
        fs::write(&other, text).unwrap();
        let opened = StoreFile::open(&other, true);
        assert!(matches!(opened, Err(StoreError::Foreign { .. })), "{text:?}");
        assert_eq!(fs::read(&other).unwrap(), text.as_bytes());
    }
    for begun in [&b""[..], b"AFCL", b"\0\0\0\0\0\0"] {
        fs::write(&other, begun).unwrap();
        drop(open(&other));
        assert_eq!(fs::read(&other).unwrap(), MAGIC);
    }
}

#[test]
fn what_a_crash_leaves_of_a_new_file_is_removed() {
    let (dir, path) = place();
    drop(open(&path));
    let new = dir.path().join("store.new");
    fs::write(&new, "half of it").unwrap();
    drop(open(&path));
    assert!(!new.exists());
}

#[test]
fn a_store_grows_with_what_is_in_it_and_not_with_what_was_done() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let large = |n: u64| {
        record(
            0,
            What::Merged {
                cursor: Offset(n),
                bytes: vec![7; 64 << 10].into(),
            },
        )
    };
    let base = || {
        record(
            0,
            What::Base {
                cursor: Some(Offset(9)),
                bytes: vec![8; 1 << 10].into(),
            },
        )
    };
    let mut compactions = 0;
    for n in 0..200 {
        store.append(vec![large(n)]).unwrap();
        if store.wants_compaction() {
            store.compact(vec![base()]).unwrap();
            compactions += 1;
        }
        assert!(fs::metadata(&path).unwrap().len() < 4 << 20);
    }
    assert!((4..100).contains(&compactions), "{compactions}");
}

#[tokio::test]
async fn a_store_that_cannot_write_says_so_to_whoever_waits_and_once_to_the_client() {
    let (_dir, path) = place();
    let (tell, told) = std::sync::mpsc::channel();
    let on_failure = Box::new(move |error: &str| tell.send(error.to_owned()).unwrap());
    let file = StoreFile::open(&path, false).unwrap();
    let store = Store::on(file.read_only(&path), on_failure).unwrap();
    for n in 0..3 {
        let (kept, answer) = tokio::sync::oneshot::channel();
        store.append(vec![local(0, n)], Some(kept)).await;
        assert!(matches!(answer.await.unwrap(), Err(crate::KeepError::Failed(_))));
    }
    assert!(store.close().await.is_some());
    assert_eq!(told.iter().count(), 1);
}

/// Records as they come: whole documents first, each local change once.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let based = prop::collection::vec(any::<bool>(), usize::from(DOCUMENTS));
    let others = prop::collection::vec((0..DOCUMENTS, 0..7, 1..40_u8), 0..20);
    (based, others).prop_map(|(based, others)| {
        let base = |document| {
            let (cursor, bytes) = (Some(Offset(1)), vec![document; 50].into());
            record(document, What::Base { cursor, bytes })
        };
        let bases = (0..)
            .zip(based)
            .filter(|(_, based)| *based)
            .map(|(document, _)| base(document));
        let others = (1..).zip(others).map(|(number, (document, kind, n))| match kind {
            0 | 1 => merged(document, n),
            2..=4 => local(document, number),
            5 => acknowledged(document, n),
            _ => record(document, What::Refused(ChangeHash([n; 32]))),
        });
        bases.chain(others).collect()
    })
}

/// A file that was written anew was on disk as a whole before it was the store: what is damaged in it was there once.
#[test]
fn damage_in_a_file_that_was_written_anew_is_reported() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store.append((0..4).map(|n| local(1, n)).collect()).unwrap();
    store.compact(Vec::new()).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes[MAGIC.len() + 40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = StoreFile::open(&path, false).err();
    assert!(matches!(damaged, Some(StoreError::Damaged { .. })), "{damaged:?}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "and nothing is cut off");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever was appended, cut anywhere: a beginning of it is there.
    #[test]
    fn what_is_found_after_a_crash_is_a_beginning(records in records(), cut: Index) {
        let (_dir, path) = place();
        let mut store = open(&path);
        let mut beginnings = vec![said(&store)];
        for record in records {
            store.append(vec![record]).unwrap();
            beginnings.push(said(&store));
        }
        drop(store);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..cut.index(bytes.len() + 1)]).unwrap();
        let found = said(&open(&path));
        prop_assert!(beginnings.contains(&found), "{:?}", found);
    }

    /// Written anew without a word about a document, the store says the same of it.
    #[test]
    fn written_anew_it_says_the_same(records in records()) {
        let (_dir, path) = place();
        let mut store = open(&path);
        store.append(records).unwrap();
        let before = said(&store);
        store.compact(Vec::new()).unwrap();
        prop_assert_eq!(&said(&store), &before);
        drop(store);
        prop_assert_eq!(&said(&open(&path)), &before);
    }
}
