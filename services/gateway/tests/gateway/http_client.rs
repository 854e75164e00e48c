//! An HTTP client that sends what it is told, one request for each connection.

use std::{collections::HashMap, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::server::{DEADLINE, Server};

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

pub(crate) async fn post_json(address: SocketAddr, path: &str, body: &str) -> Answer {
    let headers = [("Content-Type", "application/json")];
    request(address, "POST", path, &headers, body.as_bytes()).await
}

pub(crate) async fn post_file(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
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
