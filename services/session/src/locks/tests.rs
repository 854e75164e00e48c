use std::time::Duration;

use aetherflow_schema::{
    access::{Author, Principal},
    id::{DocumentId, SessionId},
    locks::{DocumentLocks, Fencing, LOCKS_PER_SESSION, LockError},
};
use uuid::Uuid;

use super::LocalLocks;
use crate::{clock::Clock, service::SessionCompanion};

fn author(n: u128) -> Author {
    Author {
        principal: Principal::anonymous(),
        session: SessionId(Uuid::from_u128(n)),
    }
}

fn document(n: u16) -> DocumentId {
    DocumentId::from_bytes(&n.to_be_bytes()).unwrap()
}

const TTL: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn one_holds_it_and_the_others_hear_who_does() {
    let locks = LocalLocks::start(Clock::new());
    let (ada, bob) = (author(1), author(2));
    let first = locks.acquire(&document(1), &ada, TTL).await.unwrap();
    assert_eq!(
        locks.acquire(&document(1), &bob, TTL).await,
        Err(LockError::Held(Box::new(first.clone())))
    );
    let again = locks.acquire(&document(1), &ada, TTL).await.unwrap();
    assert_eq!(again.fencing, first.fencing, "one who asks twice holds it once");
    assert_eq!(
        locks.holder(&document(1)).await.unwrap().map(|lock| lock.session),
        Some(ada.session)
    );
    let not_mine = locks.release(&document(1), bob.session, first.fencing).await;
    assert_eq!(not_mine, Err(LockError::NotHeld));
    locks.release(&document(1), ada.session, first.fencing).await.unwrap();
    let second = locks.acquire(&document(1), &bob, TTL).await.unwrap();
    assert!(second.fencing > first.fencing);
    let late = locks.renew(&document(1), ada.session, first.fencing, TTL).await;
    assert_eq!(late, Err(LockError::NotHeld));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_renewed_is_free() {
    let locks = LocalLocks::start(Clock::new());
    let (ada, bob) = (author(1), author(2));
    let first = locks.acquire(&document(1), &ada, TTL).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    locks
        .renew(&document(1), ada.session, first.fencing, TTL)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(locks.acquire(&document(1), &bob, TTL).await.is_err());
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(locks.holder(&document(1)).await, Ok(None));
    let late = locks.renew(&document(1), ada.session, first.fencing, TTL).await;
    assert_eq!(
        late,
        Err(LockError::NotHeld),
        "the holder is too late even if nobody else came"
    );
    let second = locks.acquire(&document(1), &ada, TTL).await.unwrap();
    assert!(
        second.fencing > first.fencing,
        "what it did in between is not under this lock"
    );
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(locks.shared.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn tokens_grow_over_restarts() {
    let clock = Clock::new();
    let before = LocalLocks::start(clock);
    let mut newest = Fencing(0);
    for _ in 0..1000 {
        let lock = before.acquire(&document(1), &author(1), TTL).await.unwrap();
        assert!(lock.fencing > newest);
        newest = lock.fencing;
        before.release_all(author(1).session).await.unwrap();
    }
    drop(before);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let after = LocalLocks::start(clock);
    let lock = after.acquire(&document(1), &author(2), TTL).await.unwrap();
    assert!(lock.fencing > newest);
}

#[tokio::test(start_paused = true)]
async fn locks_have_bounds_and_are_listed_in_pages() {
    let locks = LocalLocks::start(Clock::new());
    for bad in [Duration::ZERO, Duration::from_micros(9), Duration::from_secs(3601)] {
        assert_eq!(locks.acquire(&document(1), &author(1), bad).await, Err(LockError::Ttl));
    }
    for n in 0..LOCKS_PER_SESSION as u16 {
        locks.acquire(&document(n), &author(1), TTL).await.unwrap();
    }
    let more = locks.acquire(&document(999), &author(1), TTL).await;
    assert_eq!(more, Err(LockError::TooMany));
    locks.acquire(&document(0), &author(1), TTL).await.unwrap();
    let mut listed = Vec::new();
    loop {
        let page = locks.list(listed.last().cloned(), 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|lock| lock.document));
    }
    assert!(listed.is_sorted() && listed.len() == LOCKS_PER_SESSION);
    locks.release_all(author(1).session).await.unwrap();
    assert!(locks.shared.lock().is_empty());
    locks.acquire(&document(999), &author(1), TTL).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_edit_passes_only_while_its_lock_is_held() {
    let locks = LocalLocks::start(Clock::new());
    let (ada, bob) = (author(1), author(2));
    let stale = |fencing| locks.pass(&document(1), fencing).err();
    assert_eq!(stale(Fencing(1)), Some(LockError::NotHeld), "nobody holds it");
    let first = locks.acquire(&document(1), &ada, TTL).await.unwrap().fencing;
    assert_eq!(stale(first), None);
    assert_eq!(
        stale(Fencing(first.0 + 1)),
        Some(LockError::NotHeld),
        "it was never given out"
    );
    assert_eq!(locks.pass(&document(2), first).err(), Some(LockError::NotHeld));
    tokio::time::sleep(TTL).await;
    assert_eq!(
        stale(first),
        Some(LockError::NotHeld),
        "it expired, though nobody else came"
    );
    let second = locks.acquire(&document(1), &bob, TTL).await.unwrap().fencing;
    assert_eq!((stale(first), stale(second)), (Some(LockError::NotHeld), None));
    locks.session_closed(bob.session);
    assert_eq!(stale(second), Some(LockError::NotHeld), "its session has ended");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_given_a_lock_while_an_edit_under_the_earlier_one_is_under_way() {
    let locks = LocalLocks::start(Clock::new());
    let (ada, bob) = (author(1), author(2));
    let first = locks.acquire(&document(1), &ada, TTL).await.unwrap();
    let passes = [(); 2].map(|()| locks.pass(&document(1), first.fencing).unwrap());
    let renewed = locks.acquire(&document(1), &ada, TTL).await.unwrap();
    assert_eq!(renewed.fencing, first.fencing, "the holder goes on");
    locks.release(&document(1), ada.session, first.fencing).await.unwrap();
    let [one, other] = passes;
    for pass in [one, other] {
        for author in [&ada, &bob] {
            let early = locks.acquire(&document(1), author, TTL).await;
            assert_eq!(early, Err(LockError::Settling), "not even the one who had it");
        }
        drop(pass);
    }
    let second = locks.acquire(&document(1), &bob, TTL).await.unwrap();
    assert!(second.fencing > first.fencing);
    locks.release_all(bob.session).await.unwrap();
    assert!(locks.shared.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_finds_what_it_holds() {
    let locks = LocalLocks::start(Clock::new());
    let ada = author(1);
    for n in [3, 1, 2] {
        locks.acquire(&document(n), &ada, TTL * u32::from(n)).await.unwrap();
    }
    let held = async || {
        let held = locks.of_session(ada.session).await.unwrap();
        held.into_iter().map(|lock| lock.document).collect::<Vec<_>>()
    };
    assert_eq!(held().await, [document(1), document(2), document(3)]);
    tokio::time::sleep(TTL).await;
    assert_eq!(held().await, [document(2), document(3)]);
    assert_eq!(locks.of_session(author(2).session).await, Ok(Vec::new()));
}
