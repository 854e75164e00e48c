//! Which transport is taken, and whom it trusts.

use std::time::Duration;

use aetherflow_client::{Carrier, Client, Fallback, Link, Options, Status, SubmitError, Timeouts, Trust};
use quantum::Identity;
use tokio::{net::UdpSocket, time::timeout};

use super::setup::{WITHIN, fingerprint, impatient, online, put, start, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_does_not_get_through_websocket_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    // Takes packets and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let options = || Options {
        trust: Trust::Fingerprints(vec![fingerprint(&server)]),
        fallback: Fallback::At(format!("ws://{}", server.address())),
        ..impatient()
    };
    let blocked = format!("quantum://{}", silent.local_addr().unwrap());
    let client = Client::connect(&blocked, options()).await.unwrap();
    // Far less than the Quantum handshake is given, and the first attempt.
    let status = timeout(
        Duration::from_secs(8),
        until(client.status(), "online", |status| status.link.is_online()),
    );
    let Link::Online { carrier, .. } = status.await.unwrap().link else {
        panic!("not online");
    };
    assert_eq!(carrier, Carrier::WebSocket);
    let document = client.create().await.unwrap();
    timeout(WITHIN, put(&document, "a").await).await.unwrap().unwrap();
    // Where it does get through, the same options lead to Quantum.
    let address = format!("quantum://{}", server.address());
    let patient = Options {
        timeouts: Timeouts {
            head_start: WITHIN,
            ..Timeouts::default()
        },
        ..options()
    };
    let direct = Client::connect(&address, patient).await.unwrap();
    assert_eq!(online(&direct).await, Carrier::Quantum);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_certificate_is_not_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let other = Identity::self_signed(["localhost"]).unwrap().fingerprint();
    let address = format!("quantum://{}", server.address());
    let options = Options {
        trust: Trust::Fingerprints(vec![other]),
        ..impatient()
    };
    let client = Client::connect(&address, options).await.unwrap();
    let document = client.create().await.unwrap();
    let receipt = put(&document, "secret").await;
    // Tries again and again, and is never online.
    let mut last = None;
    for _ in 0..4 {
        let failed = |status: &Status| match &status.link {
            Link::Offline { retry_at, .. } => last < Some(*retry_at),
            link => link.is_online(),
        };
        match until(client.status(), "another attempt", failed).await.link {
            Link::Offline { reason, retry_at } => {
                assert!(reason.contains("certificate"), "{reason}");
                last = Some(retry_at);
            }
            other => panic!("{other:?}"),
        }
    }
    client.close(Duration::ZERO).await.unwrap_err();
    assert_eq!(receipt.await, Err(SubmitError::Closed));
    assert_eq!(server.verify().await.unwrap().1, 0, "nothing was told");
    server.stop().await.unwrap();
}
