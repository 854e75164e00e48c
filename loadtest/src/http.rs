//! One HTTP request on a connection of its own.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection could not be made, or broke.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The exchange failed.
    #[error("the request failed: {0}")]
    Exchange(#[from] hyper::Error),
    /// The request is none.
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Asks `server` for `path`, with an empty body.
///
/// # Errors
/// When there is no complete answer `within` that time.
pub async fn ask(server: SocketAddr, method: Method, path: &str, within: Duration) -> Result<Answer, HttpError> {
    timeout(within, exchange(server, method, path))
        .await
        .unwrap_or(Err(HttpError::Late(within)))
}

async fn exchange(server: SocketAddr, method: Method, path: &str) -> Result<Answer, HttpError> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, server.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok(Answer { status, body })
}
