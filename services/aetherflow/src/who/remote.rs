//! Asking a running server, over HTTP/1.1, in the clear or with TLS and the certificates that the system trusts.

use std::{sync::Arc, time::Duration};

use aetherflow_schema::history::{AuthoredQuery, HISTORY_PAGE};
use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, Uri,
    client::conn::http1,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore},
};

use super::{Page, Row, complain};

/// The longest that one page may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer: a page of long names is far below that.
const BYTES: usize = 8 << 20;

pub(super) async fn read(
    url: &str,
    token: Option<&str>,
    query: AuthoredQuery,
    limit: usize,
) -> anyhow::Result<(Vec<Row>, bool)> {
    let server: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let path = path(&server, &query, after.as_deref(), HISTORY_PAGE.min(limit - rows.len()));
        let answer = timeout(PATIENCE, ask(&server, &path, token)).await;
        let page = answer.with_context(|| format!("{url} does not answer"))??;
        rows.extend(page.entries);
        after = page.next;
        if after.is_none() || rows.len() >= limit {
            complain(&page.unreadable_partitions);
            return Ok((rows, after.is_some()));
        }
    }
}

fn path(server: &Uri, query: &AuthoredQuery, after: Option<&str>, limit: usize) -> String {
    let name = escaped(query.principal.as_str());
    let mut path = format!(
        "{}/v1/principals/{name}/entries?limit={limit}&since={}",
        server.path().trim_end_matches('/'),
        query.since_us / 1000
    );
    if query.until_us != u64::MAX {
        path.push_str(&format!("&until={}", query.until_us / 1000));
    }
    if let Some(document) = &query.document {
        path.push_str(&format!("&document={document}"));
    }
    if let Some(after) = after {
        path.push_str(&format!("&after={}", escaped(after)));
    }
    path
}

/// Percent-encoded but for what needs no escape anywhere (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

async fn ask(server: &Uri, path: &str, token: Option<&str>) -> anyhow::Result<Page> {
    let host = server.host().context("the URL names no host")?;
    let tls = match server.scheme_str() {
        Some("http") => None,
        Some("https") => Some(connector()?),
        _ => anyhow::bail!("the URL begins with http:// or https://"),
    };
    let port = server.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((plain, port))
        .await
        .with_context(|| format!("{host}:{port}"))?;
    match tls {
        None => exchange(stream, server, path, token).await,
        Some(tls) => {
            let name = ServerName::try_from(plain.to_owned())?;
            exchange(tls.connect(name, stream).await?, server, path, token).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    server: &Uri,
    path: &str,
    token: Option<&str>,
) -> anyhow::Result<Page> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let authority = server.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path).header(HOST, authority);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BYTES).collect().await;
    connection.abort();
    let body = body
        .map_err(|error| anyhow::anyhow!("the answer cannot be read: {error}"))?
        .to_bytes();
    if !status.is_success() {
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("it does not say why");
        anyhow::bail!("the server answered {status}: {detail}");
    }
    serde_json::from_slice(&body).context("the answer is not what a server of this version says")
}

fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    anyhow::ensure!(added > 0, "this machine trusts no certificates: {:?}", found.errors);
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use aetherflow_schema::access::Principal;

    use super::*;

    #[test]
    fn what_is_asked_for_stands_in_the_path() {
        let server = "https://example.org/sync/".parse().unwrap();
        let query = AuthoredQuery {
            since_us: 5_000,
            until_us: 9_000_000,
            ..AuthoredQuery::all(Principal::named("ada & co/ü").unwrap())
        };
        assert_eq!(
            path(&server, &query, Some("1-2-3"), 7),
            "/sync/v1/principals/ada%20%26%20co%2F%C3%BC/entries?limit=7&since=5&until=9000&after=1-2-3"
        );
    }
}
