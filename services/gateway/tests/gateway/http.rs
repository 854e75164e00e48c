//! The HTTP API, health, console and administration.

use std::{collections::HashMap, net::SocketAddr, sync::atomic::Ordering};

use aetherflow_schema::{
    documents::{At, DocumentError},
    id::ChangeHash,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, client::IntoClientRequest},
};

use crate::{
    recorder::HEADS,
    server::{DEADLINE, Server, document},
};

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The kind of the problem, after checking that it is one.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        assert!(body["title"].is_string() && body["detail"].is_string());
        body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[], b"").await
}

async fn post_json(address: SocketAddr, path: &str, body: &str) -> Answer {
    let headers = [("Content-Type", "application/json")];
    request(address, "POST", path, &headers, body.as_bytes()).await
}

async fn post_file(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    let headers = [("Content-Type", "application/octet-stream")];
    request(address, "POST", path, &headers, body).await
}

pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        // The server may answer, and close, before it has read a body that it does not want.
        let _ = socket.write_all(body).await;
        let mut answer = vec![];
        let _ = socket.read_to_end(&mut answer).await;
        answer
    };
    let answer = timeout(DEADLINE, exchange).await.expect("an answer");
    parse(&answer)
}

pub(crate) fn parse(answer: &[u8]) -> Answer {
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("a head");
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: answer[end + 4..].to_vec(),
    }
}

pub(crate) async fn create(server: &Server, content: &str) -> String {
    let answer = post_json(server.address, "/v1/documents", content).await;
    assert_eq!(answer.status, 201);
    answer.json()["documentId"].as_str().unwrap().to_owned()
}

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
async fn pages_of_other_origins_do_what_the_configuration_says() {
    const APP: &str = "https://app.example";
    let server = Server::with(|options| options.http.allowed_origins = vec![APP.to_owned()]).await;
    let foreign = [
        ("Origin", "http://elsewhere.example"),
        ("Content-Type", "application/json"),
    ];
    let answer = request(server.address, "POST", "/v1/documents", &foreign, b"{}").await;
    assert_eq!((answer.status, &*answer.problem()), (403, "foreign-origin"));
    let answer = request(server.address, "GET", "/v1/documents", &foreign, b"").await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    assert_eq!(answer.headers["vary"], "Origin");

    let app = [("Origin", APP), ("Content-Type", "application/json")];
    let answer = request(server.address, "POST", "/v1/documents", &app, b"{}").await;
    assert_eq!(
        (answer.status, &*answer.headers["access-control-allow-origin"]),
        (201, APP)
    );
    let preflight = [("Origin", APP), ("Access-Control-Request-Method", "PUT")];
    let answer = request(server.address, "OPTIONS", "/v1/documents", &preflight, b"").await;
    assert_eq!(
        (answer.status, &*answer.headers["access-control-allow-origin"]),
        (204, APP)
    );
    assert!(answer.headers["access-control-allow-headers"].contains("Authorization"));
    let resume = request(server.admin_address, "POST", "/v1/admin/resume", &app, b"").await;
    assert_eq!(resume.status, 403, "administration is for nobody's pages");

    let origin = format!("http://{}", server.address);
    let own = [("Origin", &*origin), ("Content-Type", "application/json")];
    let answer = request(server.address, "POST", "/v1/documents", &own, b"{}").await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn pages_of_other_origins_read_where_that_is_wanted() {
    let server = Server::with(|options| options.http.cross_origin_reads = true).await;
    let foreign = [("Origin", "http://elsewhere.example")];
    let answer = request(server.address, "GET", "/v1/documents", &foreign, b"").await;
    assert_eq!(
        (answer.status, &*answer.headers["access-control-allow-origin"]),
        (200, "*")
    );
    let answer = request(server.address, "DELETE", "/v1/documents", &foreign, b"").await;
    assert!(answer.status == 403 && !answer.headers.contains_key("access-control-allow-origin"));
    let metrics = get(server.admin_address, "/metrics").await;
    assert!(!metrics.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_websocket_is_for_pages_that_are_welcome_and_for_what_is_no_page() {
    let server = Server::with(|options| options.http.allowed_origins = vec!["http://localhost:*".to_owned()]).await;
    let own = format!("http://{}", server.address);
    for path in ["/automerge", "/", "/v1/sync"] {
        for (origin, status) in [
            (Some("http://elsewhere.example"), 403),
            (Some("null"), 403),
            (Some("http://localhost:5173"), 101),
            (Some(&*own), 101),
            (None, 101),
        ] {
            assert_eq!(upgrade(server.address, path, origin).await, status, "{origin:?} {path}");
        }
    }
}

/// The status with which a request for a WebSocket is answered.
async fn upgrade(address: SocketAddr, path: &str, origin: Option<&str>) -> u16 {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    match timeout(DEADLINE, connect_async(request)).await.expect("an answer") {
        Ok((_, response)) => response.status().as_u16(),
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn whoever_asks_is_told_what_they_may_do() {
    let server = Server::start().await;
    let anywhere = get(server.address, "/v1/access").await.json();
    assert_eq!(
        (&anywhere["principal"], &anywhere["create"]),
        (&json!("anonymous"), &json!(true))
    );
    let created = request(
        server.address,
        "POST",
        "/v1/documents",
        &[("Content-Type", "application/json")],
        b"{}",
    )
    .await;
    let id = created.json()["documentId"].as_str().unwrap().to_owned();
    let path = format!("/v1/documents/{id}/access");
    let allows = get(server.address, &path).await.json()["allows"].clone();
    assert!(allows.as_array().unwrap().contains(&json!("write")), "{allows}");
    server.policy.closed.store(true, Ordering::Relaxed);
    assert_eq!(get(server.address, &path).await.json()["allows"], json!([]));
}

#[tokio::test]
async fn the_console_comes_with_its_policy() {
    let server = Server::start().await;
    let page = get(server.address, "/").await;
    assert_eq!((page.status, &page.body[..]), (200, &b"<!doctype html>"[..]));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.contains("connect-src 'self';") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.headers["cross-origin-opener-policy"], "same-origin");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let head = request(server.address, "HEAD", "/", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn health_says_what_is_wrong_on_both_listeners() {
    let server = Server::start().await;
    for address in [server.address, server.admin_address] {
        assert_eq!(get(address, "/healthz").await.json(), json!({"status": "ok"}));
        assert_eq!(get(address, "/readyz").await.status, 200);
    }
    server.health.register("log", || Err("disk full".to_owned()));
    for address in [server.address, server.admin_address] {
        let answer = get(address, "/healthz").await;
        assert_eq!(answer.status, 503);
        let reasons = json!([{"component": "log", "reason": "disk full"}]);
        assert_eq!(answer.json(), json!({"status": "degraded", "reasons": reasons}));
    }
}

#[tokio::test]
async fn operators_see_and_do_what_only_they_may() {
    let server = Server::start().await;
    let admin = server.admin_address;
    let partitions = get(admin, "/v1/admin/partitions").await.json();
    assert_eq!(partitions["partitions"][0]["committed"], 12);
    let resume = request(admin, "POST", "/v1/admin/resume", &[], b"").await;
    assert_eq!(resume.status, 500);
    assert_eq!(resume.json()["detail"], "the disk is still full");
    let verify = request(admin, "POST", "/v1/admin/verify", &[], b"").await;
    assert_eq!((verify.status, &verify.json()["ok"]), (200, &json!(true)));
    let id = create(&server, "{}").await;
    let quarantine = get(admin, "/v1/admin/quarantine").await.json();
    assert_eq!(quarantine["documents"][0]["documentId"], id);
    assert_eq!(quarantine["documents"][0]["reason"], "poison");
    let release = |id: String| async move {
        let path = format!("/v1/admin/quarantine/{id}/release");
        request(admin, "POST", &path, &[], b"").await.status
    };
    assert_eq!(release(id).await, 200);
    assert_eq!(release(document(9).to_string()).await, 404);
    let metrics = get(admin, "/metrics").await;
    let text = String::from_utf8(metrics.body).unwrap();
    let line = "http_requests_total{method=\"POST\",route=\"/v1/documents\",status=\"201\"} 1";
    assert!(text.contains(line), "{text}");
    assert_eq!(get(admin, "/v1/documents").await.status, 404);
}

#[tokio::test]
async fn encoded_bodies_are_refused_whoever_reads_them() {
    let server = Server::start().await;
    let address = server.address;
    for path in [
        "/v1/documents",
        "/v1/documents/import",
        &format!("/v1/documents/{}/links", document(1)),
    ] {
        for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"] {
            let headers = [("Content-Type", "application/json"), ("Content-Encoding", encoding)];
            let answer = request(address, "POST", path, &headers, b"{}").await;
            assert_eq!(
                (answer.status, &*answer.problem()),
                (415, "content-encoding"),
                "{path} {encoding}"
            );
            assert_eq!(answer.headers["accept-encoding"], "identity");
        }
    }
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "Identity")];
    assert_eq!(
        request(address, "POST", "/v1/documents", &headers, b"{}").await.status,
        201
    );
}

#[tokio::test]
async fn json_is_nested_no_deeper_than_its_reader_goes() {
    let server = Server::start().await;
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    for (depth, status) in [(100, 201), (127, 400), (1_000_000, 400)] {
        let answer = post_json(server.address, "/v1/documents", &nested(depth)).await;
        assert_eq!(answer.status, status, "{depth}");
    }
    let permission = format!("/v1/documents/{}/permissions/ada", document(1));
    let headers = [("Content-Type", "application/json")];
    let answer = request(
        server.address,
        "PUT",
        &permission,
        &headers,
        nested(1_000_000).as_bytes(),
    )
    .await;
    assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
}

/// A compressed message could unfold without bound, so compression is never agreed to, and a frame that says it is
/// compressed ends the connection.
#[tokio::test]
async fn compression_of_websocket_messages_is_not_agreed_to() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; \
                client_max_window_bits\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    // Binary, finished, and compressed (RSV1): an empty message, masked with nothing.
    socket.write_all(&[0xc2, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut said = Vec::new();
    timeout(DEADLINE, socket.read_to_end(&mut said))
        .await
        .expect("the end")
        .unwrap();
    let text = String::from_utf8_lossy(&said).to_lowercase();
    assert!(text.starts_with("http/1.1 101"), "{text}");
    assert!(!text.contains("sec-websocket-extensions"), "{text}");
    let close = 1002_u16.to_be_bytes();
    assert!(said.windows(2).any(|bytes| bytes == close), "{said:?}");
}
