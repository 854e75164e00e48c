//! Damage to the stored files is detected or harmless, never silently served.
//!
//! Each round makes a store, damages a file of it, opens it again and reads everything. What is read must be what was
//! written; what is not read must have been reported: the store does not open, the partition is quarantined, or the read
//! fails.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use aetherflow_log_core::{
    PartitionState, Storage,
    conformance::{Writer, document_in, entry},
};
use aetherflow_log_store::{RocksStore, StoreOptions};
use aetherflow_schema::{
    access::Principal,
    history::AuthoredQuery,
    id::{Offset, PartitionId},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

const ENTRIES: u64 = 60;

fn options(dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.partitions = 4;
    // So that there are index tables to damage.
    options.index_entries = 8;
    options
}

/// Entries of every partition; half of them come after a reopening, so that both SST and WAL files hold some.
fn fill(dir: &Path) {
    for half in 0..2 {
        let store = RocksStore::open(options(dir)).unwrap();
        for partition in 0..4 {
            let mut writer = Writer::new(&store, PartitionId(partition));
            for n in half * ENTRIES / 2..(half + 1) * ENTRIES / 2 {
                writer.append(&[entry(
                    &document_in(partition, 1),
                    n,
                    format!("payload {n}").repeat(20).as_bytes(),
                )]);
            }
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Whole,
    Reported,
}

/// Opens and reads everything; panics on anything that is served but was not written, or is missing without a word.
fn judge(dir: &Path, context: &str) -> Outcome {
    let Ok(store) = RocksStore::open(options(dir)) else {
        return Outcome::Reported;
    };
    let mut outcome = Outcome::Whole;
    for partition in 0..4 {
        let document = document_in(partition, 1);
        let tail = match store.state(PartitionId(partition)) {
            PartitionState::Sound(tail) => tail,
            PartitionState::Quarantined(damage) => {
                assert!(damage.offset <= Offset(ENTRIES + 1), "{context}: {damage}");
                assert!(
                    store.document_entries(&document, Offset::ZERO, usize::MAX).is_err(),
                    "{context}"
                );
                outcome = Outcome::Reported;
                continue;
            }
        };
        let Ok(entries) = store.document_entries(&document, Offset::ZERO, usize::MAX) else {
            outcome = Outcome::Reported;
            continue;
        };
        assert_eq!(
            tail.offset,
            Offset(ENTRIES),
            "{context}: the tail is short, and nobody said so"
        );
        assert_eq!(
            entries.len() as u64,
            ENTRIES,
            "{context}: entries are missing, and nobody said so"
        );
        for (n, found) in entries.iter().enumerate() {
            let expected = format!("payload {n}").repeat(20);
            assert_eq!(
                found.draft.payload, expected,
                "{context}: entry {n} is not what was written"
            );
        }
    }
    match store.authored(&AuthoredQuery::all(Principal::anonymous())) {
        Ok(page) if page.unreadable.is_empty() && outcome == Outcome::Whole => {
            assert_eq!(
                page.entries.len() as u64,
                4 * ENTRIES,
                "{context}: rows of the principal index are missing"
            );
        }
        Ok(_) | Err(_) => outcome = Outcome::Reported,
    }
    outcome
}

fn rounds(count: usize, what: &str, mut damage: impl FnMut(&mut StdRng, &Path) -> String) {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let original = tempfile::tempdir().unwrap();
    fill(original.path());
    let mut reported = 0;
    for round in 0..count {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let done = damage(&mut random, dir.path());
        let context = format!("SEED={seed}, round {round}: {done}");
        if judge(dir.path(), &context) == Outcome::Reported {
            reported += 1;
        }
    }
    println!("{what}: {reported} of {count} reported, the rest harmless (seed {seed})");
    assert!(reported > 0, "no damage was ever noticed: this test cannot fail");
}

fn pick(random: &mut StdRng, dir: &Path) -> PathBuf {
    let files = files(dir);
    files[random.random_range(0..files.len())].clone()
}

#[test]
fn an_undamaged_store_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    assert_eq!(judge(dir.path(), "undamaged"), Outcome::Whole);
}

#[test]
fn a_flipped_bit_anywhere_is_detected_or_harmless() {
    rounds(120, "one bit flipped", |random, dir| {
        let file = pick(random, dir);
        let mut bytes = fs::read(&file).unwrap();
        let bit = random.random_range(0..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, bytes).unwrap();
        format!("bit {bit} of {}", file.file_name().unwrap().display())
    });
}

#[test]
fn a_file_cut_short_is_detected_or_harmless() {
    rounds(80, "cut short", |random, dir| {
        let file = pick(random, dir);
        let length = fs::metadata(&file).unwrap().len();
        let keep = random.random_range(0..length);
        fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(keep)
            .unwrap();
        format!("{} cut from {length} to {keep}", file.file_name().unwrap().display())
    });
}

#[test]
fn a_zeroed_stretch_is_detected_or_harmless() {
    rounds(60, "zeroed", |random, dir| {
        let file = pick(random, dir);
        let mut bytes = fs::read(&file).unwrap();
        let start = random.random_range(0..bytes.len());
        let end = (start + random.random_range(1..4096)).min(bytes.len());
        bytes[start..end].fill(0);
        fs::write(&file, &bytes).unwrap();
        format!("{start}..{end} of {}", file.file_name().unwrap().display())
    });
}

#[test]
fn a_missing_file_is_detected_or_harmless() {
    let original = tempfile::tempdir().unwrap();
    fill(original.path());
    let mut reported = Vec::new();
    for file in files(original.path()) {
        let dir = tempfile::tempdir().unwrap();
        copy(original.path(), dir.path());
        let name = file.strip_prefix(original.path()).unwrap();
        fs::remove_file(dir.path().join(name)).unwrap();
        if judge(dir.path(), &format!("{} removed", name.display())) == Outcome::Reported {
            reported.push(name.display().to_string());
        }
    }
    assert!(reported.iter().any(|name| name.ends_with(".log")), "{reported:?}");
    assert!(reported.iter().any(|name| name.ends_with(".sst")), "{reported:?}");
}

#[test]
fn a_database_that_vanished_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::remove_dir_all(dir.path().join("rocksdb")).unwrap();
    assert_eq!(judge(dir.path(), "the database is gone"), Outcome::Reported);
    assert_eq!(judge(dir.path(), "and stays reported"), Outcome::Reported);
}

/// Losing the witness and the log's tail at once still leaves the marks of the indexes to tell.
#[test]
fn an_index_that_is_ahead_of_the_log_proves_that_entries_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::remove_file(dir.path().join("witness")).unwrap();
    for file in files(dir.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(file).unwrap();
        }
    }
    let store = RocksStore::open(options(dir.path())).unwrap();
    for partition in (0..4).map(PartitionId) {
        let state = store.state(partition);
        assert!(
            matches!(&state, PartitionState::Quarantined(damage) if damage.reason.contains("indexed and are gone")),
            "{state:?}"
        );
    }
}

/// The write-ahead log loses its end after an unclean stop: what was never acknowledged may go, what was may not.
#[test]
fn the_rest_keeps_serving_when_one_partition_lost_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = RocksStore::open(options(dir.path())).unwrap();
        for partition in 0..4 {
            let mut writer = Writer::new(&store, PartitionId(partition));
            for n in 0..ENTRIES {
                writer.append(&[entry(
                    &document_in(partition, 1),
                    n,
                    format!("payload {n}").repeat(20).as_bytes(),
                )]);
            }
        }
    }
    let log = files(dir.path())
        .into_iter()
        .rfind(|file| file.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    let length = fs::metadata(&log).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(length - 200)
        .unwrap();
    let store = RocksStore::open(options(dir.path())).unwrap();
    let states: Vec<_> = (0..4).map(|p| store.state(PartitionId(p))).collect();
    assert!(
        matches!(&states[3], PartitionState::Quarantined(damage) if damage.offset == Offset(ENTRIES)),
        "{states:?}"
    );
    assert!(
        states[..3]
            .iter()
            .all(|state| matches!(state, PartitionState::Sound(_))),
        "{states:?}"
    );
    Writer::new(&store, PartitionId(0)).append(&[entry(&document_in(0, 1), 1_000, b"goes on")]);
    let found = store.verify(&mut |_| {}).unwrap().damage;
    assert_eq!(
        found.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(),
        [PartitionId(3)]
    );
}
