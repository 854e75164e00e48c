//! The gRPC service over a real TCP connection.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::sync::Arc;

use aetherflow_schema::{
    access::{
        Anybody, AuthFailure, Authenticator, ClientKind, Identity, Principal, Role, Throttle, TokenGrants, TooMuch,
        Unthrottled,
    },
    sessions::{NodeId, wire},
};
use aetherflow_session::{
    Clock, SessionOptions, SessionService,
    grpc::{self, Connection, Guard, SERVICE_NAME, SessionServiceClient},
    store::memory::MemoryStore,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use wire::{SessionEventKind, SessionState};

struct Server {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    channel: Channel,
}

async fn start() -> (Server, SessionServiceClient<Channel>) {
    guarded(Guard::new(Arc::new(Anybody), Arc::new(Unthrottled), true)).await
}

async fn guarded(guard: Guard) -> (Server, SessionServiceClient<Channel>) {
    let options = SessionOptions {
        sessions_max: 250,
        ..SessionOptions::new(NodeId::named("node").unwrap())
    };
    let store = Arc::new(MemoryStore::default());
    let service = SessionService::start(options, Clock::new(), store, Vec::new())
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (connections, accepted) = mpsc::channel(1);
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(100));
        loop {
            let (io, peer) = listener.accept().await.unwrap();
            let permit = permits.clone().try_acquire_owned().unwrap();
            if connections.send(Connection { io, peer, permit }).await.is_err() {
                return;
            }
        }
    });
    let task = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        grpc::serve(accepted, Arc::new(service), Arc::new(guard), stopped)
            .await
            .unwrap();
    });
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let client = SessionServiceClient::new(channel.clone());
    (Server { stop, task, channel }, client)
}

fn create(principal: &str) -> wire::CreateSessionRequest {
    wire::CreateSessionRequest {
        principal: principal.to_owned(),
        client_id: "importer".to_owned(),
        attributes: [("job".to_owned(), "7".to_owned())].into(),
        peer: "127.0.0.1:9".to_owned(),
    }
}

async fn created(client: &mut SessionServiceClient<Channel>, principal: &str) -> wire::Session {
    let response = client.create(create(principal)).await.unwrap().into_inner();
    assert_eq!(response.expires_after_ms, 600_000);
    response.session.unwrap()
}

fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "aetherflow.session");
    (status.code(), info.reason.clone())
}

#[tokio::test]
async fn a_session_is_made_found_changed_and_ended() {
    let (_server, mut client) = start().await;
    let session = created(&mut client, "ada").await;
    assert_eq!(
        (session.state(), &*session.principal, &*session.node),
        (SessionState::Active, "ada", "node")
    );
    let get = wire::GetSessionRequest { id: session.id.clone() };
    assert_eq!(client.get(get.clone()).await.unwrap().into_inner(), session);
    let update = wire::UpdateSessionRequest {
        id: session.id.clone(),
        expected_revision: Some(session.revision),
        set_attributes: [("step".to_owned(), "2".to_owned())].into(),
        remove_attributes: vec!["job".to_owned()],
        set_cursors: vec![wire::SessionCursor {
            document: vec![7; 16].into(),
            offset: 12,
        }],
        remove_cursors: Vec::new(),
    };
    let changed = client.update(update.clone()).await.unwrap().into_inner();
    assert_eq!(changed.attributes, [("step".to_owned(), "2".to_owned())].into());
    assert_eq!(changed.cursors, update.set_cursors);
    assert!(changed.revision > session.revision);
    let conflict = client.update(update).await.unwrap_err();
    assert_eq!(reason(&conflict), (Code::Aborted, "REVISION_CONFLICT".to_owned()));
    assert!(conflict.get_error_details().retry_info().is_some());
    let heartbeat = wire::HeartbeatRequest { id: session.id.clone() };
    let alive = client.heartbeat(heartbeat.clone()).await.unwrap().into_inner();
    assert_eq!(alive.state(), SessionState::Active);
    let delete = wire::DeleteSessionRequest {
        id: session.id,
        expected_revision: Some(changed.revision),
    };
    client.delete(delete.clone()).await.unwrap();
    for status in [
        client.delete(delete).await.unwrap_err(),
        client.get(get).await.unwrap_err(),
        client.heartbeat(heartbeat).await.unwrap_err(),
    ] {
        assert_eq!(reason(&status), (Code::NotFound, "SESSION_NOT_FOUND".to_owned()));
    }
    let statistics = client
        .statistics(wire::StatisticsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (statistics.opened, statistics.ended, statistics.states.len()),
        (1, 1, 5)
    );
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_by_field() {
    let (_server, mut client) = start().await;
    let field = |status: Status| {
        let details = status.get_error_details();
        assert_eq!(reason(&status), (Code::InvalidArgument, "INVALID".to_owned()));
        details
            .bad_request()
            .map(|bad| bad.field_violations[0].field.clone())
            .unwrap_or_default()
    };
    assert_eq!(field(client.create(create("")).await.unwrap_err()), "principal");
    let mut request = create("ada");
    request.client_id = "c".repeat(257);
    assert_eq!(field(client.create(request).await.unwrap_err()), "client_id");
    let mut request = create("ada");
    request.attributes = [("a".to_owned(), "x".repeat(9000))].into();
    field(client.create(request).await.unwrap_err());
    let get = wire::GetSessionRequest { id: "no id".to_owned() };
    assert_eq!(field(client.get(get).await.unwrap_err()), "id");
    let list = |page_size, page_token: &str, filter| wire::ListSessionsRequest {
        filter,
        page_size,
        page_token: page_token.to_owned(),
    };
    assert_eq!(field(client.list(list(1001, "", None)).await.unwrap_err()), "page_size");
    assert_eq!(field(client.list(list(1, "x", None)).await.unwrap_err()), "page_token");
    let filter = wire::SessionFilter {
        connection: Some(1),
        ..Default::default()
    };
    assert_eq!(
        field(client.list(list(1, "", Some(filter))).await.unwrap_err()),
        "filter.connection"
    );
    // What is too long is not even read.
    let mut request = create("ada");
    request.client_id = "c".repeat(300 << 10);
    assert_eq!(client.create(request).await.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn sessions_are_listed_in_pages_until_there_is_no_room() {
    let (_server, mut client) = start().await;
    let mut ids = Vec::new();
    for n in 0..250 {
        ids.push(created(&mut client, if n % 2 == 0 { "even" } else { "odd" }).await.id);
    }
    let full = client.create(create("ada")).await.unwrap_err();
    assert_eq!(reason(&full), (Code::ResourceExhausted, "TOO_MANY_SESSIONS".to_owned()));
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let filter = wire::SessionFilter {
            principal: "even".to_owned(),
            states: vec![SessionState::Active.into()],
            ..Default::default()
        };
        let request = wire::ListSessionsRequest {
            filter: Some(filter),
            page_size: 50,
            page_token,
        };
        let page = client.list(request).await.unwrap().into_inner();
        assert!(page.sessions.len() <= 50);
        found.extend(page.sessions.into_iter().map(|session| session.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut even: Vec<_> = ids.into_iter().step_by(2).collect();
    even.sort();
    assert_eq!(found, even);
}

#[tokio::test]
async fn a_watcher_hears_what_is_and_what_comes_until_the_server_stops() {
    let (server, mut client) = start().await;
    let session = created(&mut client, "ada").await;
    let request = wire::WatchSessionsRequest {
        filter: Some(wire::SessionFilter {
            principal: "ada".to_owned(),
            ..Default::default()
        }),
        include_current: true,
    };
    let mut events = client.watch(request).await.unwrap().into_inner();
    let event = events.message().await.unwrap().unwrap();
    assert_eq!(
        (event.kind(), event.session.unwrap().id),
        (SessionEventKind::Created, session.id.clone())
    );
    assert_eq!(
        events.message().await.unwrap().unwrap().kind(),
        SessionEventKind::Current
    );
    created(&mut client, "bob").await;
    let delete = wire::DeleteSessionRequest {
        id: session.id.clone(),
        expected_revision: None,
    };
    client.delete(delete).await.unwrap();
    let event = events.message().await.unwrap().unwrap();
    assert_eq!(
        (event.kind(), event.session.clone().unwrap().id),
        (SessionEventKind::Ended, session.id)
    );
    assert_eq!(event.session.unwrap().state(), SessionState::Closed);
    server.stop.send(()).unwrap();
    let status = events.message().await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unavailable, "STOPPING".to_owned()));
    drop((events, client, server.channel));
    server.task.await.unwrap();
}

#[tokio::test]
async fn health_is_as_grpc_has_it() {
    let (server, _client) = start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let request = HealthCheckRequest {
        service: SERVICE_NAME.to_owned(),
    };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status, 1);
}

/// The name is the token; `all:` before it owns everything.
struct Names;

impl Authenticator for Names {
    fn authenticate(&self, token: Option<&str>, now: u64) -> Result<Identity, AuthFailure> {
        let identity = |name: &str| Identity::user(Principal::named(name).unwrap());
        match token {
            None => Err(AuthFailure::Missing),
            Some("old") => Err(AuthFailure::Expired),
            Some("?") => Err(AuthFailure::Invalid("no token")),
            Some("nobody") => Ok(Identity::anonymous()),
            Some("short") => Ok(Identity {
                expires_at: Some(now + 2),
                ..identity("short")
            }),
            Some(token) => Ok(match token.strip_prefix("all:") {
                None => identity(token),
                Some(name) => Identity {
                    kind: ClientKind::Server,
                    grants: TokenGrants {
                        everywhere: Some(Role::Owner),
                        documents: Vec::new(),
                    },
                    ..identity(name)
                },
            }),
        }
    }
}

fn by<M>(token: &str, message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    request
}

/// Why somebody was not let in, or may not do it.
fn refusal(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "aetherflow.access", "{status:?}");
    (status.code(), info.reason.clone())
}

fn list(principal: &str) -> wire::ListSessionsRequest {
    wire::ListSessionsRequest {
        filter: Some(wire::SessionFilter {
            principal: principal.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn each_sees_and_ends_its_own_sessions_and_owners_of_everything_all() {
    let (server, mut client) = guarded(Guard::new(Arc::new(Names), Arc::new(Unthrottled), false)).await;
    for (token, expected) in [("", "token-invalid"), ("old", "token-expired")] {
        let status = client.list(by(token, list(""))).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::Unauthenticated, expected.to_owned()));
    }
    let status = client.list(list("")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unauthenticated, "token-missing".to_owned()));
    let health = HealthCheckRequest::default();
    HealthClient::new(server.channel.clone()).check(health).await.unwrap();

    let denied = (Code::PermissionDenied, "not-allowed".to_owned());
    for token in ["ada", "nobody"] {
        let status = client.create(by(token, create("ada"))).await.unwrap_err();
        assert_eq!(refusal(&status), denied);
        let status = client
            .statistics(by(token, wire::StatisticsRequest {}))
            .await
            .unwrap_err();
        assert_eq!(refusal(&status), denied);
    }
    let mut ids = Vec::new();
    for name in ["ada", "bob"] {
        let made = client.create(by("all:backend", create(name))).await.unwrap();
        ids.push(made.into_inner().session.unwrap().id);
    }
    let count = async |token: &str, principal: &str| {
        let listed = client.clone().list(by(token, list(principal))).await;
        listed.map(|page| page.into_inner().sessions.len())
    };
    assert_eq!(count("all:backend", "").await.unwrap(), 2);
    assert_eq!(count("ada", "").await.unwrap(), 1);
    assert_eq!(count("ada", "ada").await.unwrap(), 1);
    assert_eq!(count("carl", "").await.unwrap(), 0);
    assert_eq!(refusal(&count("ada", "bob").await.unwrap_err()), denied);
    assert_eq!(refusal(&count("nobody", "").await.unwrap_err()), denied);

    let get = wire::GetSessionRequest { id: ids[1].clone() };
    let status = client.get(by("ada", get.clone())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, "SESSION_NOT_FOUND".to_owned()));
    let delete = wire::DeleteSessionRequest {
        id: ids[1].clone(),
        expected_revision: None,
    };
    let status = client.delete(by("ada", delete.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    client.get(by("bob", get)).await.unwrap();
    client.delete(by("bob", delete)).await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_the_token_it_was_asked_for_with() {
    let (_server, mut client) = guarded(Guard::new(Arc::new(Names), Arc::new(Unthrottled), false)).await;
    let request = wire::WatchSessionsRequest {
        filter: None,
        include_current: true,
    };
    let mut events = client.watch(by("short", request)).await.unwrap().into_inner();
    let current = events.message().await.unwrap().unwrap();
    assert_eq!(current.kind(), SessionEventKind::Current);
    client.create(by("all:backend", create("short"))).await.unwrap();
    client.create(by("all:backend", create("other"))).await.unwrap();
    let event = events.message().await.unwrap().unwrap();
    assert_eq!(event.session.unwrap().principal, "short");
    let status = events.message().await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unauthenticated, "token-expired".to_owned()));
}

/// One arrival, and nothing after it.
#[derive(Default)]
struct Once(std::sync::atomic::AtomicBool);

impl Throttle for Once {
    fn arrival(&self, _: std::net::IpAddr) -> Result<(), TooMuch> {
        match self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
            false => Ok(()),
            true => Err(TooMuch {
                retry_after: std::time::Duration::from_secs(7),
            }),
        }
    }

    fn operation(&self, _: &Identity, address: std::net::IpAddr, bytes: usize) -> Result<(), TooMuch> {
        assert!(address.is_loopback() && bytes < 100);
        Ok(())
    }
}

#[tokio::test]
async fn whoever_calls_too_often_is_told_when_to_come_back() {
    let (_server, mut client) = guarded(Guard::new(Arc::new(Names), Arc::new(Once::default()), false)).await;
    client.list(by("ada", list(""))).await.unwrap();
    // Before its token is looked at.
    let status = client.list(by("old", list(""))).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "rate-limited".to_owned()));
    let retry = status.get_error_details().retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(std::time::Duration::from_secs(7)));
}
