//! Sessions: sent away, resumed.

use std::time::Duration;

use aetherflow_loadtest::{
    http,
    native::{Connection, Transport},
    server::Server,
    wire::WireError,
};
use aetherflow_schema::{
    id::Offset,
    native::{ClientFrame, Fetch, Presence, RequestId, Start, wire::server_frame::Kind},
};
use automerge::AutoCommit;
use bytes::Bytes;
use hyper::Method;
use uuid::Uuid;

use super::steps::{WITHIN, changes, document, open, start, submit, subscribe};

pub(crate) async fn a_server_that_stops_answers_sends_clients_away_and_closes_with_a_code(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let mut connection = open(transport, &server, "client").await;
    let stopping = tokio::spawn(server.stop());
    let Kind::GoAway(go_away) = connection.hear().await.unwrap() else {
        panic!("not sent away");
    };
    assert_eq!(go_away.code, 1001);
    let ending = connection.hear().await.unwrap_err();
    assert!(matches!(ending, WireError::Closed { code: Some(1001), .. }), "{ending}");
    stopping.await.unwrap().unwrap();
}

/// What the server says of a session.
async fn session(server: &Server, id: &Bytes) -> serde_json::Value {
    let path = format!("/v1/sessions/{}", Uuid::from_slice(id).unwrap());
    let answer = http::ask(server.address(), Method::GET, &path, WITHIN).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Waits until the server has noticed that the connection is gone.
async fn disconnected(server: &Server, id: &Bytes) {
    let noticed = async {
        while session(server, id).await["state"] != "disconnecting" {
            // Between two looks; nothing else tells.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, noticed).await.unwrap();
}

/// Resumed by its token alone: after the connection is gone, after the server was killed, and not with an earlier token. With
/// it are its cursors, and what the client was present with.
pub(crate) async fn a_session_goes_on_over_connections_and_restarts(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir).await;
    let id = document();
    let mut first = open(transport, &server, "client").await;
    first.say(subscribe(1, &id, Start::After(Offset(0)))).await.unwrap();
    let three = changes(&mut AutoCommit::new(), 3);
    first.say(submit(2, &id, &three)).await.unwrap();
    let (mut last, mut told) = (None, 0);
    // Which of them comes first is open.
    while last.is_none_or(|last| told < last) {
        match first.hear().await.unwrap() {
            Kind::Ops(ops) => told = ops.entries.last().unwrap().offset,
            Kind::Receipt(receipt) => last = receipt.offsets.last().copied(),
            other => panic!("{other:?}"),
        }
    }
    let presence = Presence {
        document: id.clone(),
        state: Bytes::from_static(b"typing"),
        ttl_ms: 3_600_000,
    };
    first.say(ClientFrame::Presence(presence)).await.unwrap();
    // It is about the same document, so that what came before was acted on when it is answered.
    let fetch = Fetch {
        request: RequestId(3),
        document: id.clone(),
        from: Offset(1),
        until: None,
    };
    first.say(ClientFrame::Fetch(fetch)).await.unwrap();
    while !matches!(first.hear().await.unwrap(), Kind::Ops(ops) if ops.request_id == Some(3) && ops.last) {}
    let session_id = first.welcome().session_id.clone();
    let oldest = first.welcome().resume_token.clone();
    assert!(!first.welcome().resumed && !oldest.is_empty());
    let mut token = oldest.clone();
    drop(first);
    disconnected(&server, &session_id).await;
    let path = format!("/v1/documents/{id}/presence");
    let here = http::ask(server.address(), Method::GET, &path, WITHIN).await.unwrap();
    assert_eq!(here.json()["present"][0]["state"], "dHlwaW5n", "{}", here.text());
    for restarts in [false, true, false] {
        if restarts {
            let options = server.kill().await.unwrap();
            server = Server::start(options).await.unwrap();
        }
        let endpoint = server.endpoint().unwrap();
        let mut again = Connection::resume_on(transport, &endpoint, "client", token)
            .await
            .unwrap();
        assert!(again.welcome().resumed, "restarted: {restarts}");
        assert_eq!(again.welcome().session_id, session_id);
        let cursors = session(&server, &session_id).await["cursors"].clone();
        assert_eq!(
            cursors,
            serde_json::json!({id.to_string(): last}),
            "restarted: {restarts}"
        );
        token = again.welcome().resume_token.clone();
        // It is heard of: from now on only the newest token is good.
        again.say(ClientFrame::Ping(7)).await.unwrap();
        assert!(matches!(again.hear().await.unwrap(), Kind::Pong(_)));
    }
    let endpoint = server.endpoint().unwrap();
    let stale = Connection::resume_on(transport, &endpoint, "client", oldest)
        .await
        .unwrap();
    assert!(!stale.welcome().resumed);
    assert_ne!(stale.welcome().session_id, session_id);
}
