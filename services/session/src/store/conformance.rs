//! The suite that every [`SessionStore`] must pass. It is ordinary code, so that other crates can run it on theirs.

use std::{collections::BTreeSet, fmt::Display, future::Future, time::Duration};

use aetherflow_schema::{
    access::Principal,
    id::{ConnectionId, DocumentId, Offset, SessionId},
    sessions::{ClientId, NodeId, Protocol, ResumeToken, SessionState, record::ResumeHashes, record::SessionRecord},
};
use futures_util::future::join_all;
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

use super::{Revision, SessionStore, StoreError, StoreEvent, Versioned};

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the whole suite on empty stores.
///
/// # Panics
/// When the store breaks a rule; the message says which.
pub async fn check<S: SessionStore, F: Future<Output = S>>(empty: impl Fn() -> F) {
    what_was_stored_is_read(&empty().await).await;
    only_the_expected_copy_is_replaced_or_deleted(&empty().await).await;
    of_many_writers_one_wins(&empty().await).await;
    many_sessions_are_created_at_once(&empty().await).await;
    a_watcher_is_told_all_there_is(&empty().await).await;
}

/// The rest of it, for stores that several nodes share: two handles on one empty store.
///
/// # Panics
/// When the store breaks a rule.
pub async fn check_shared<S: SessionStore>(one: &S, other: &S) {
    assert!(other.lease().is_some_and(|lease| !lease.is_zero()));
    let mut events = ok(other.watch().await);
    assert_eq!(next(&mut events).await, StoreEvent::Current);
    let mut stored = record(1);
    let revision = ok(one.create(&stored).await);
    assert_eq!(next(&mut events).await, put(&stored, revision));
    stored.node = node("other");
    let revision = ok(other.update(&stored, revision).await);
    assert_eq!(next(&mut events).await, put(&stored, revision));
    assert_eq!(ok(one.read(stored.id).await).map(|copy| copy.revision), Some(revision));
    ok(one.delete(stored.id, revision).await);
    match next(&mut events).await {
        StoreEvent::Deleted(id, at) => assert!(id == stored.id && at > revision, "a deletion is newer"),
        event => panic!("not a deletion: {event:?}"),
    }
}

/// A session for tests: everything about it follows from its number.
///
/// # Panics
/// Never.
pub fn record(n: u8) -> SessionRecord {
    let id = SessionId(Uuid::from_u128((0x0190_0000_0000_7000_8000 << 48) + u128::from(n)));
    SessionRecord {
        id,
        node: node("one"),
        principal: Principal::anonymous(),
        client: ClientId::named("client").unwrap_or_else(|| panic!("a name")),
        protocol: Protocol::NativeWebSocket,
        peer: None,
        connection: Some(ConnectionId(n.into())),
        created_ms: 1_000,
        heard_ms: 2_000,
        state: SessionState::Active,
        attributes: [("n".to_owned(), n.to_string())].into(),
        cursors: DocumentId::from_bytes(&[n; 16])
            .map(|id| (id, Offset(n.into())))
            .into_iter()
            .collect(),
        resume: Some(ResumeHashes::of(&ResumeToken::new(id, [n; 32]))),
    }
}

fn node(name: &str) -> NodeId {
    NodeId::named(name).unwrap_or_else(|| panic!("a node's name"))
}

fn ok<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the store failed: {error}"),
    }
}

fn put(record: &SessionRecord, revision: Revision) -> StoreEvent {
    StoreEvent::Put(Box::new(Versioned {
        record: record.clone(),
        revision,
    }))
}

async fn next(events: &mut mpsc::Receiver<StoreEvent>) -> StoreEvent {
    match timeout(PATIENCE, events.recv()).await {
        Ok(Some(event)) => event,
        Ok(None) => panic!("the stream of events ended"),
        Err(_) => panic!("no event came"),
    }
}

async fn what_was_stored_is_read<S: SessionStore>(store: &S) {
    let mut stored = record(1);
    assert_eq!(ok(store.read(stored.id).await), None);
    let first = ok(store.create(&stored).await);
    let found = ok(store.read(stored.id).await);
    assert_eq!(
        found.map(|copy| (copy.record, copy.revision)),
        Some((stored.clone(), first))
    );
    stored.state = SessionState::Disconnecting;
    stored.attributes.insert("more".to_owned(), "x".repeat(4000));
    let second = ok(store.update(&stored, first).await);
    assert!(second > first, "revisions grow");
    let found = ok(store.read(stored.id).await);
    assert_eq!(found.map(|copy| (copy.record, copy.revision)), Some((stored, second)));
    assert_eq!(
        ok(store.read(record(2).id).await),
        None,
        "sessions do not see one another"
    );
}

async fn only_the_expected_copy_is_replaced_or_deleted<S: SessionStore>(store: &S) {
    let stored = record(1);
    let first = ok(store.create(&stored).await);
    assert_eq!(store.create(&stored).await, Err(StoreError::Exists));
    let second = ok(store.update(&stored, first).await);
    assert_eq!(store.update(&stored, first).await, Err(StoreError::Conflict));
    assert_eq!(store.delete(stored.id, first).await, Err(StoreError::Conflict));
    ok(store.delete(stored.id, second).await);
    ok(store.delete(stored.id, second).await);
    assert_eq!(ok(store.read(stored.id).await), None);
    assert_eq!(
        store.update(&stored, second).await,
        Err(StoreError::Conflict),
        "what was deleted does not come back by an update"
    );
    let third = ok(store.create(&stored).await);
    assert!(third > second, "nor does an earlier revision");
}

async fn of_many_writers_one_wins<S: SessionStore>(store: &S) {
    let stored = record(1);
    let first = ok(store.create(&stored).await);
    let results = join_all((0..20).map(|_| store.update(&stored, first))).await;
    let winners: Vec<_> = results.iter().filter(|result| result.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(_) | Err(StoreError::Conflict)))
    );
    let results = join_all((0..20).map(|_| async { store.create(&record(2)).await })).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}

async fn many_sessions_are_created_at_once<S: SessionStore>(store: &S) {
    let revisions = join_all((0..200).map(|n| async move { store.create(&record(n)).await })).await;
    for (n, revision) in revisions.into_iter().enumerate() {
        let found = ok(store.read(record(n as u8).id).await);
        assert_eq!(
            found.map(|copy| (copy.record, copy.revision)),
            Some((record(n as u8), ok(revision)))
        );
    }
}

async fn a_watcher_is_told_all_there_is<S: SessionStore>(store: &S) {
    for n in 0..50 {
        ok(store.create(&record(n)).await);
    }
    let revision = ok(store.read(record(7).id).await).map(|copy| copy.revision);
    ok(store.delete(record(7).id, revision.unwrap_or(Revision(0))).await);
    let mut events = ok(store.watch().await);
    let mut told = BTreeSet::new();
    loop {
        match next(&mut events).await {
            StoreEvent::Put(copy) => assert!(told.insert(copy.record.id), "each is told once"),
            StoreEvent::Deleted(id, _) => assert_eq!(id, record(7).id, "only what was deleted"),
            StoreEvent::Current => break,
        }
    }
    assert_eq!(told, (0..50).filter(|n| *n != 7).map(|n| record(n).id).collect());
}
