//! Many connections at once.

use quantum::{ChannelId, SendOptions};
use tokio::task::JoinSet;

use crate::pair::{NAME, Pair, echo, message, number, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_at_the_same_time() {
    within(async {
        let pair = Pair::new();
        let server = pair.server.clone();
        tokio::spawn(async move {
            while let Some(connection) = server.accept().await {
                tokio::spawn(echo(connection));
            }
        });
        let mut clients = JoinSet::new();
        for n in 0..200 {
            let (client, options, addr) = (pair.client.clone(), pair.options.clone(), pair.addr());
            clients.spawn(async move {
                let connection = client.connect(&options, addr, NAME).await.unwrap();
                for part in 0..5 {
                    let data = message(n * 5 + part, 3000);
                    connection
                        .send(ChannelId(0), SendOptions::interactive(), data)
                        .await
                        .unwrap();
                }
                for part in 0..5 {
                    assert_eq!(number(&connection.recv().await.unwrap().data), n * 5 + part);
                }
                connection.finish().await;
            });
        }
        clients.join_all().await;
        until(|| pair.client.connections() == 0 && pair.server.connections() == 0).await;
    })
    .await;
}
