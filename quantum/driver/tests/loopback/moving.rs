//! Addresses that change, and servers that come back.

use std::net::SocketAddr;

use quantum::{ChannelId, ConnectionError, Endpoint, SendOptions};

use crate::pair::{NAME, Pair, client_options, echo, loopback, message, number, server_options, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_moves_in_mid_transfer_loses_nothing() {
    const COUNT: u32 = 400;
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        let before = server.remote();
        tokio::spawn(echo(server.clone()));
        let sending = {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..COUNT {
                    client
                        .send(ChannelId(0), SendOptions::default(), message(n, 8000))
                        .await
                        .unwrap();
                }
            })
        };
        for n in 0..COUNT {
            if [COUNT / 4, COUNT / 2].contains(&n) {
                pair.client.rebind(loopback()).unwrap();
            }
            assert_eq!(number(&client.recv().await.unwrap().data), n);
        }
        sending.await.unwrap();
        assert_eq!(server.remote(), pair.client.local_addr().unwrap());
        assert_ne!(server.remote(), before);
    })
    .await;
}

#[tokio::test]
async fn who_knows_the_id_of_a_connection_cannot_choose_the_address_that_it_answers_from() {
    within(async {
        // Such a server answers from whichever of its addresses the client spoke to.
        let options = server_options();
        let endpoint = Endpoint::server(&options, "0.0.0.0:0".parse().unwrap()).unwrap();
        let port = endpoint.local_addr().unwrap().port();
        let client = Endpoint::client(loopback()).unwrap();
        let options = client_options(&options);
        let address = |last| SocketAddr::from(([127, 0, 0, last], port));
        let (connection, server) = tokio::join!(client.connect(&options, address(1), NAME), endpoint.accept());
        let (connection, server) = (connection.unwrap(), server.unwrap());
        server.established().await.unwrap();

        let mut forged = b"QUNT\x01\x00".to_vec();
        forged.extend_from_slice(server.id().0.as_bytes());
        forged.extend_from_slice(&[0, 0, 0, 200, 0, 0, 0, 0, 0, 40]);
        forged.extend_from_slice(&[7; 40]);
        let attacker = std::net::UdpSocket::bind(loopback()).unwrap();
        let before = server.stats().packets_rejected;
        attacker.send_to(&forged, address(2)).unwrap();
        until(|| server.stats().packets_rejected > before).await;

        server
            .send(ChannelId(0), SendOptions::default(), message(1, 100))
            .await
            .unwrap();
        assert_eq!(number(&connection.recv().await.unwrap().data), 1);
        // A client takes nothing from addresses that it did not speak to.
        assert_eq!(connection.stats().packets_rejected, 0);
    })
    .await;
}

/// Without a word: its runtime is gone, as after a crash.
#[test]
fn a_server_that_comes_back_with_its_secret_tells_old_clients_at_once() {
    let (ours, theirs) = (
        tokio::runtime::Runtime::new().unwrap(),
        tokio::runtime::Runtime::new().unwrap(),
    );
    let mut options = server_options();
    options.secret = Some([9; 32]);
    let first = theirs.block_on(async { Endpoint::server(&options, loopback()).unwrap() });
    let addr = first.local_addr().unwrap();
    let accepting = theirs.spawn({
        let first = first.clone();
        async move {
            let connection = first.accept().await.unwrap();
            connection
                .send(ChannelId(0), SendOptions::default(), "welcome".into())
                .await
                .unwrap();
            connection
        }
    });
    ours.block_on(within(async {
        let client = Endpoint::client(loopback()).unwrap();
        let connection = client.connect(&client_options(&options), addr, NAME).await.unwrap();
        connection.recv().await.unwrap();
        // Kept: when it is dropped it closes, if anything is left that could.
        let _dead = accepting.await.unwrap();
        theirs.shutdown_background();
        drop(first);
        let mut again = None;
        until(|| {
            again = Endpoint::server(&options, addr).ok();
            again.is_some()
        })
        .await;
        connection
            .send(ChannelId(0), SendOptions::default(), "anybody?".into())
            .await
            .unwrap();
        let idle = quantum::TransportConfig::default().idle_timeout;
        let ended = tokio::time::timeout(idle / 2, connection.closed()).await;
        assert_eq!(ended, Ok(ConnectionError::Reset));
        assert!(again.unwrap().stats().resets > 0);
    }));
}

#[tokio::test]
async fn nobody_there_is_a_timeout() {
    within(async {
        let nobody = std::net::UdpSocket::bind(loopback()).unwrap();
        let client = Endpoint::client(loopback()).unwrap();
        let options = client_options(&server_options());
        let transport = quantum::TransportConfig {
            idle_timeout: std::time::Duration::from_millis(500),
            ..Default::default()
        };
        let options = options.with_transport(transport);
        let silent = client.connect(&options, nobody.local_addr().unwrap(), NAME).await;
        assert!(
            matches!(
                silent,
                Err(quantum::EndpointError::Connection(ConnectionError::TimedOut))
            ),
            "{silent:?}"
        );
        client.wait_idle().await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_on_all_addresses_of_both_families_answers_from_the_right_one() {
    within(async {
        let options = server_options();
        let Ok(server) = Endpoint::server(&options, "[::]:0".parse().unwrap()) else {
            return; // The host has no IPv6.
        };
        let port = server.local_addr().unwrap().port();
        let client = Endpoint::client("[::]:0".parse().unwrap()).unwrap();
        let options = client_options(&options);
        // All of 127.0.0.0/8 is this host: an answer from another address would be ignored.
        for host in ["127.0.0.1", "127.0.0.2", "[::1]"] {
            let addr = format!("{host}:{port}").parse().unwrap();
            let connection = client.connect(&options, addr, NAME).await.unwrap();
            assert_eq!(connection.remote(), addr);
            let accepted = server.accept().await.unwrap();
            accepted
                .send(ChannelId(0), SendOptions::default(), "hello".into())
                .await
                .unwrap();
            assert_eq!(connection.recv().await.unwrap().data, "hello");
        }
    })
    .await;
}
