//! The driver, with the server's words put into its mouth.

use std::{future::pending, sync::Arc};

use aetherflow_schema::{
    close::CloseCode,
    native::{ClientFrame, KNOWN_CAPABILITIES, encode, wire},
};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    error::LockLost,
    gate::Gate,
    guard::{LockGuard, LockOptions, LockState, Wish},
    options::Options,
    session::Parting,
    status::Carrier,
    transport::{BoxFuture, Connection},
};

const TTL: Duration = Duration::from_secs(30);

/// Connects to nobody, who says nothing, not even goodbye.
struct Nobody;

impl Transport for Nobody {
    fn dial(&self) -> BoxFuture<Result<Arc<dyn Connection>, Parting>> {
        Box::pin(async { Ok(Arc::new(Nobody) as Arc<dyn Connection>) })
    }
}

impl Connection for Nobody {
    fn carrier(&self) -> Carrier {
        Carrier::WebSocket
    }

    fn frame_bytes(&self) -> usize {
        1 << 20
    }

    fn takes(&self) -> u32 {
        1 << 20
    }

    fn send(self: Arc<Self>, _: Option<DocumentId>, _: Bytes) -> BoxFuture<Result<(), Parting>> {
        Box::pin(async { Ok(()) })
    }

    fn receive(self: Arc<Self>) -> BoxFuture<Result<Bytes, Parting>> {
        Box::pin(pending())
    }

    fn close(self: Arc<Self>, _: CloseCode) -> BoxFuture<()> {
        Box::pin(pending())
    }
}

fn id() -> DocumentId {
    DocumentId::from_bytes(&[1; 16]).unwrap()
}

/// One that has been welcomed, with a document open.
async fn online() -> (Driver, Document) {
    let options = Options::default();
    let (commands, queue) = mpsc::channel(16);
    let common = Arc::new(Common {
        commands,
        gate: Gate::new(16, 1 << 20),
        closed: false.into(),
        dropped: Arc::default(),
        keeps: false,
        patience: options.timeouts.edit,
    });
    let (status, _) = watch::channel(Status {
        link: Link::Connecting,
        unsettled: 0,
        store_failure: None,
    });
    let tuning = options.tuning().unwrap();
    let mut driver = Driver::new(&common, queue, Box::new(Nobody), tuning, options.timeouts, None, status);
    driver.tell(Input::Tick).await;
    let connected = driver.wire.next().await;
    driver.on_wire(connected).await;
    assert!(matches!(asked(&mut driver)[..], [ClientFrame::Hello(_)]));
    let welcome = wire::Welcome {
        session_id: vec![1; 16].into(),
        limits: Some(wire::Limits {
            frame_bytes: 1 << 20,
            change_bytes: 1 << 20,
            submit_changes: 3,
            ..wire::Limits::default()
        }),
        capabilities: KNOWN_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
        ..wire::Welcome::default()
    };
    say(&mut driver, welcome).await;
    let document = driver.open(id(), common).await.unwrap();
    assert!(matches!(asked(&mut driver)[..], [ClientFrame::Subscribe(_)]));
    (driver, document)
}

/// What the server is sent.
fn asked(driver: &mut Driver) -> Vec<ClientFrame> {
    let frames = std::iter::from_fn(|| driver.session.poll_frame(now()));
    frames.map(|outgoing| outgoing.frame).collect()
}

async fn say(driver: &mut Driver, frame: impl Into<wire::ServerFrame>) {
    driver.tell(Input::Frame(encode(&frame.into()))).await;
}

/// What a guard that is asked for holds on to.
fn wish(driver: &Driver) -> Arc<Wish> {
    Arc::new(Wish {
        dropped: driver.dropped.clone(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_nobody_wants_by_the_time_is_not_asked_for() {
    let (mut driver, _document) = online().await;
    let cancelled = wish(&driver);
    let (state, _) = watch::channel(LockState::Asked);
    let wanted = Arc::downgrade(&cancelled);
    drop(cancelled);
    // That it was dropped is heard first.
    driver.dropped.notified().await;
    driver.unlock_dropped().await;
    driver.lock(id(), TTL, TTL, (wanted, state)).await;
    assert_eq!(asked(&mut driver), []);
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_lock_in_vain_is_forgotten() {
    let (mut driver, _document) = online().await;
    for _ in 0..1_000 {
        let waiting = wish(&driver);
        let (state, _told) = watch::channel(LockState::Asked);
        driver.lock(id(), TTL, TTL, (Arc::downgrade(&waiting), state)).await;
        let request = match &asked(&mut driver)[..] {
            [ClientFrame::AcquireLock(acquire)] => acquire.request.0,
            frames => panic!("{frames:?}"),
        };
        let held = wire::Reject {
            request_id: request,
            code: wire::RejectCode::Locked.into(),
            retry_after_ms: Some(1_000),
            ..wire::Reject::default()
        };
        say(&mut driver, held).await;
        drop(waiting);
        driver.unlock_dropped().await;
    }
    assert_eq!(driver.guards.all.len(), 0);
}

/// The server grants what it was asked for.
async fn grant(driver: &mut Driver) {
    let acquire = asked(driver).into_iter().find_map(|frame| match frame {
        ClientFrame::AcquireLock(acquire) => Some(acquire),
        _ => None,
    });
    let acquire = acquire.expect("it is asked for");
    let granted = wire::LockGranted {
        request_id: acquire.request.0,
        lock: Some(wire::Lock {
            fencing: 7,
            ..wire::Lock::default()
        }),
        ttl_ms: acquire.ttl_ms,
    };
    say(driver, granted).await;
}

async fn guard(driver: &mut Driver, document: &Document) -> LockGuard {
    let (document, ttl) = (document.clone(), TTL);
    let options = LockOptions {
        ttl,
        ..LockOptions::default()
    };
    let locking = tokio::spawn(async move { document.lock(options).await });
    let command = driver.commands.recv().await.unwrap();
    driver.on_command(command).await;
    grant(driver).await;
    locking.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_guard_knows_when_its_time_is_over_though_nobody_tells_it() {
    let (mut driver, document) = online().await;
    let guard = guard(&mut driver, &document).await;
    sleep(TTL / 2).await;
    driver.tell(Input::Tick).await;
    grant(&mut driver).await;
    // The first time is over, the second one is not; and the driver does nothing any more.
    sleep(TTL - Duration::from_secs(1)).await;
    assert!(guard.is_held());
    assert!(timeout(Duration::ZERO, guard.lost()).await.is_err());
    sleep(Duration::from_secs(1)).await;
    assert!(!guard.is_held());
    assert_eq!(timeout(Duration::ZERO, guard.lost()).await, Ok(LockLost::Expired));
    let change = guard.change(|_| Ok::<_, automerge::AutomergeError>(())).await;
    assert!(change.is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_a_lock_while_the_client_says_goodbye() {
    let (mut driver, document) = online().await;
    let guard = guard(&mut driver, &document).await;
    let ending = tokio::spawn(driver.end());
    assert_eq!(timeout(GOODBYE / 2, guard.lost()).await, Ok(LockLost::Closed));
    assert!(!guard.is_held() && !ending.is_finished());
}
