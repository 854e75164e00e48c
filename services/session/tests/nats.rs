//! Two nodes on a real nats-server: what they store, and what they hear of one another.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use aetherflow_schema::{
    access::{Caller, Identity, Principal},
    id::{ConnectionId, DocumentId, Offset, SessionId},
    presence::{Presence, PresenceChange, Present},
    sessions::{
        Attributes, ClientId, EndReason, NewConnection, NodeId, Opened, Protocol, Resume, SessionSink, SessionState,
        Sessions,
    },
};
use aetherflow_session::{
    Clock, SessionOptions, SessionService,
    presence::{PresenceOptions, PresenceService, PresenceSubscription, nats::NatsPresenceBus},
    store::{
        SessionStore, conformance,
        nats::{NatsOptions, NatsStore},
    },
};
use bytes::Bytes;
use support::{Nats, PATIENCE, until};
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

fn node(name: &str) -> NodeId {
    NodeId::named(name).unwrap()
}

async fn store(nats: &Nats, bucket: &str, lease: Duration) -> NatsStore {
    let options = NatsOptions {
        bucket: bucket.to_owned(),
        lease,
        ..NatsOptions::default()
    };
    NatsStore::open(nats.client().await, options).await.unwrap()
}

#[tokio::test]
async fn a_bucket_is_a_store() {
    let nats = Nats::start();
    let count = AtomicUsize::new(0);
    let lease = Duration::from_secs(60);
    conformance::check(|| async {
        let bucket = format!("sessions-{}", count.fetch_add(1, Relaxed));
        store(&nats, &bucket, lease).await
    })
    .await;
    let (one, two) = (store(&nats, "shared", lease).await, store(&nats, "shared", lease).await);
    conformance::check_shared(&one, &two).await;
}

#[tokio::test]
async fn what_is_not_stored_again_vanishes() {
    let nats = Nats::start();
    let store = store(&nats, "short", Duration::from_millis(500)).await;
    let record = conformance::record(1);
    let revision = store.create(&record).await.unwrap();
    let vanished = async {
        while store.read(record.id).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, vanished).await.expect("it vanishes");
    assert!(store.update(&record, revision).await.is_err());
}

struct Ear(mpsc::UnboundedSender<EndReason>);

impl SessionSink for Ear {
    fn ended(&self, reason: EndReason) {
        let _ = self.0.send(reason);
    }
}

async fn sessions(nats: &Nats, name: &str, lease: Duration) -> SessionService {
    let store = store(nats, "sessions", lease).await;
    let options = SessionOptions::new(node(name));
    let service = SessionService::start(options, Clock::new(), Arc::new(store), Vec::new());
    service.await.unwrap()
}

async fn open(service: &SessionService, n: u64, resume: Resume) -> (Opened, mpsc::UnboundedReceiver<EndReason>) {
    let (told, ended) = mpsc::unbounded_channel();
    let client = || ClientId::named("laptop").unwrap();
    let new = NewConnection {
        principal: Principal::named("ada").unwrap(),
        client: client(),
        connection: ConnectionId(n),
        protocol: Protocol::NativeQuantum,
        peer: SocketAddr::from(([127, 0, 0, 1], 4000)),
        attributes: Attributes::new(),
        resume,
        sink: Arc::new(Ear(told)),
    };
    let opened = service.open(new).await.unwrap();
    opened.handle.introduce(client()).unwrap();
    (opened, ended)
}

#[tokio::test]
async fn a_client_goes_on_with_its_session_at_another_node() {
    let nats = Nats::start();
    let lease = Duration::from_secs(60);
    let one = sessions(&nats, "one", lease).await;
    let two = sessions(&nats, "two", lease).await;
    let (first, mut ended) = open(&one, 1, Resume::Later).await;
    let id = first.handle.id();
    let document = DocumentId::from_bytes(&[1; 16]).unwrap();
    first
        .handle
        .set_cursors(&[(document.clone(), Some(Offset(5)))])
        .unwrap();
    // Sessions that cannot be resumed are known everywhere, too.
    let (short, _ended) = open(&one, 2, Resume::Never).await;
    until("the other node knows both", || {
        let cursors = two.look_up(id).map(|info| info.cursors.len());
        cursors == Ok(1) && two.look_up(short.handle.id()).is_ok()
    })
    .await;
    let (second, _ended) = open(&two, 3, Resume::From(first.token.clone().unwrap())).await;
    assert_eq!(second.handle.id(), id);
    assert_eq!(second.resumed, Some([(document, Offset(5))].into()));
    let told = timeout(PATIENCE, ended.recv()).await.unwrap();
    assert_eq!(told, Some(EndReason::TakenOver));
    drop(first);
    until("the first node knows where it is", || {
        one.look_up(id)
            .is_ok_and(|info| info.node == node("two") && info.state == SessionState::Active)
    })
    .await;
    // Ended from afar.
    let short_id = short.handle.id();
    two.end(short_id, None).unwrap();
    until("it has ended there", || one.look_up(short_id).is_err()).await;
    assert!(one.stop(PATIENCE).await && two.stop(PATIENCE).await);
}

#[tokio::test]
async fn sessions_of_a_node_that_is_killed_go_with_its_lease_and_others_stay() {
    let nats = Nats::start();
    let lease = Duration::from_millis(1500);
    let one = sessions(&nats, "one", lease).await;
    let two = sessions(&nats, "two", lease).await;
    let (first, _ended) = open(&one, 1, Resume::Later).await;
    let (second, _ended) = open(&two, 2, Resume::Later).await;
    let (id_1, id_2) = (first.handle.id(), second.handle.id());
    until("they know one another", || {
        two.look_up(id_1).is_ok() && one.look_up(id_2).is_ok()
    })
    .await;
    // Its tasks end, and nobody says goodbye.
    drop(one);
    until("it is forgotten", || two.look_up(id_1).is_err()).await;
    let info = two.look_up(id_2).unwrap();
    assert_eq!(info.node, node("two"));
    drop(first);
}

async fn presence(nats: &Nats, name: &str, lease: Duration) -> Arc<PresenceService> {
    let options = PresenceOptions {
        lease,
        ..PresenceOptions::new(node(name))
    };
    let service = PresenceService::start(options, Clock::new());
    let client = nats.client().await;
    service.connect(|hear| Arc::new(NatsPresenceBus::start(client, hear)));
    Arc::new(service)
}

fn present(document: &DocumentId, n: u8, state: &'static [u8]) -> Present {
    Present {
        document: document.clone(),
        caller: Caller {
            identity: Arc::new(Identity::user(Principal::named("ada").unwrap())),
            session: SessionId(Uuid::from_u128(n.into())),
        },
        state: Bytes::from_static(state),
        ttl: Duration::from_secs(3600),
    }
}

#[tokio::test]
async fn presence_spreads_and_a_node_that_is_killed_disappears() {
    let nats = Nats::start();
    let lease = Duration::from_millis(900);
    let one = presence(&nats, "one", lease).await;
    let two = presence(&nats, "two", lease).await;
    let document = DocumentId::from_bytes(&[1; 16]).unwrap();
    let other = DocumentId::from_bytes(&[2; 16]).unwrap();
    one.present(present(&document, 1, b"early")).unwrap();
    one.present(present(&other, 1, b"elsewhere")).unwrap();
    let mut watcher =
        PresenceSubscription::new(two.clone(), document.clone(), (ConnectionId(9), SessionId(Uuid::max())));
    let mut next = async || {
        let event = timeout(PATIENCE, watcher.next()).await.expect("an event").unwrap();
        (event.session.0.as_bytes()[15], event.change, event.state.clone())
    };
    assert_eq!(next().await, (1, PresenceChange::Joined, Bytes::from_static(b"early")));
    one.present(present(&document, 1, b"late")).unwrap();
    assert_eq!(next().await, (1, PresenceChange::Updated, Bytes::from_static(b"late")));
    one.present(present(&document, 2, b"two")).unwrap();
    assert_eq!(next().await, (2, PresenceChange::Joined, Bytes::from_static(b"two")));
    one.absent(&document, SessionId(Uuid::from_u128(2)));
    assert_eq!(next().await, (2, PresenceChange::Left, Bytes::new()));
    assert_eq!(two.count(), 1, "nothing is heard of documents that nobody here is on");
    // Its timers and its bus end, and nobody says goodbye.
    drop(one);
    assert_eq!(next().await, (1, PresenceChange::Left, Bytes::new()));
    assert_eq!(two.count(), 0);
}
