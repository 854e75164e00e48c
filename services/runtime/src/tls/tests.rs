//! Real sockets and real certificates.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// An authority, and what it signs.
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
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A certificate and its key, as PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Trusts this authority, and shows a certificate if there is one.
    fn client(&self, shows: Option<&(String, String)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        match shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }
}

fn write(folder: &Path, pair: &(String, String)) {
    fs::write(folder.join("cert.pem"), &pair.0).unwrap();
    fs::write(folder.join("key.pem"), &pair.1).unwrap();
}

fn options(folder: &TempDir) -> TlsOptions {
    TlsOptions {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        ..TlsOptions::default()
    }
}

/// Connects once: what the server gets, and what the client does.
async fn meet(
    tls: &Arc<Tls>,
    client: ClientConfig,
) -> (Result<Stream, HandshakeError>, io::Result<TlsStream<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0;
    let name = ServerName::try_from("localhost").unwrap();
    tokio::join!(tls.accept(accepted, Speech::Http1), connector.connect(name, stream))
}

#[tokio::test]
async fn each_file_that_is_no_good_is_named_with_what_is_wrong() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let pair = authority.sign("localhost");
    let complaint = |options: &TlsOptions| Tls::open(options).err().unwrap().to_string();
    let named = options(&folder);
    assert!(complaint(&named).contains("`tls.cert`") && complaint(&named).contains("cert.pem cannot be read"));
    fs::write(&named.cert, &pair.0).unwrap();
    assert!(complaint(&named).contains("`tls.key`"));
    fs::write(&named.key, &pair.0).unwrap();
    assert!(
        complaint(&named).contains("holds no private key"),
        "{}",
        complaint(&named)
    );
    fs::write(&named.key, authority.sign("localhost").1).unwrap();
    assert!(
        complaint(&named).contains("cannot be used with"),
        "{}",
        complaint(&named)
    );
    write(folder.path(), &pair);
    let with_authority = TlsOptions {
        client_ca: named.key.clone(),
        ..named.clone()
    };
    assert!(complaint(&with_authority).contains("`tls.client_ca`"));
    assert!(Tls::open(&named).unwrap().is_some());
    assert!(Tls::open(&TlsOptions::default()).unwrap().is_none());
}

#[tokio::test]
async fn a_certificate_that_changes_counts_for_connections_to_come() {
    let (first, second) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &first.sign("localhost"));
    let tls = Tls::open(&options(&folder)).unwrap().unwrap();
    let (server, client) = meet(&tls, first.client(None)).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    assert!(meet(&tls, second.client(None)).await.1.is_err());

    fs::write(folder.path().join("cert.pem"), "no certificate").unwrap();
    assert!(tls.reload().is_err());
    assert!(
        meet(&tls, first.client(None)).await.0.is_ok(),
        "that of before still counts"
    );
    write(folder.path(), &second.sign("localhost"));
    tls.reload().unwrap();
    assert!(meet(&tls, second.client(None)).await.0.is_ok());
    assert!(meet(&tls, first.client(None)).await.1.is_err());

    client.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn clients_need_a_certificate_where_one_is_asked_for() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &servers.sign("localhost"));
    let client_ca = folder.path().join("clients.pem");
    fs::write(&client_ca, &clients.pem).unwrap();
    let options = TlsOptions {
        client_ca,
        ..options(&folder)
    };
    let tls = Tls::open(&options).unwrap().unwrap();
    let good = clients.sign("a client");
    assert!(meet(&tls, servers.client(Some(&good))).await.0.is_ok());
    let bad = servers.sign("somebody else's");
    for shows in [None, Some(&bad)] {
        assert!(matches!(
            meet(&tls, servers.client(shows)).await.0,
            Err(HandshakeError::Failed(_))
        ));
    }
}

#[tokio::test]
async fn whoever_speaks_no_tls_is_told_and_whoever_says_nothing_is_not_waited_for() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &authority.sign("localhost"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = async || {
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    };
    let tls = Tls::open(&options(&folder)).unwrap().unwrap();
    let (mut client, accepted) = connect().await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let told = async {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let (result, answer) = tokio::join!(tls.accept(accepted, Speech::Http1), told);
    assert!(matches!(result, Err(HandshakeError::NotTls)));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400") && head.contains(&format!("Content-Length: {}", body.len())));
    assert!(body.contains("https://"), "{body}");

    let impatient = TlsOptions {
        handshake_ms: 20,
        handshakes: 1,
        ..options(&folder)
    };
    let tls = Tls::open(&impatient).unwrap().unwrap();
    let (silent, accepted) = connect().await;
    let result = tls.accept(accepted, Speech::Http1).await;
    assert!(matches!(result, Err(HandshakeError::Late)));
    // One that has begun and does not go on keeps the only place, until it is late.
    let (mut slow, accepted) = connect().await;
    slow.write_all(&[HANDSHAKE, 3, 1]).await.unwrap();
    let result = tls.accept(accepted, Speech::Http1).await;
    assert!(matches!(result, Err(HandshakeError::Late)));
    drop((silent, slow));
    assert_eq!(tls.slots.available_permits(), 1);
}

/// Echoes through a [`Wire`] until the client ends.
fn echo(stream: Stream) -> JoinHandle<()> {
    let mut wire = Wire::from(stream);
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        loop {
            std::future::poll_fn(|context| wire.poll_read_ready(context)).await;
            let read = match wire.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            };
            let mut written = 0;
            while written < read || wire.has_unsent() {
                let (first, second) = buffer[written..read].split_at((read - written) / 2);
                let parts = [io::IoSlice::new(first), io::IoSlice::new(second)];
                let result = match written < read {
                    true => wire.try_write_vectored(&parts),
                    false => wire.flush().map(|()| 0),
                };
                match result {
                    Ok(more) => written += more,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                std::future::poll_fn(|context| wire.poll_write_ready(context)).await;
                tokio::task::yield_now().await;
            }
        }
        wire.close_write().unwrap();
    })
}

#[tokio::test]
async fn bytes_come_through_a_wire_whole_and_in_order_however_slowly_they_are_taken() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &authority.sign("localhost"));
    let tls = Tls::open(&options(&folder)).unwrap().unwrap();
    let (server, client) = meet(&tls, authority.client(None)).await;
    let echo = echo(server.unwrap());
    let (mut read, mut write) = tokio::io::split(client.unwrap());
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n / 7 % 251) as u8).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        for piece in copy.chunks(100_003) {
            write.write_all(piece).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    read.read_to_end(&mut heard).await.unwrap();
    assert!(heard == sent, "{} of {}", heard.len(), sent.len());
    writing.await.unwrap();
    echo.await.unwrap();
}
