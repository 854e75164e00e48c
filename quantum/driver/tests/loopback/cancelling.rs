//! A future that is dropped has done nothing, or all.

use std::time::Duration;

use quantum::{ChannelId, SendOptions, TransportConfig};

use crate::pair::{Pair, message, number, server_options, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_and_receiving_in_select_loops_loses_and_repeats_nothing() {
    const COUNT: u32 = 2000;
    within(async {
        let mut options = server_options();
        options.transport.max_message = 10_000;
        options.transport.receive_window = 50_000;
        let pair = Pair::with(
            &options,
            TransportConfig {
                send_buffer: 30_000,
                ..TransportConfig::default()
            },
        );
        let (client, server) = pair.connect().await;
        let sending = tokio::spawn(async move {
            let (mut n, mut cancelled) = (0, 0);
            while n < COUNT {
                tokio::select! {
                    sent = client.send(ChannelId(0), SendOptions::default(), message(n, 2000)) => {
                        sent.unwrap();
                        n += 1;
                    }
                    () = tokio::time::sleep(Duration::from_micros(50)) => cancelled += 1,
                    () = tokio::task::yield_now(), if n % 2 == 0 => cancelled += 1,
                }
            }
            client.finish().await;
            cancelled
        });
        let (mut next, mut cancelled) = (0, 0);
        while next < COUNT {
            tokio::select! {
                message = server.recv() => {
                    assert_eq!(number(&message.unwrap().data), next);
                    next += 1;
                }
                () = tokio::task::yield_now() => cancelled += 1,
            }
        }
        assert!(
            cancelled > 0 && sending.await.unwrap() > 0,
            "nothing was cancelled: not a test"
        );
        assert!(server.recv().await.is_err(), "one came twice");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepting_in_a_select_loop_loses_no_connection() {
    within(async {
        let pair = Pair::new();
        let connecting = async {
            let mut clients = Vec::new();
            for _ in 0..20 {
                clients.push(
                    pair.client
                        .connect(&pair.options, pair.addr(), crate::pair::NAME)
                        .await
                        .unwrap(),
                );
            }
            clients
        };
        let accepting = async {
            let mut accepted = Vec::new();
            while accepted.len() < 20 {
                tokio::select! {
                    connection = pair.server.accept() => accepted.push(connection.unwrap()),
                    () = tokio::time::sleep(Duration::from_micros(100)) => {}
                }
            }
            accepted
        };
        let (clients, accepted) = tokio::join!(connecting, accepting);
        assert_eq!((clients.len(), accepted.len()), (20, 20));
    })
    .await;
}
