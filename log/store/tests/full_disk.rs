//! A disk that runs full, and gets space again. Needs root, to mount a small file system; says so and passes without.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aetherflow_log_core::{
    PartitionState, Storage, StorageError,
    conformance::{Writer, document_in, entry},
    partition::{Effect, Partition, Quorum},
};
use aetherflow_log_store::{RocksStore, StoreOptions};
use aetherflow_schema::id::{Offset, PartitionId};

/// A small file system in memory, gone at the end.
struct SmallDisk {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"])
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self { _dir: dir, path })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn open(disk: &Path) -> RocksStore {
    let mut options = StoreOptions::new(disk.join("store"));
    options.partitions = 4;
    RocksStore::open(options).unwrap()
}

/// Appends one entry and says whether the store took it.
fn try_append(store: &RocksStore, core: &mut Partition<()>, n: u64) -> Result<(), StorageError> {
    let mut effects = Vec::new();
    core.submit(
        1,
        (),
        &[entry(&document_in(0, 1), n, &vec![n as u8; 100_000])],
        &[None],
        &mut effects,
    );
    core.seal(&mut effects);
    core.on_sequenced(&mut effects);
    for effect in effects {
        if let Effect::Store(frame) = effect {
            store.write(std::slice::from_ref(&frame))?;
            core.on_stored(frame.header().last(), &mut Vec::new());
        }
    }
    Ok(())
}

#[test]
fn a_full_disk_stops_writes_and_nothing_is_lost_when_there_is_space_again() {
    let Some(disk) = SmallDisk::mount() else {
        println!("not tested: mounting a small file system needs root");
        return;
    };
    let filler = disk.path.join("filler");
    fs::write(&filler, vec![0; 20 << 20]).unwrap();
    let store = open(&disk.path);
    let PartitionState::Sound(tail) = store.state(PartitionId(0)) else {
        panic!("a new store is sound");
    };
    let mut core = Partition::lead(PartitionId(0), 0, tail, Quorum { needed: 1 });
    let mut acknowledged = 0;
    let refusal = loop {
        match try_append(&store, &mut core, acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1_000, "the disk never ran full");
    };
    assert!(acknowledged > 10);
    assert!(
        matches!(&refusal, StorageError::Failsafe(reason) if reason.contains("space")),
        "{refusal}"
    );
    assert!(store.failsafe().is_some());

    let held = |store: &RocksStore| {
        store
            .document_entries(&document_in(0, 1), Offset::ZERO, usize::MAX)
            .map(|e| e.len() as u64)
    };
    assert!(held(&store).unwrap() >= acknowledged, "reads go on");
    let refused = try_append(
        &store,
        &mut Partition::lead(PartitionId(0), 0, tail, Quorum { needed: 1 }),
        9_999,
    );
    assert!(
        matches!(refused, Err(StorageError::Failsafe(_))),
        "writes are refused until the operator says go"
    );

    fs::remove_file(&filler).unwrap();
    store.resume().unwrap();
    assert_eq!(store.failsafe(), None);
    let after = held(&store).unwrap();
    assert!(
        after == acknowledged || after == acknowledged + 1,
        "{after} of {acknowledged}"
    );
    Writer::new(&store, PartitionId(0)).append(&[entry(&document_in(0, 1), 50_000, b"goes on")]);
    assert_eq!(held(&store).unwrap(), after + 1);
    assert!(store.verify(&mut |_| {}).unwrap().damage.is_empty());
    drop(store);
    assert_eq!(held(&open(&disk.path)).unwrap(), after + 1, "and after a restart");
}
