//! The suite of `log/core` on RocksDB.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::sync::Mutex;

use aetherflow_log_core::conformance;
use aetherflow_log_store::{RocksStore, StoreOptions};

#[test]
fn it_conforms_while_everything_is_indexed_in_memory() {
    conforms(StoreOptions::new("").index_entries);
}

#[test]
fn it_conforms_while_every_write_becomes_tables() {
    conforms(1);
}

fn conforms(index_entries: usize) {
    let dirs = Mutex::new(Vec::new());
    conformance::check(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path());
        options.partitions = 4;
        options.index_entries = index_entries;
        dirs.lock().unwrap().push(dir);
        RocksStore::open(options).unwrap()
    });
}
