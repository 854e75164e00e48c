//! Which pages may ask, and open a WebSocket, and what the server's own page is held to.

use std::net::SocketAddr;

use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, client::IntoClientRequest},
};

use crate::{
    http_client::{get, request},
    server::{DEADLINE, Server},
};

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
