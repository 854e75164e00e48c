//! Documents by HTTP.

use std::sync::atomic::Ordering;

use aetherflow_schema::{
    documents::{At, DocumentError},
    id::ChangeHash,
};
use serde_json::{Value, json};

use crate::{
    http_client::{create, get, post_file, post_json, request},
    recorder::HEADS,
    server::{Server, document},
};

#[tokio::test]
async fn a_document_is_created_and_read() {
    let server = Server::start().await;
    let answer = post_json(server.address, "/v1/documents", "{\"title\": \"x\"}").await;
    assert_eq!(answer.status, 201);
    let body = answer.json();
    let id = body["documentId"].as_str().unwrap();
    assert_eq!(body["url"], format!("automerge:{id}"));
    assert_eq!(body["heads"], json!([HEADS[0].to_string()]));
    assert_eq!(body["offset"], 7);
    assert_eq!(answer.headers["location"], format!("/v1/documents/{id}"));

    for name in [id.to_owned(), format!("automerge:{id}"), format!("automerge%3A{id}")] {
        let answer = get(server.address, &format!("/v1/documents/{name}")).await;
        assert_eq!(answer.status, 200);
        let body = answer.json();
        assert_eq!(body["content"], json!({"title": "x"}));
        assert_eq!((&body["changes"], &body["documentId"]), (&json!(1), &json!(id)));
    }
    let empty = request(server.address, "POST", "/v1/documents", &[], b"").await;
    assert_eq!(empty.status, 201);
}

#[tokio::test]
async fn what_a_client_holds_is_not_sent_again() {
    let server = Server::start().await;
    let id = create(&server, "{}").await;
    for path in [
        format!("/v1/documents/{id}"),
        format!("/v1/documents/{id}/export"),
        "/".to_owned(),
    ] {
        let etag = get(server.address, &path).await.headers["etag"].clone();
        let held = [("If-None-Match", &*etag)];
        let answer = request(server.address, "GET", &path, &held, b"").await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{path}");
        assert_eq!(answer.headers["etag"], etag);
    }
}

#[tokio::test]
async fn a_place_in_the_history_is_passed_on() {
    let server = Server::start().await;
    let id = create(&server, "{}").await;
    let hash = ChangeHash([1; 32]);
    for query in ["change=3".to_owned(), format!("heads={hash},{hash}")] {
        assert_eq!(
            get(server.address, &format!("/v1/documents/{id}?{query}")).await.status,
            200
        );
    }
    assert_eq!(server.documents.places(), [At::Change(3), At::Heads(vec![hash, hash])]);
}

#[tokio::test]
async fn files_are_imported_and_exported() {
    let server = Server::start().await;
    let new = post_file(server.address, "/v1/documents/import", b"12345").await;
    assert_eq!(new.status, 201);
    let id = document(5);
    let path = format!("/v1/documents/{id}");
    let merged = post_file(server.address, &format!("{path}/import"), b"123").await;
    assert_eq!(
        (merged.status, merged.json()["documentId"].as_str()),
        (200, Some(&*id.to_string()))
    );
    assert_eq!(get(server.address, &path).await.json()["content"], json!({"bytes": 3}));
    let file = get(server.address, &format!("{path}/export")).await;
    assert_eq!((file.status, &file.body[..]), (200, &b"a file"[..]));
    assert_eq!(file.headers["content-type"], "application/octet-stream");
}

#[tokio::test]
async fn lists_and_histories_come_in_pages() {
    let server = Server::start().await;
    for _ in 0..5 {
        create(&server, "{}").await;
    }
    let mut found = vec![];
    let mut path = "/v1/documents?limit=2".to_owned();
    loop {
        let page = get(server.address, &path).await.json();
        found.extend(page["documents"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/documents?limit=2&after={next}");
    }
    assert_eq!(found.len(), 5);
    let id = found[0]["documentId"].as_str().unwrap();
    let page = get(server.address, &format!("/v1/documents/{id}/history?after=1&limit=3"))
        .await
        .json();
    assert_eq!((&page["total"], &page["next"]), (&json!(5), &json!(4)));
    let change = &page["changes"][0];
    assert_eq!((&change["index"], &change["offset"]), (&json!(2), &json!(2)));
    assert_eq!(change["committed"], Value::Null);
    let last = get(server.address, &format!("/v1/documents/{id}/history?after=4"))
        .await
        .json();
    assert_eq!(
        (last["changes"].as_array().unwrap().len(), &last["next"]),
        (1, &Value::Null)
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_a_problem_that_says_what_to_do() {
    let server = Server::with(|options| {
        options.limits.json_bytes = 1000;
        options.limits.change_bytes = 1024;
    })
    .await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (path, body, status, kind) in [
        ("/v1/documents", "[1]", 400, "json"),
        ("/v1/documents", "{\"a\"", 400, "json"),
        ("/v1/documents", &deep, 400, "json"),
        (
            "/v1/documents",
            &format!("{{\"a\": \"{}\"}}", "x".repeat(1000)),
            413,
            "too-large",
        ),
        ("/v1/documents/import", "{}", 415, "media-type"),
        ("/v1/nothing", "{}", 404, "no-such-path"),
    ] {
        let answer = post_json(server.address, path, body).await;
        assert_eq!((answer.status, &*answer.problem()), (status, kind), "{path}");
    }
    for (path, status, kind) in [
        ("/v1/documents/xyz", 400, "document-id"),
        ("/v1/documents/2j9knpCseyhnK8izDmLpGP5WMdZR", 400, "document-id"),
        ("/v1/documents/%ff", 400, "document-id"),
        ("/v1/documents?limit=1001", 400, "query"),
        ("/v1/documents?limit=0", 400, "query"),
        ("/v1/documents?lim=1", 400, "query"),
        ("/v1/documents?after=xyz", 400, "document-id"),
        ("/v1/documents/2j9knpCseyhnK8izDmLpGP5WMdZQ?change=-1", 400, "query"),
        (
            "/v1/documents/2j9knpCseyhnK8izDmLpGP5WMdZQ?change=1&heads=x",
            400,
            "query",
        ),
        ("/v1/documents/2j9knpCseyhnK8izDmLpGP5WMdZQ", 404, "no-such-document"),
        ("/automerge", 426, "websocket-only"),
        ("/elsewhere", 404, "no-such-path"),
        ("/metrics", 404, "no-such-path"),
        ("/v1/admin/partitions", 404, "no-such-path"),
    ] {
        let answer = get(server.address, path).await;
        assert_eq!((answer.status, &*answer.problem()), (status, kind), "{path}");
    }
    let large = post_file(server.address, "/v1/documents/import", &[0; 2000]).await;
    assert_eq!((large.status, &*large.problem()), (413, "too-large"));
    assert_eq!(post_file(server.address, "/v1/documents/import", b"").await.status, 400);
    let put = request(server.address, "PUT", "/v1/documents", &[], b"").await;
    assert_eq!((put.status, &*put.problem()), (405, "method-not-allowed"));
    assert!(put.headers["allow"].contains("POST"));
}

#[tokio::test]
async fn failures_say_whether_to_try_again() {
    let server = Server::start().await;
    let id = create(&server, "{}").await;
    for (error, status, kind, retry) in [
        (DocumentError::Overloaded, 429, "overloaded", Some("1")),
        (DocumentError::ReadOnly("full".into()), 503, "read-only", Some("30")),
        (DocumentError::Unknown("cut".into()), 503, "outcome-unknown", Some("1")),
        (DocumentError::Stopping, 503, "stopping", Some("1")),
        (DocumentError::NoSuchPlace("x".into()), 404, "no-such-place", None),
        (DocumentError::Quarantined("x".into()), 409, "quarantined", None),
    ] {
        server.documents.fail(error);
        let answer = get(server.address, &format!("/v1/documents/{id}")).await;
        assert_eq!((answer.status, &*answer.problem()), (status, kind));
        assert_eq!(answer.headers.get("retry-after").map(String::as_str), retry);
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_refused() {
    let server = Server::start().await;
    let id = create(&server, "{}").await;
    server.policy.read_only.store(true, Ordering::Relaxed);
    let answer = post_json(server.address, "/v1/documents", "{}").await;
    assert_eq!((answer.status, &*answer.problem()), (403, "not-allowed"));
    assert_eq!(get(server.address, &format!("/v1/documents/{id}")).await.status, 200);
    server.policy.closed.store(true, Ordering::Relaxed);
    assert_eq!(get(server.address, &format!("/v1/documents/{id}")).await.status, 403);
    assert_eq!(
        get(server.address, "/v1/documents").await.json()["documents"],
        json!([])
    );
}

#[tokio::test]
async fn whoever_asks_is_told_what_they_may_do() {
    let server = Server::start().await;
    let anywhere = get(server.address, "/v1/access").await.json();
    assert_eq!(
        (&anywhere["principal"], &anywhere["create"]),
        (&json!("anonymous"), &json!(true))
    );
    let id = create(&server, "{}").await;
    let path = format!("/v1/documents/{id}/access");
    let allows = get(server.address, &path).await.json()["allows"].clone();
    assert!(allows.as_array().unwrap().contains(&json!("write")), "{allows}");
    server.policy.closed.store(true, Ordering::Relaxed);
    assert_eq!(get(server.address, &path).await.json()["allows"], json!([]));
}
