//! Where addresses and options lead, and which servers are spoken to over TLS.

use std::sync::Arc;

use ::quantum::{CertificateDer, Fingerprint};
use aetherflow_schema::close::CloseCode;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;

use super::*;
use crate::options::Trust;

fn options(trust: Trust, fallback: Fallback) -> Options {
    Options {
        trust,
        fallback,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_fallback_is_a_websocket() {
    let address = "quantum://localhost".parse().unwrap();
    let with = |fallback: &str| {
        let trust = Trust::Fingerprints(vec![Fingerprint::of(b"any")]);
        new(&address, &options(trust, Fallback::At(fallback.to_owned()))).err()
    };
    assert!(with("ws://localhost").is_none());
    let error = with("quantum://localhost");
    assert!(matches!(error, Some(ConnectError::Option { field: "fallback", .. })));
    assert!(matches!(with("nonsense"), Some(ConnectError::Address(_))));
}

/// A server that says everything again, by TLS; where it is, and its certificate for `localhost`.
async fn echo() -> (u16, CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Clients that do not trust it go away here.
            if let Ok(stream) = acceptor.accept(stream).await {
                let mut socket = accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    let _ = socket.send(message).await;
                }
            }
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn over_tls_only_servers_that_are_trusted_are_spoken_to() {
    let (port, certificate) = echo().await;
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pin = Fingerprint::of(&certificate);
    for (trust, host, is_trusted) in [
        (Trust::Fingerprints(vec![pin]), "localhost", true),
        // Whatever names stand in it.
        (Trust::Fingerprints(vec![pin]), "127.0.0.1", true),
        (
            Trust::Fingerprints(vec![Fingerprint::of(other.cert.der())]),
            "localhost",
            false,
        ),
        (Trust::Roots(vec![certificate.clone()]), "localhost", true),
        (Trust::Roots(vec![certificate.clone()]), "127.0.0.1", false),
        (Trust::Roots(vec![other.cert.der().clone()]), "localhost", false),
    ] {
        let address = format!("wss://{host}:{port}").parse().unwrap();
        let transport = new(&address, &options(trust.clone(), Fallback::None)).unwrap();
        match transport.dial().await {
            Ok(connection) => {
                assert!(is_trusted, "{trust:?} at {host}");
                let said = Bytes::from_static(b"hello");
                connection.clone().send(None, said.clone()).await.unwrap();
                assert_eq!(connection.clone().receive().await.unwrap(), said);
                connection.close(CloseCode::Normal).await;
            }
            Err(parting) => {
                assert!(!is_trusted, "{trust:?} at {host}: {parting:?}");
                assert!(parting.reason.contains("certificate"), "{parting:?}");
            }
        }
    }
}
