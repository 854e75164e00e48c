//! Certificates: over HTTP, WebSocket, gRPC and Quantum, by stock clients and the SDK.

use std::{fs, path::Path, sync::Arc};

use aetherflow_client::{Client, Fallback, Options, Trust};
use aetherflow_schema::sessions::wire;
use aetherflow_session::grpc::SessionServiceClient;
use automerge::{ROOT, transaction::Transactable};
use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message as Frame};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    http,
    server::{Server, token, within},
};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Puts a certificate for this machine, and its key, where the server looks for them.
    fn certify(&self, folder: &Path) {
        let (certificate, key) = self.sign();
        fs::write(folder.join("tls.pem"), certificate).unwrap();
        fs::write(folder.join("tls.key"), key).unwrap();
    }

    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }

    /// Connects as somebody who trusts this authority, and shows a certificate if there is one.
    async fn connect(
        &self,
        address: std::net::SocketAddr,
        alpn: &str,
        shows: Option<&(String, String)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        within(
            "a handshake",
            TlsConnector::from(Arc::new(config)).connect(name, stream),
        )
        .await
    }

    /// A stock WebSocket client.
    async fn websocket(&self, server: &Server) -> WebSocketStream<TlsStream<TcpStream>> {
        let stream = self.connect(server.address, "http/1.1", None).await.unwrap();
        let request = format!("wss://localhost/?token={}", token("owner"));
        within("an upgrade", Box::pin(client_async(request, stream)))
            .await
            .unwrap()
            .0
    }
}

/// A server with a certificate of this authority.
async fn start(authority: &Authority, more: &[(&str, &str)]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    authority.certify(folder.path());
    prepared(folder, more).await
}

async fn prepared(folder: TempDir, more: &[(&str, &str)]) -> Server {
    let [cert, key] = ["tls.pem", "tls.key"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let mut variables = vec![("AETHERFLOW_TLS__CERT", &*cert), ("AETHERFLOW_TLS__KEY", &*key)];
    variables.extend_from_slice(more);
    Server::prepared(folder, &variables).await
}

/// Sends a message that makes no sense, and waits until it was closed for it: so it was read, and answered.
async fn is_answered(mut socket: WebSocketStream<TlsStream<TcpStream>>) -> u16 {
    socket.send(Frame::Binary(vec![0xff; 300_000].into())).await.unwrap();
    loop {
        match within("a close", socket.next()).await {
            Some(Ok(Frame::Close(close))) => return close.unwrap().code.into(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn grpc(authority: &Authority, server: &Server) -> SessionServiceClient<Channel> {
    let stream = authority.connect(server.grpc, "h2", None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut stream = Some(hyper_util::rt::TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| std::future::ready(stream.take().ok_or("once")));
    let endpoint = Endpoint::from_static("http://localhost");
    SessionServiceClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

/// Edits a document by the SDK until that is stored.
async fn by_sdk(authority: &Authority, url: &str) {
    let options = Options {
        token: token("owner"),
        trust: Trust::Roots(vec![authority.certificate()]),
        fallback: Fallback::None,
        ..Options::default()
    };
    let client = Client::connect(url, options).await.unwrap();
    let document = client.create().await.unwrap();
    let text = "x".repeat(500_000);
    let receipt = document.change(|tx| tx.put(ROOT, "text", text)).await.unwrap();
    within("a receipt", receipt).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_speaks_tls_with_one_certificate() {
    let authority = Authority::new();
    let server = start(&authority, &[]).await;
    assert_eq!(is_answered(authority.websocket(&server).await).await, 4004);
    let mut sessions = grpc(&authority, &server).await;
    let mut request = tonic::Request::new(wire::ListSessionsRequest::default());
    let bearer = format!("Bearer {}", token("owner")).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    within("a call", sessions.list(request)).await.unwrap();
    by_sdk(&authority, &format!("wss://{}", server.address)).await;
    by_sdk(&authority, &format!("quantum://{}", server.address)).await;

    // Whoever speaks HTTP here is told so, on both ports.
    for address in [server.address, server.grpc] {
        let plain = http::ask(address, "GET", "/", None, None).await;
        assert!(
            plain.status == 400 && plain.head.contains("text/plain"),
            "{}",
            plain.head
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart_and_connections_stay() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = start(&first, &[]).await;
    let stays = first.websocket(&server).await;
    assert!(second.connect(server.address, "http/1.1", None).await.is_err());
    second.certify(server.folder());
    // It looks at the files by itself.
    within("the new certificate", async {
        while second.connect(server.address, "http/1.1", None).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(first.connect(server.address, "http/1.1", None).await.is_err());
    grpc(&second, &server).await;
    assert_eq!(is_answered(stays).await, 4004);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_clients_need_a_certificate_they_need_a_token_as_well() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.certify(folder.path());
    let client_ca = folder.path().join("clients.pem");
    fs::write(&client_ca, &clients.pem).unwrap();
    let server = prepared(folder, &[("AETHERFLOW_TLS__CLIENT_CA", client_ca.to_str().unwrap())]).await;
    let good = clients.sign();
    let status = async |shows: Option<&(String, String)>, token: Option<&str>| {
        let stream = authority.connect(server.address, "http/1.1", shows).await.ok()?;
        http::exchange(stream, "GET", "/v1/access", token, "", &[])
            .await
            .map(|answer| answer.status)
    };
    assert_eq!(status(None, Some(&token("owner"))).await, None);
    assert_eq!(status(Some(&authority.sign()), Some(&token("owner"))).await, None);
    assert_eq!(status(Some(&good), Some(&token("owner"))).await, Some(200));
    assert_eq!(
        status(Some(&good), Some("x")).await,
        Some(401),
        "who it is, the token says"
    );
}
