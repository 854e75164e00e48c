//! Clients that break rules, or do nothing at all.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::{
    client::Client,
    server::{DEADLINE, Server, document, until},
};

/// Everything the server sends until it closes.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![];
    let end = timeout(DEADLINE, socket.read_to_end(&mut bytes)).await;
    // A reset is an end, too.
    drop(end.expect("the server to close"));
    bytes
}

#[tokio::test]
async fn garbage_ends_only_its_own_connection() {
    let server = Server::start().await;
    let mut other = Client::join(&server, "bob").await;
    let good = Client::join(&server, "ada").await;
    drop(good);
    for (frame, code) in [
        (Frame::Binary(Bytes::from_static(b"\xff\xff\xff")), 4004),
        (Frame::Binary(Bytes::new()), 4004),
        (Frame::Binary(Bytes::from_static(b"\xa1\x64type\x64sync")), 4004),
        (Frame::Binary(vec![0x81; 100_000].into()), 4004),
        (Frame::Text("hello".into()), 1003),
    ] {
        let mut client = Client::join(&server, "ada").await;
        client.send_frame(frame).await;
        let (found, reason) = client.closed().await;
        assert_eq!(found, code, "{reason}");
        assert!(!reason.is_empty());
    }
    other.sync(&document(1), "still fine").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused() {
    let server = Server::with(|options| options.limits.frame_bytes = 10_000).await;
    let mut client = Client::join(&server, "ada").await;
    client.sync(&document(1), vec![0; 9_000]).await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    client.send_frame(Frame::Binary(vec![0; 10_001].into())).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn a_large_frame_arrives_whole() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    let large: Bytes = (0..20 << 20).map(|n: u32| (n % 251) as u8).collect();
    client.sync(&document(1), large.clone()).await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    assert!(server.documents.received(&document(1)) == [large]);
}

#[tokio::test]
async fn who_does_not_join_is_closed() {
    let server = Server::with(|options| {
        options.timeouts.join_ms = 50;
        options.limits.pre_join_frames = 3;
    })
    .await;
    let mut silent = Client::connect(&server, "ada").await;
    assert_eq!(silent.closed().await.0, 4001);

    let server = Server::with(|options| options.limits.pre_join_frames = 3).await;
    let mut talkative = Client::connect(&server, "ada").await;
    for _ in 0..4 {
        talkative.sync(&document(1), "too early").await;
    }
    assert_eq!(talkative.closed().await.0, 1008);
    assert!(server.documents.told().is_empty());
}

#[tokio::test]
async fn who_does_not_answer_pings_is_closed_and_who_does_is_not() {
    let server = Server::with(|options| options.timeouts.keepalive_ms = 150).await;
    let mut awake = Client::join(&server, "awake").await;
    // Its socket stays open, but nobody reads it.
    let _asleep = Client::join(&server, "asleep").await;
    assert_eq!(server.metric("websockets"), 2);
    let mut pings = 0;
    while server.metric("websockets") == 2 || pings < 5 {
        match awake.next().await {
            Some(Ok(Frame::Ping(_))) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    let closes = server.metric("closes_total{code=\"4008\",reason=\"ping not answered in time\"}");
    assert_eq!((closes, server.metric("websockets")), (1, 1));
}

#[tokio::test]
async fn a_peer_that_this_side_does_not_read_is_not_blamed() {
    let server = Server::with(|options| {
        options.timeouts.keepalive_ms = 50;
        options.limits.waiting_bytes = 1;
    })
    .await;
    let mut client = Client::join(&server, "ada").await;
    server.documents.hold(&document(1));
    client.sync(&document(1), "one").await;
    client.sync(&document(1), "two").await;
    let mut pings = 0;
    while pings < 6 {
        match client.next().await {
            Some(Ok(Frame::Ping(_))) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    server.documents.release();
    until("both frames", || server.documents.received(&document(1)).len() == 2).await;
}

#[tokio::test]
async fn sockets_that_send_no_request_or_half_of_one_are_closed() {
    let server = Server::with(|options| options.timeouts.header_ms = 100).await;
    for start in ["", "GET", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(start.as_bytes()).await.unwrap();
        rest(&mut socket).await;
    }
    until("none to be left", || server.metric("connections") == 0).await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_more_is_closed() {
    let server = Server::with(|options| options.timeouts.header_ms = 100).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn a_request_that_trickles_in_is_closed_in_time() {
    let server = Server::with(|options| options.timeouts.header_ms = 200).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut bytes = vec![];
    let end = timeout(DEADLINE, reading.read_to_end(&mut bytes)).await;
    drop(end.expect("the server to close"));
    drop(reading);
    timeout(DEADLINE, trickle).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Server::with(|options| options.timeouts.request_ms = 100).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head =
        "POST /v1/documents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut socket).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 504"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn what_is_no_websocket_request_is_told_so() {
    let server = Server::start().await;
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\
             Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            "426",
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n",
            "400",
        ),
        (
            "GET /elsewhere HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            "404",
        ),
    ] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(rest(&mut socket).await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}\n{answer}");
        assert!(answer.contains("application/problem+json"));
    }
}

#[tokio::test]
async fn frames_right_behind_the_request_are_not_lost() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let mut bytes = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    // A text message, masked with zeros, which is refused with a reason.
    bytes.extend(b"\x81\x81\0\0\0\0x");
    socket.write_all(&bytes).await.unwrap();
    let answer = rest(&mut socket).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(answer.ends_with("only binary messages are understood"), "{answer}");
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    client.sync(&document(1), "hello").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    let sink = server.documents.sinks(&document(1)).remove(0);
    drop(client);
    until("the end", || !sink.is_open()).await;
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
    let said = rest(&mut socket).await;
    let text = String::from_utf8_lossy(&said).to_lowercase();
    assert!(text.starts_with("http/1.1 101"), "{text}");
    assert!(!text.contains("sec-websocket-extensions"), "{text}");
    let close = 1002_u16.to_be_bytes();
    assert!(said.windows(2).any(|bytes| bytes == close), "{said:?}");
}
