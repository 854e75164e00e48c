//! The gRPC service over a real TCP connection.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod access;
mod server;

use aetherflow_schema::sessions::wire::{self, SessionEventKind, SessionState};
use aetherflow_session::grpc::SERVICE_NAME;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::server::{create, created, reason, start};

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
