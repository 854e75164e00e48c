//! Bodies of requests that cost more than they may, and answers that nobody takes.

use std::{net::SocketAddr, sync::atomic::Ordering};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    http_client::{Answer, create, parse, post_json, request},
    server::{DEADLINE, Server, document},
};

/// Sends the head of a request, whose body never comes: the answer.
async fn headless(address: SocketAddr, path: &str, header: &str) -> Answer {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/octet-stream\r\n{header}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![];
        let _ = socket.read_to_end(&mut answer).await;
        answer
    };
    parse(&timeout(DEADLINE, exchange).await.expect("an answer"))
}

#[tokio::test]
async fn a_body_that_does_not_say_how_long_it_is_is_not_waited_for() {
    let server = Server::start().await;
    let import = format!("/v1/documents/{}/import", document(1));
    for path in ["/v1/documents", "/v1/documents/import", &import] {
        let answer = headless(server.address, path, "Transfer-Encoding: chunked").await;
        assert_eq!((answer.status, &*answer.problem()), (411, "length-required"), "{path}");
    }
}

#[tokio::test]
async fn who_may_not_write_is_refused_before_the_body_has_come() {
    let server = Server::start().await;
    server.policy.read_only.store(true, Ordering::Relaxed);
    let import = format!("/v1/documents/{}/import", document(1));
    for path in ["/v1/documents", "/v1/documents/import", &import] {
        let answer = headless(server.address, path, "Content-Length: 1000000").await;
        assert_eq!((answer.status, &*answer.problem()), (403, "not-allowed"), "{path}");
    }
}

#[tokio::test]
async fn what_is_taken_away_while_a_body_comes_does_not_count() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/documents/import HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/octet-stream\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        server.address
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body when it has begun to read it: the policy was asked by then.
    let mut go_on = [0; 25];
    timeout(DEADLINE, socket.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.policy.read_only.store(true, Ordering::Relaxed);
    socket.write_all(b"ab").await.unwrap();
    let mut answer = vec![];
    timeout(DEADLINE, socket.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(parse(&answer).status, 403);
}

#[tokio::test]
async fn who_asks_and_does_not_read_is_given_up() {
    let server = Server::with(|options| options.timeouts.stalled_ms = 200).await;
    let id = create(&server, &format!("{{\"text\": \"{}\"}}", "x".repeat(1 << 20))).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let ask = format!("GET /v1/documents/{id} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    let asking = async { while socket.write_all(ask.as_bytes()).await.is_ok() {} };
    timeout(DEADLINE, asking).await.expect("an end");
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
