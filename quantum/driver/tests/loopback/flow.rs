//! A sender waits for a reader that is slow, and memory stays bounded.

use quantum::{ChannelId, SendError, SendMessageError, SendOptions, TransportConfig};

use crate::pair::{Pair, message, number, server_options, until, within};

const SIZE: usize = 10_000;
const BUFFER: usize = 200_000;
const WINDOW: u32 = 300_000;

fn narrow() -> Pair {
    let mut options = server_options();
    options.transport.max_message = 20_000;
    options.transport.receive_window = WINDOW;
    options.transport.channel_window = WINDOW;
    Pair::with(
        &options,
        TransportConfig {
            send_buffer: BUFFER,
            ..TransportConfig::default()
        },
    )
}

/// What a message costs of buffer and window: four bytes say which it is, and 32 are those of SPEC.md section 5.
const COST: usize = SIZE + 4 + 32;
/// Messages until a sender is stuck whose reader does not read: the window is full of them, and the buffer of others.
const FULL: u32 = (WINDOW as usize / COST + BUFFER / COST) as u32;

/// Queues messages until the sender is stuck; returns how many.
async fn fill(connection: &quantum::Connection) -> u32 {
    let mut count = 0;
    let mut offer = || match connection.try_send(ChannelId(0), SendOptions::bulk(), message(count, SIZE)) {
        Ok(()) => {
            count += 1;
            count
        }
        Err(error) => {
            assert_eq!(error, SendMessageError::Refused(SendError::Blocked));
            count
        }
    };
    // A sender that waits is only woken when much room is there; who tries finds the last bit of it.
    until(|| offer() == FULL).await;
    // What has arrived makes no room for more.
    until(|| connection.stats().in_flight == 0).await;
    assert_eq!(offer(), FULL, "more than buffer and window hold");
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_waits_until_the_reader_reads() {
    within(async {
        let pair = narrow();
        let (client, server) = pair.connect().await;
        let taken = fill(&client).await;
        let sending = tokio::spawn(async move {
            for n in taken..taken + 200 {
                client
                    .send(ChannelId(0), SendOptions::bulk(), message(n, SIZE))
                    .await
                    .unwrap();
            }
            client.finish().await
        });
        for n in 0..taken + 200 {
            assert_eq!(number(&server.recv().await.unwrap().data), n);
        }
        sending.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_waiting_senders_all_get_their_turn() {
    within(async {
        let pair = narrow();
        let (client, server) = pair.connect().await;
        let before = fill(&client).await;
        let senders: Vec<_> = (0..100)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move { client.send(ChannelId(0), SendOptions::bulk(), message(n, SIZE)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let mut seen = Vec::new();
        for at in 0..before + 100 {
            let number = number(&server.recv().await.unwrap().data);
            if at >= before {
                seen.push(number);
            }
        }
        for sender in senders {
            sender.await.unwrap().unwrap();
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_hears_that_the_connection_is_over() {
    within(async {
        let pair = narrow();
        let (client, server) = pair.connect().await;
        let next = fill(&client).await;
        let waiting = {
            let client = client.clone();
            tokio::spawn(async move {
                client
                    .send(ChannelId(0), SendOptions::bulk(), message(next, SIZE))
                    .await
            })
        };
        let reading = {
            let client = client.clone();
            tokio::spawn(async move { client.recv().await })
        };
        drop(server);
        let over = client.closed().await;
        assert_eq!(waiting.await.unwrap(), Err(SendMessageError::Connection(over.clone())));
        assert_eq!(reading.await.unwrap(), Err(over));
        until(|| pair.client.connections() == 0).await;
    })
    .await;
}
