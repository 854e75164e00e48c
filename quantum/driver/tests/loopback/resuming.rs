//! The second visit.

use quantum::{ChannelId, SendOptions};

use crate::pair::{NAME, Pair, until, within};

#[tokio::test]
async fn an_early_message_arrives_before_the_handshake_is_over() {
    within(async {
        let pair = Pair::new();
        let (first, accepted) = pair.connect().await;
        assert_eq!(first.early_accepted(), None);
        // The ticket comes right behind the handshake; an answer behind the ticket.
        accepted
            .send(ChannelId(0), SendOptions::default(), "welcome".into())
            .await
            .unwrap();
        first.recv().await.unwrap();
        first.finish().await;
        until(|| pair.client.connections() == 0).await;

        let second = pair.client.connect_early(&pair.options, pair.addr(), NAME).unwrap();
        let early = SendOptions {
            replay_safe: true,
            ..SendOptions::interactive()
        };
        second.send(ChannelId(0), early, "early".into()).await.unwrap();
        second
            .send(ChannelId(1), SendOptions::interactive(), "later".into())
            .await
            .unwrap();
        let accepted = pair.server.accept().await.unwrap();
        let message = accepted.recv().await.unwrap();
        assert_eq!((message.channel, &*message.data), (ChannelId(0), &b"early"[..]));
        second.established().await.unwrap();
        assert_eq!(second.early_accepted(), Some(true));
        accepted.established().await.unwrap();
        assert_eq!(accepted.recv().await.unwrap().data, "later");
    })
    .await;
}

#[tokio::test]
async fn without_an_earlier_visit_what_is_queued_early_waits() {
    within(async {
        let pair = Pair::new();
        let connection = pair.client.connect_early(&pair.options, pair.addr(), NAME).unwrap();
        let early = SendOptions {
            replay_safe: true,
            ..SendOptions::default()
        };
        connection.send(ChannelId(0), early, "queued".into()).await.unwrap();
        let accepted = pair.server.accept().await.unwrap();
        assert_eq!(accepted.recv().await.unwrap().data, "queued");
        assert_ne!(connection.early_accepted(), Some(true));
    })
    .await;
}
