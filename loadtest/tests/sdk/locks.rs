//! Locks: one holder at a time, and nothing of an earlier one after the next has it.

use std::time::Duration;

use aetherflow_client::{
    ChangeError, Client, Document, LockError, LockGuard, LockLost, LockOptions, Options, Receipt, RejectCode,
    SubmitError,
    automerge::{ROOT, transaction::Transactable},
};
use aetherflow_loadtest::server::Server;
use tokio::time::timeout;

use super::{
    offline::until_free,
    setup::{WITHIN, document, has, impatient, keys, online, over_quantum, over_websocket, put, start},
    tap::Tap,
};

/// Time that is given back soon by those who do not come back.
const BRIEF: LockOptions = LockOptions {
    wait: WITHIN,
    ttl: Duration::from_secs(1),
};

async fn lock(document: &Document, options: LockOptions) -> LockGuard {
    timeout(2 * WITHIN, document.lock(options)).await.unwrap().unwrap()
}

/// One edit under a lock.
async fn put_under(guard: &LockGuard, key: &str) -> Receipt<()> {
    guard.change(|tx| tx.put(ROOT, key, 1)).await.unwrap()
}

async fn stored(receipt: Receipt<()>) {
    timeout(WITHIN, receipt).await.unwrap().unwrap();
}

async fn is_late(receipt: Receipt<()>) {
    match timeout(WITHIN, receipt).await.unwrap() {
        Err(SubmitError::Refused(refusal)) => assert_eq!(refusal.code, RejectCode::StaleFencing),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guards_take_turns_within_a_client_and_between_clients_whatever_carries_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let id = document();
    let clients = [
        over_quantum(&server, impatient()).await,
        over_websocket(&server, impatient()).await,
    ];
    let mut tasks = Vec::new();
    for client in clients.iter().cycle().take(6) {
        let document = client.open(&id).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let guard = lock(&document, LockOptions::default()).await;
            let fencing = guard.fencing();
            // Whoever has it sees all that was done under it before.
            let turn = guard.with(|content| keys(content).len());
            stored(put_under(&guard, &format!("turn {turn}")).await).await;
            assert!(guard.is_held());
            guard.release().await.unwrap();
            (fencing, document)
        }));
    }
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.unwrap().0);
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 6, "each turn has its own token");
    let document = clients[0].open(&id).await.unwrap();
    has(&document, "nobody took anybody's turn", |content| {
        keys(content).len() == 6
    })
    .await;
    // Without waiting, and given back by a drop.
    let guard = lock(&document, LockOptions::default()).await;
    let at_once = LockOptions {
        wait: Duration::ZERO,
        ..LockOptions::default()
    };
    let other = clients[1].open(&id).await.unwrap();
    assert!(matches!(other.lock(at_once).await, Err(LockError::Held(_))));
    drop(guard);
    drop(lock(&other, LockOptions::default()).await);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_under_a_lock_that_a_kill_ended_is_refused_and_the_next_holder_sees_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let id = document();
    let one = over_quantum(&server, impatient()).await;
    let first = one.open(&id).await.unwrap();
    let guard = lock(&first, LockOptions::default()).await;
    stored(put_under(&guard, "in time").await).await;
    let killed = server.kill().await.unwrap();
    // It does not know, and writes on.
    let late = put_under(&guard, "late").await;
    let server = Server::start(killed).await.unwrap();
    is_late(late).await;
    assert_eq!(timeout(WITHIN, guard.lost()).await.unwrap(), LockLost::NotHeld);
    let two = over_websocket(&server, impatient()).await;
    let second = two.open(&id).await.unwrap();
    let next = lock(&second, LockOptions::default()).await;
    assert!(next.fencing() > guard.fencing());
    has(&second, "what was done before is there", |content| {
        keys(content).contains("in time")
    })
    .await;
    stored(put_under(&next, "next").await).await;
    // Now it knows. Edits that are not bound to the lock go on.
    let refused = guard.change(|tx| tx.put(ROOT, "later still", 1)).await;
    assert!(matches!(refused, Err(ChangeError::LockLost)));
    stored(put(&guard, "without").await).await;
    assert_eq!(guard.release().await, Err(LockLost::NotHeld));
    next.release().await.unwrap();
    let expected = ["in time", "next", "without"].map(str::to_owned).into();
    for document in [&first, &second] {
        has(document, "and nothing else", |content| keys(content) == expected).await;
    }
    assert_eq!(server.verify().await.unwrap(), (Vec::new(), 3));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_client_made_under_its_lock_is_late_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let id = document();
    let options = || Options {
        store: Some(dir.path().join("store")),
        ..impatient()
    };
    let tap = Tap::start(server.address()).await;
    let one = Client::connect(tap.url(), options()).await.unwrap();
    online(&one).await;
    let first = one.open(&id).await.unwrap();
    let guard = lock(&first, BRIEF).await;
    let token = guard.fencing();
    stored(put_under(&guard, "in time").await).await;
    // It is cut off, writes on, and ends.
    drop(tap);
    let late = guard.change(|tx| tx.put(ROOT, "late", 1)).await;
    let Ok(mut late) = late else { panic!("{late:?}") };
    late.kept().await.unwrap();
    drop((late, guard, first, one));
    let two = over_quantum(&server, impatient()).await;
    let second = two.open(&id).await.unwrap();
    let next = lock(&second, BRIEF).await;
    assert!(next.fencing() > token);
    stored(put_under(&next, "next").await).await;
    // It is back, and its edit with it, which is bound to the lock that it had.
    let one = until_free(&server, options()).await;
    let first = one.open(&id).await.unwrap();
    let expected = ["in time", "next"].map(str::to_owned).into();
    for document in [&first, &second] {
        has(document, "nothing is late", |content| keys(content) == expected).await;
    }
    next.release().await.unwrap();
    assert_eq!(one.status().borrow().unsettled, 0);
    assert_eq!(server.verify().await.unwrap(), (Vec::new(), 2));
    server.stop().await.unwrap();
}
