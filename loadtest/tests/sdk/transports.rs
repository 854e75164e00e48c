//! Which transport is taken, and whom it trusts.

use std::time::Duration;

use aetherflow_client::{Carrier, Client, Fallback, Link, Options, Status, SubmitError, Timeouts, Trust};
use aetherflow_loadtest::server::Server;
use quantum::Identity;
use tokio::{net::UdpSocket, time::timeout};

use super::setup::{WITHIN, fingerprint, impatient, online, over_quantum, put, start, until};

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

/// Other than with TCP no system says that it is gone. The session itself is too patient here to be the one who notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_is_noticed_over_quantum_by_those_who_wait_and_by_those_who_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let hour = Duration::from_secs(3600);
    let options = || Options {
        timeouts: Timeouts {
            answer: hour,
            silence: hour,
            submit: hour,
            ..Timeouts::default()
        },
        ..impatient()
    };
    let clients = [
        over_quantum(&server, options()).await,
        over_quantum(&server, options()).await,
    ];
    let waits = clients[0].create().await.unwrap();
    for client in &clients {
        online(client).await;
    }
    timeout(WITHIN, put(&waits, "before").await).await.unwrap().unwrap();
    let killed = server.kill().await.unwrap();
    let receipt = put(&waits, "after").await;
    for client in &clients {
        let is_lost = |status: &Status| matches!(status.link, Link::Offline { .. });
        let Link::Offline { reason, .. } = until(client.status(), "it is noticed", is_lost).await.link else {
            panic!("not offline");
        };
        assert!(reason.contains("nothing comes back"), "{reason}");
    }
    let server = Server::start(killed).await.unwrap();
    timeout(WITHIN, receipt).await.unwrap().unwrap();
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
