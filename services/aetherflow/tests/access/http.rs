//! One HTTP request on a connection of its own.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
    /// All of it.
    pub(crate) text: String,
}

pub(crate) async fn is_ready(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(stream) => exchange(stream, "GET", "/readyz", None, "", &[])
            .await
            .is_some_and(|answer| answer.status == 200),
        Err(_) => false,
    }
}

pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    exchange(stream, method, path, token, "application/json", body.as_bytes())
        .await
        .unwrap()
}

/// Sends a file.
pub(crate) async fn send(address: SocketAddr, path: &str, token: Option<&str>, file: &[u8]) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, "POST", path, token, "application/octet-stream", file)
        .await
        .unwrap()
}

/// Over a connection that there is.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    token: Option<&str>,
    kind: &str,
    body: &[u8],
) -> Option<Answer> {
    let token = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        text: text.clone(),
    })
}
