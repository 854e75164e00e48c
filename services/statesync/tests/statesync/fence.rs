//! Edits that were made under a lock, with the locks of the session service.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use aetherflow_schema::{
    access::{Author as LogAuthor, Principal},
    document_log::DocumentLog,
    documents::{DocumentError, Documents},
    id::{DocumentId, Offset, SessionId},
    locks::{DocumentLocks, Fence, Fencing, Lock, LockError},
};
use aetherflow_session::{Clock, locks::LocalLocks};
use aetherflow_statesync::Statesync;
use automerge::{AutoCommit, Change, ROOT, transaction::CommitOptions, transaction::Transactable};
use bytes::Bytes;
use tokio::task;
use uuid::Uuid;

use crate::common::{
    author::{Author, submit, submit_under},
    document, grant, grant_write, memory, start,
};

fn holder(n: u128) -> LogAuthor {
    LogAuthor {
        principal: Principal::anonymous(),
        session: SessionId(Uuid::from_u128(n)),
    }
}

async fn acquire(locks: &Arc<LocalLocks>, id: &DocumentId, n: u128, ttl: Duration) -> Result<Lock, LockError> {
    locks.acquire(id, &holder(n), ttl).await
}

fn fence(locks: &Arc<LocalLocks>, id: &DocumentId, fencing: Fencing) -> Option<Fence> {
    Some(Fence::new(locks.clone(), id.clone(), fencing))
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_under_a_lock_is_placed_while_it_is_held_and_not_later() {
    let (statesync, _) = start(memory());
    let locks = Arc::new(LocalLocks::start(Clock::new()));
    let id = document(1);
    let mut author = Author::new();
    let first = acquire(&locks, &id, 1, MINUTE).await.unwrap();
    let under = || fence(&locks, &id, first.fencing);
    let held = author.write(2);
    let stored = submit_under(&statesync, &id, held.clone(), under()).await.unwrap();
    locks.release(&id, first.session, first.fencing).await.unwrap();
    let late = author.write(1);
    for _ in 0..2 {
        let refused = submit_under(&statesync, &id, late.clone(), under()).await;
        assert_eq!(refused, Err(DocumentError::Fenced));
    }
    let again = submit_under(&statesync, &id, held.clone(), under()).await;
    assert_eq!(
        again,
        Ok(stored.clone()),
        "what is stored already is answered as it was"
    );
    let both = submit_under(&statesync, &id, [held, late.clone()].concat(), under()).await;
    assert_eq!(both, Err(DocumentError::Fenced), "all or nothing");
    let file: Bytes = author.doc.save().into();
    let imported = statesync.import(grant_write(&id), file.clone(), under()).await;
    assert_eq!(imported.unwrap_err(), DocumentError::Fenced);
    let second = acquire(&locks, &id, 2, MINUTE).await.unwrap();
    let imported = statesync
        .import(grant_write(&id), file, fence(&locks, &id, second.fencing))
        .await;
    assert!(imported.unwrap().offset > stored.offsets[1]);
    let free = submit(&statesync, &id, author.write(1)).await;
    assert!(free.is_ok(), "an edit without a token is not bound by the lock");
}

/// What a holder of the lock did: the token it was given, and where the document ended at that moment.
type Grants = Arc<Mutex<Vec<(Fencing, Offset)>>>;

/// Takes the lock for a moment, again and again, and goes on writing under it although it may have lost it.
async fn contend(statesync: Statesync, locks: Arc<LocalLocks>, tail: impl Fn() -> Offset, n: u128, grants: Grants) {
    let id = document(1);
    let mut refused = 0;
    for round in 0..40 {
        let ttl = Duration::from_millis(1 + round % 3);
        let lock = loop {
            match acquire(&locks, &id, n, ttl).await {
                Ok(lock) => break lock,
                Err(LockError::Held(_) | LockError::Settling) => task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        grants.lock().unwrap().push((lock.fencing, tail()));
        let mut doc = AutoCommit::new();
        let edits = (0..8).map(|edit| {
            doc.put(ROOT, "edit", edit).unwrap();
            doc.commit_with(CommitOptions::default().with_message(lock.fencing.0.to_string()));
            let change = doc.get_last_local_change().unwrap();
            Bytes::copy_from_slice(change.raw_bytes())
        });
        for edit in edits {
            match submit_under(&statesync, &id, vec![edit], fence(&locks, &id, lock.fencing)).await {
                Ok(_) => {}
                Err(DocumentError::Fenced) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let released = locks.release(&id, lock.session, lock.fencing).await;
        assert!(matches!(released, Ok(()) | Err(LockError::NotHeld)));
    }
    tracing::info!(refused, "edits came too late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_given_a_lock_finds_all_that_was_done_under_the_earlier_ones() {
    let (statesync, log) = start(memory());
    let locks = Arc::new(LocalLocks::start(Clock::new()));
    let grants = Grants::default();
    let tasks: Vec<_> = (1..=4)
        .map(|n| {
            let log = log.clone();
            let tail = move || log.document_tail(&document(1)).unwrap().unwrap_or(Offset::ZERO);
            tokio::spawn(contend(statesync.clone(), locks.clone(), tail, n, grants.clone()))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stretch = aetherflow_schema::document_log::Stretch {
        grant: grant(&document(1)),
        after: Offset::ZERO,
        until: None,
        bytes: usize::MAX,
    };
    let entries = statesync.fetch(stretch).await.unwrap().entries;
    let token = |payload: &Bytes| {
        let change = Change::from_bytes(payload.to_vec()).unwrap();
        Fencing(change.message().unwrap().parse().unwrap())
    };
    let placed: BTreeMap<Offset, Fencing> = entries
        .iter()
        .map(|entry| (entry.offset, token(&entry.draft.payload)))
        .collect();
    assert!(placed.len() >= 100, "only {} edits were placed", placed.len());
    assert!(placed.values().is_sorted(), "tokens never go down: {placed:?}");
    for (granted, tail) in grants.lock().unwrap().iter() {
        let late = placed.range(tail.next()..).find(|(_, token)| *token < granted);
        assert_eq!(late, None, "it was placed after {granted:?} was given out at {tail}");
    }
}
