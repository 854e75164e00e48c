//! Who wrote what, when, and from where, over HTTP; and what is written down of arrivals.

use std::sync::atomic::Ordering;

use aetherflow_schema::{
    history::{Authored, AuthoredPage, Position, Via},
    id::{Offset, OpId, PartitionId, SessionId},
    record::EntryKind,
};
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use crate::{
    client::Client,
    http_client::request,
    native_client::NativeClient,
    server::{Server, document, until},
};

fn position(committed_us: u64) -> Position {
    Position {
        committed_us,
        partition: PartitionId(3),
        offset: Offset(12),
    }
}

fn written(session: SessionId) -> Authored {
    Authored {
        position: position(5_000_999),
        document: document(1),
        kind: EntryKind::Change,
        op_id: OpId([1; 32]),
        session,
        bytes: 77,
    }
}

#[tokio::test]
async fn a_page_says_what_was_written_and_from_where_and_how_to_go_on() {
    let server = Server::start().await;
    server.policy.administered.store(true, Ordering::Relaxed);
    let client = NativeClient::welcomed(&server).await;
    let here = SessionId(Uuid::from_slice(&client.welcome.session_id).unwrap());
    let elsewhere = SessionId(Uuid::from_u128(5));
    *server.book.page.lock().unwrap() = AuthoredPage {
        entries: vec![written(here), written(elsewhere)],
        next: Some(position(5_000_999)),
        unreadable: vec![PartitionId(7)],
    };
    let id = document(1);
    let path = format!("/v1/principals/ada%40example.org/entries?document={id}&after=4-1-2&since=3&until=9&limit=2");
    let answer = request(server.address, "GET", &path, &[], b"").await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(
        (&body["principal"], &body["next"], &body["unreadablePartitions"]),
        (&json!("ada@example.org"), &json!("5000999-3-12"), &json!([7]))
    );
    let first = &body["entries"][0];
    assert_eq!(
        (&first["time"], &first["offset"], &first["bytes"]),
        (&json!(5000), &json!(12), &json!(77))
    );
    assert_eq!(
        (&first["documentId"], &first["kind"]),
        (&json!(id.to_string()), &json!("change"))
    );
    assert_eq!(
        (&first["session"], &first["via"]),
        (&json!(here.to_string()), &json!("native-websocket"))
    );
    let whence = &first["whence"];
    assert_eq!(
        (&whence["address"], &whence["client"]),
        (&json!("127.0.0.1"), &json!("laptop"))
    );
    assert!(body["entries"][1]["whence"].is_null() && body["entries"][1]["via"].is_null());
    let asked = server.book.asked.lock().unwrap()[0].clone();
    assert_eq!(
        (asked.principal.as_str(), asked.document),
        ("ada@example.org", Some(id))
    );
    assert_eq!((asked.since_us, asked.until_us, asked.limit), (3_000, 9_000, 2));
    assert_eq!(asked.after.unwrap().to_string(), "4-1-2");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_looked_for() {
    let server = Server::start().await;
    server.policy.administered.store(true, Ordering::Relaxed);
    for query in ["limit=0", "limit=1001", "after=x", "since=-1", "document=x", "who=ada"] {
        let path = format!("/v1/principals/ada/entries?{query}");
        let answer = request(server.address, "GET", &path, &[], b"").await;
        assert_eq!(answer.status, 400, "{query}");
        answer.problem();
    }
    assert!(server.book.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_may_not_administer_asks_in_vain_about_others() {
    let server = Server::start().await;
    server.policy.read_only.store(true, Ordering::Relaxed);
    for query in ["", &format!("?document={}", document(1))] {
        let path = format!("/v1/principals/ada/entries{query}");
        let answer = request(server.address, "GET", &path, &[], b"").await;
        assert_eq!((answer.status, answer.problem()), (403, "not-allowed".to_owned()));
    }
    assert!(server.book.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_session_that_may_write_is_written_down_once_for_each_connection() {
    let server = Server::start().await;
    let first = NativeClient::welcomed(&server).await;
    let (session, token) = (first.welcome.session_id.clone(), first.welcome.resume_token.clone());
    drop(first);
    until("the connection to go", || server.metric("native_connections") == 0).await;
    let second = NativeClient::resuming(&server, &token).await;
    assert_eq!(second.welcome.session_id, session);
    let _stock = Client::join(&server, "a tab").await;
    let headers = [("Content-Type", "application/json"), ("User-Agent", "importer/1.0")];
    assert_eq!(
        request(server.address, "POST", "/v1/documents", &headers, b"{}")
            .await
            .status,
        201
    );
    assert_eq!(
        request(server.address, "GET", "/v1/documents", &headers, b"")
            .await
            .status,
        200
    );
    let noted = server.book.arrivals.lock().unwrap();
    let shown: Vec<_> = noted
        .iter()
        .map(|arrival| (arrival.via, arrival.client.as_str(), arrival.agent.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (Via::NativeWebSocket, "laptop", ""),
            (Via::NativeWebSocket, "laptop", ""),
            (Via::AutomergeRepo, "a tab", ""),
            (Via::Http, "", "importer/1.0"),
        ]
    );
    assert!(
        noted
            .iter()
            .all(|arrival| arrival.address.ip().is_loopback() && arrival.address.port() > 0)
    );
    assert!(
        noted[..2]
            .iter()
            .all(|arrival| Bytes::copy_from_slice(arrival.session.0.as_bytes()) == session)
    );
    assert!(noted[0].at_ms <= noted[1].at_ms);
}
