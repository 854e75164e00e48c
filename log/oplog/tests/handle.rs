//! The log as services use it, over a store in memory and over RocksDB.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::{collections::HashSet, sync::Arc, time::Duration};

use aetherflow_log_core::{
    AppendError, Storage,
    conformance::{document_in, entry},
    memory::MemoryStorage,
};
use aetherflow_log_store::{RocksStore, StoreOptions};
use aetherflow_oplog::{LogHandle, LogOptions};
use aetherflow_schema::id::{Offset, PartitionId};

fn rocks(dir: &tempfile::TempDir) -> Arc<RocksStore> {
    let mut options = StoreOptions::new(dir.path());
    options.partitions = 4;
    Arc::new(RocksStore::open(options).unwrap())
}

fn start(storage: Arc<dyn Storage>) -> LogHandle {
    LogHandle::start(storage, LogOptions::default()).unwrap()
}

/// Many appenders at once: every append has an offset of its own, and a tail reader sees each exactly once, in order.
async fn appenders_and_a_tail_agree(log: LogHandle) {
    let mut tail = log.tail(PartitionId(1), Offset(1));
    let appenders: Vec<_> = (0..64)
        .map(|appender| {
            let log = log.clone();
            tokio::spawn(async move {
                let document = document_in(1, appender as u8);
                let mut offsets = Vec::new();
                for n in 0..50 {
                    let appended = log.append(vec![entry(&document, n, b"payload")]).await.unwrap();
                    assert!(
                        log.committed(PartitionId(1)) >= appended.last(),
                        "told before the watermark moved"
                    );
                    offsets.push(appended.last());
                }
                offsets
            })
        })
        .collect();
    let mut offsets = HashSet::new();
    for appender in appenders {
        let of_one = appender.await.unwrap();
        assert!(of_one.is_sorted(), "one task's appends keep their order");
        offsets.extend(of_one);
    }
    assert_eq!(offsets, (1..=64 * 50).map(Offset).collect());
    let mut seen = Offset::ZERO;
    while seen < Offset(64 * 50) {
        let frame = tail.next().await.unwrap().unwrap();
        for entry in frame.entries() {
            seen = seen.next();
            assert_eq!(entry.unwrap().offset, seen);
        }
    }
    let waiting = tokio::time::timeout(Duration::from_millis(20), tail.next()).await;
    assert!(waiting.is_err(), "at the end a tail waits");
    let document = document_in(1, 3);
    let retried = log.append(vec![entry(&document, 7, b"payload")]).await.unwrap();
    assert!(offsets.contains(&retried.last()), "a retry keeps the first offset");
    assert_eq!(log.committed(PartitionId(1)), Offset(64 * 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn appenders_and_a_tail_agree_in_memory() {
    appenders_and_a_tail_agree(start(Arc::new(MemoryStorage::new(4)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn appenders_and_a_tail_agree_on_rocksdb() {
    let dir = tempfile::tempdir().unwrap();
    appenders_and_a_tail_agree(start(rocks(&dir))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_closing_and_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut chains = Vec::new();
    for round in 0..4u64 {
        let log = start(rocks(&dir));
        for partition in 0..4 {
            let document = document_in(partition, 1);
            for n in 0..20 {
                log.append(vec![entry(&document, round * 100 + n, b"x")]).await.unwrap();
            }
            assert_eq!(
                log.document_entries(&document, Offset::ZERO, usize::MAX).unwrap().len(),
                20 * (round as usize + 1)
            );
        }
        let status = log.status();
        assert!(
            status.iter().all(|p| p.state.as_ref().unwrap().epoch == round + 1),
            "a new epoch at each start"
        );
        assert!(log.verify(&mut |_| {}).unwrap().damage.is_empty());
        chains.push(status);
        log.close();
        let refused = log.append(vec![entry(&document_in(0, 1), 9_999, b"x")]).await;
        assert!(matches!(refused, Err(AppendError::ReadOnly(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_reported_reads_go_on_and_resuming_loses_nothing() {
    let storage = Arc::new(MemoryStorage::new(4));
    let log = start(storage.clone());
    let document = document_in(2, 1);
    log.append(vec![entry(&document, 1, b"x")]).await.unwrap();
    storage.fail_next_write("no space left on device");
    let failed = log.append(vec![entry(&document, 2, b"x")]).await;
    assert!(matches!(failed, Err(AppendError::Unknown(reason)) if reason.contains("no space")));
    let refused = log.append(vec![entry(&document_in(3, 1), 1, b"x")]).await;
    assert!(matches!(refused, Err(AppendError::ReadOnly(_))));
    assert_eq!(
        log.document_entries(&document, Offset::ZERO, usize::MAX).unwrap().len(),
        1
    );
    log.resume().await.unwrap();
    let again = log.append(vec![entry(&document, 2, b"x")]).await.unwrap();
    assert_eq!(again.last(), Offset(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_instead_of_growing() {
    let storage = Arc::new(MemoryStorage::new(4));
    let options = LogOptions {
        queue_bytes: 16 << 10,
        queue_wait: Duration::from_millis(1),
    };
    let log = LogHandle::start(storage, options).unwrap();
    let document = document_in(0, 1);
    let mut pending = Vec::new();
    let mut refused = 0;
    for n in 0..10_000 {
        match log.submit(vec![entry(&document, n, b"x")]).await {
            Ok(append) => pending.push(append),
            Err(error) => {
                assert_eq!(error, AppendError::Overloaded);
                refused += 1;
            }
        }
    }
    let accepted = pending.len() as u64;
    for append in pending {
        append.await.unwrap();
    }
    assert_eq!(accepted + refused, 10_000);
    assert_eq!(
        log.committed(PartitionId(0)),
        Offset(accepted),
        "what was accepted is there, all of it"
    );
}

/// Large groups are written by a thread of their own: what fails there reaches everyone who waits, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_large_group_is_reported_to_all_of_it() {
    let storage = Arc::new(MemoryStorage::new(4));
    let log = start(storage.clone());
    let entries = |from: u64| {
        let document = document_in(2, 1);
        (from..from + 100)
            .map(|n| entry(&document, n, b"x"))
            .collect::<Vec<_>>()
    };
    assert_eq!(log.append(entries(0)).await.unwrap().last(), Offset(100));
    storage.fail_next_write("no space left on device");
    let mut pending = Vec::new();
    for group in 1..5 {
        pending.push(log.submit(entries(group * 100)).await.unwrap());
    }
    for append in pending {
        let error = append.await.unwrap_err();
        assert!(
            matches!(error, AppendError::Unknown(_) | AppendError::ReadOnly(_)),
            "{error}"
        );
    }
    log.resume().await.unwrap();
    let again = log.append(entries(50)).await.unwrap();
    assert_eq!(again.offsets, (51..=150).map(Offset).collect::<Vec<_>>());
    log.close();
}

/// An index row that cannot be read concerns whoever asks for it, and not those who happen to be in the same group.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_operation_refuses_nobody_else() {
    let storage = Arc::new(MemoryStorage::new(4));
    let bad = entry(&document_in(1, 1), 9_999, b"x");
    storage.make_unreadable(bad.op_id());
    let log = start(storage);
    let mut pending = Vec::new();
    for n in 0..500 {
        let one = match n % 100 {
            50 => bad.clone(),
            _ => entry(&document_in(n % 4, 2), u64::from(n), b"x"),
        };
        pending.push((n, log.submit(vec![one]).await.unwrap()));
    }
    for (n, append) in pending {
        match append.await {
            Ok(_) => assert_ne!(n % 100, 50),
            Err(error) => assert!(
                n % 100 == 50 && matches!(error, AppendError::ReadOnly(_)),
                "{n}: {error}"
            ),
        }
    }
}

/// Small groups are written by the thread that answers: it outlives a panic in there.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_writing_is_a_failed_write() {
    for entries in [1, 100] {
        let storage = Arc::new(MemoryStorage::new(4));
        let log = start(storage.clone());
        let document = document_in(1, 1);
        let group: Vec<_> = (0..entries).map(|n| entry(&document, n, b"x")).collect();
        storage.panic_next_write();
        let error = log.append(group.clone()).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown(_)), "{error}");
        log.resume().await.unwrap();
        assert_eq!(log.append(group).await.unwrap().last(), Offset(entries));
        log.close();
        assert!(log.resume().await.is_err(), "nobody is there to do it");
    }
}
