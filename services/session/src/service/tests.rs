use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aetherflow_schema::{
    access::Principal,
    id::{ConnectionId, DocumentId, Offset, SessionId},
    sessions::{
        Attributes, ClientId, EndReason, NewConnection, NodeId, Opened, Protocol, Resume, ResumeToken, SessionError,
        SessionFilter, SessionSink, SessionState, Sessions,
    },
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{NewSession, SessionCompanion, SessionOptions, SessionService, Watched};
use crate::{
    clock::Clock,
    core::effects::SessionChange,
    store::{
        SessionStore,
        embedded::{EmbeddedOptions, EmbeddedStore},
        memory::MemoryStore,
    },
};

struct Ear(mpsc::UnboundedSender<EndReason>);

impl SessionSink for Ear {
    fn ended(&self, reason: EndReason) {
        let _ = self.0.send(reason);
    }
}

#[derive(Default)]
struct Companion(Mutex<Vec<SessionId>>);

impl SessionCompanion for Companion {
    fn session_closed(&self, session: SessionId) {
        self.0.lock().unwrap().push(session);
    }
}

fn client() -> ClientId {
    ClientId::named("laptop").unwrap()
}

async fn service(store: Arc<dyn SessionStore>) -> (SessionService, Arc<Companion>) {
    let companion = Arc::new(Companion::default());
    let options = SessionOptions::new(NodeId::named("node").unwrap());
    let service = SessionService::start(options, Clock::new(), store, vec![companion.clone()]);
    (service.await.unwrap(), companion)
}

fn connection(n: u64, resume: Resume) -> (NewConnection, mpsc::UnboundedReceiver<EndReason>) {
    let (told, ended) = mpsc::unbounded_channel();
    let new = NewConnection {
        principal: Principal::named("ada").unwrap(),
        client: client(),
        connection: ConnectionId(n),
        protocol: Protocol::NativeWebSocket,
        peer: SocketAddr::from(([127, 0, 0, 1], 4000)),
        attributes: Attributes::new(),
        resume,
        sink: Arc::new(Ear(told)),
    };
    (new, ended)
}

async fn open(service: &SessionService, n: u64, resume: Resume) -> (Opened, mpsc::UnboundedReceiver<EndReason>) {
    let (new, ended) = connection(n, resume);
    let opened = service.open(new).await.unwrap();
    opened.handle.introduce(client()).unwrap();
    (opened, ended)
}

fn token(opened: &Opened) -> ResumeToken {
    opened.token.clone().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_comes_back_within_the_window_and_not_after_it() {
    let (service, companion) = service(Arc::new(MemoryStore::default())).await;
    let (first, _ended) = open(&service, 1, Resume::Later).await;
    let id = first.handle.id();
    let document = DocumentId::from_bytes(&[1; 16]).unwrap();
    first
        .handle
        .set_cursors(&[(document.clone(), Some(Offset(5)))])
        .unwrap();
    assert!(first.resumed.is_none() && first.resume_window == Duration::from_secs(120));
    let token_1 = token(&first);
    drop(first);
    assert_eq!(service.look_up(id).unwrap().state, SessionState::Disconnecting);
    tokio::time::sleep(Duration::from_secs(119)).await;
    let (second, _ended) = open(&service, 2, Resume::From(token_1)).await;
    assert_eq!(second.handle.id(), id);
    assert_eq!(second.resumed, Some([(document, Offset(5))].into()));
    let token_2 = token(&second);
    drop(second);
    tokio::time::sleep(Duration::from_secs(121)).await;
    let (third, _ended) = open(&service, 3, Resume::From(token_2)).await;
    assert!(third.handle.id() != id && third.resumed.is_none());
    assert_eq!(*companion.0.lock().unwrap(), [id]);
    let statistics = service.statistics();
    assert_eq!(
        (
            statistics.opened,
            statistics.resumed,
            statistics.resume_refused,
            statistics.expired
        ),
        (2, 1, 1, 1)
    );
}

#[tokio::test]
async fn of_two_who_come_with_one_token_one_goes_on() {
    let (service, _) = service(Arc::new(MemoryStore::default())).await;
    let (first, mut ended) = open(&service, 1, Resume::Later).await;
    let id = first.handle.id();
    let resume = Resume::From(token(&first));
    // Nobody noticed yet that the first connection is dead. The client retries before it has heard of its first try, so
    // that both come with the same token: the later one wins, or both would be lost.
    let (two, mut two_ended) = open(&service, 2, resume.clone()).await;
    assert_eq!(ended.recv().await, Some(EndReason::TakenOver));
    let (three, _ended) = open(&service, 3, resume.clone()).await;
    assert_eq!(two_ended.recv().await, Some(EndReason::TakenOver));
    assert_eq!((two.handle.id(), three.handle.id()), (id, id));
    assert_eq!(two.handle.introduce(client()), Err(SessionError::TakenOver));
    assert_eq!(two.handle.renew().await, Err(SessionError::TakenOver));
    drop((first, two));
    let info = service.look_up(id).unwrap();
    assert_eq!(
        (info.state, info.connection),
        (SessionState::Active, Some(ConnectionId(3)))
    );
    // A later hello on the same connection.
    let renewed = three.handle.renew().await.unwrap().unwrap();
    drop(three);
    let (four, _ended) = open(&service, 4, Resume::From(renewed)).await;
    assert_eq!(four.handle.id(), id);
    four.handle.end();
    assert_eq!(service.look_up(id), Err(SessionError::NotFound));
}

#[tokio::test]
async fn a_stranger_with_a_token_gets_a_session_of_its_own() {
    let (service, _) = service(Arc::new(MemoryStore::default())).await;
    let (first, _ended) = open(&service, 1, Resume::Later).await;
    let (mut stranger, _ended) = connection(2, Resume::From(token(&first)));
    stranger.principal = Principal::named("mallory").unwrap();
    let second = service.open(stranger).await.unwrap();
    assert_ne!(second.handle.id(), first.handle.id());
    let forged = ResumeToken::new(first.handle.id(), [0; 32]);
    let (third, _ended) = open(&service, 3, Resume::From(forged)).await;
    assert_ne!(third.handle.id(), first.handle.id());
    assert_eq!(service.statistics().resume_refused, 2);
}

#[tokio::test]
async fn sessions_outlive_the_server_and_those_that_ended_do_not() {
    let dir = TempDir::new().unwrap();
    let options = EmbeddedOptions {
        dir: dir.path().to_owned(),
        fsync: true,
    };
    let document = DocumentId::from_bytes(&[1; 16]).unwrap();
    let (service_1, _) = service(Arc::new(EmbeddedStore::open(options.clone()).unwrap())).await;
    let (kept, _ended) = open(&service_1, 1, Resume::Later).await;
    let (short, _ended) = open(&service_1, 2, Resume::Never).await;
    let (ended, _ended) = open(&service_1, 3, Resume::Later).await;
    kept.handle.set_cursors(&[(document.clone(), Some(Offset(9)))]).unwrap();
    let (id, resume) = (kept.handle.id(), token(&kept));
    let gone = [short.handle.id(), ended.handle.id()];
    assert!(short.token.is_none());
    ended.handle.end();
    drop((kept, short.handle));
    assert!(service_1.stop(Duration::from_secs(20)).await);
    let (new, _ended) = connection(4, Resume::Later);
    assert!(matches!(service_1.open(new).await, Err(SessionError::Stopping)));
    drop(service_1);

    // The store is closed once the tasks are gone.
    let store = loop {
        match EmbeddedStore::open(options.clone()) {
            Ok(store) => break store,
            Err(error) => assert!(error.to_string().contains("lock"), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    let (service_2, _) = service(Arc::new(store)).await;
    assert_eq!(service_2.look_up(id).unwrap().state, SessionState::Disconnecting);
    assert!(gone.into_iter().all(|id| service_2.look_up(id).is_err()));
    let (again, _ended) = open(&service_2, 5, Resume::From(resume)).await;
    assert_eq!(
        (again.handle.id(), again.resumed),
        (id, Some([(document, Offset(9))].into()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_of_the_service_lives_by_its_heartbeat() {
    let (service, companion) = service(Arc::new(MemoryStore::default())).await;
    let new = NewSession {
        principal: Principal::anonymous(),
        client: client(),
        attributes: Attributes::new(),
        peer: None,
    };
    let id = service.create(new).unwrap().id;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(500)).await;
        assert_eq!(service.look_up(id).unwrap().state, SessionState::Idle);
        assert_eq!(service.heartbeat(id), Ok(SessionState::Active));
    }
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(service.heartbeat(id), Err(SessionError::NotFound));
    assert_eq!(*companion.0.lock().unwrap(), [id]);
    let (opened, _ended) = open(&service, 1, Resume::Never).await;
    assert!(matches!(
        service.heartbeat(opened.handle.id()),
        Err(SessionError::Invalid(_))
    ));
}

#[tokio::test]
async fn watchers_are_told_in_order_and_slow_ones_are_dropped() {
    let (service, _) = service(Arc::new(MemoryStore::default())).await;
    let (first, mut ended) = open(&service, 1, Resume::Never).await;
    let mut watch = service.watch(SessionFilter::default(), true);
    let mut slow = service.watch(SessionFilter::default(), false);
    let id = first.handle.id();
    let (second, _ended) = open(&service, 2, Resume::Never).await;
    service.end(id, None).unwrap();
    assert_eq!(ended.recv().await, Some(EndReason::Deleted));
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(match watch.next().await.unwrap() {
            Watched::Event(event) => Some((event.change, event.session.id)),
            Watched::Current => None,
            Watched::Lagged => panic!("too slow"),
        });
    }
    let id_2 = second.handle.id();
    let expected = [
        // What there was when it was first asked for more.
        Some((SessionChange::Created, id_2)),
        None,
        Some((SessionChange::Created, id_2)),
        Some((SessionChange::Updated, id_2)),
        Some((SessionChange::Ended, id)),
    ];
    assert_eq!(told, expected);
    for _ in 0..2000 {
        service.update(id_2, Default::default()).unwrap();
    }
    let mut events = 0;
    loop {
        match slow.next().await {
            Some(Watched::Event(_)) => events += 1,
            Some(Watched::Lagged) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(events >= 1000 && slow.next().await.is_none());
}
