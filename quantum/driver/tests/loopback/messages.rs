//! Every message arrives once, whole, and in the order that was asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quantum::{ChannelId, SendError, SendMessageError, SendOptions};

use crate::pair::{Pair, echo, message, number, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_on_many_channels_keeps_the_order_of_each() {
    const CHANNELS: u32 = 100;
    const EACH: u32 = 20;
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        tokio::spawn(echo(server));
        for channel in 0..CHANNELS {
            let client = client.channel(ChannelId(channel), SendOptions::interactive());
            tokio::spawn(async move {
                for n in 0..EACH {
                    client.send(message(n, (channel * n) as usize)).await.unwrap();
                }
            });
        }
        let mut next = BTreeMap::<ChannelId, u32>::new();
        for _ in 0..CHANNELS * EACH {
            let message = client.recv().await.unwrap();
            let next = next.entry(message.channel).or_default();
            assert_eq!(number(&message.data), *next);
            assert_eq!(message.data.len(), 4 + (message.channel.0 * *next) as usize);
            *next += 1;
        }
        assert_eq!(next.len(), CHANNELS as usize);
        assert_eq!(client.try_recv(), None);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_ordered_messages_on_one_thread() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        let sending = tokio::spawn(async move {
            for n in 0..1000 {
                let sent = client
                    .send(ChannelId(3), SendOptions::default(), message(n, n as usize * 7))
                    .await;
                sent.unwrap();
            }
            client.finish().await
        });
        for n in 0..1000 {
            let message = server.recv().await.unwrap();
            assert_eq!((message.channel, number(&message.data)), (ChannelId(3), n));
        }
        sending.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_unordered_messages_from_several_tasks() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        for task in 0..4 {
            let client = client.clone();
            tokio::spawn(async move {
                for n in (task * 250)..(task * 250 + 250) {
                    let options = SendOptions::bulk().unordered();
                    client.send(ChannelId(0), options, message(n, 3000)).await.unwrap();
                }
            });
        }
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(number(&server.recv().await.unwrap().data)), "twice");
        }
        assert_eq!(seen, (0..1000).collect());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_readers_share_the_messages() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let server = server.clone();
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while let Ok(message) = server.recv().await {
                        seen.push(number(&message.data));
                        tokio::task::yield_now().await;
                    }
                    seen
                })
            })
            .collect();
        for n in 0..500 {
            client
                .send(ChannelId(0), SendOptions::default(), message(n, 10))
                .await
                .unwrap();
        }
        client.finish().await;
        let mut seen = Vec::new();
        for reader in readers {
            seen.extend(reader.await.unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn datagrams_go_both_ways() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        tokio::spawn(async move {
            while let Ok(datagram) = server.recv_datagram().await {
                let _ = server.send_datagram(datagram);
            }
        });
        for n in 0..100 {
            // One may be lost: that is what they are for.
            loop {
                client.send_datagram(message(n, 800)).unwrap();
                let answer = tokio::time::timeout(Duration::from_secs(1), client.recv_datagram()).await;
                if let Ok(answer) = answer
                    && number(&answer.unwrap()) == n
                {
                    break;
                }
            }
        }
        let max = client.max_datagram();
        let error = client.send_datagram(vec![0; max + 1].into()).unwrap_err();
        assert_eq!(
            error,
            SendMessageError::Refused(SendError::TooLarge { bytes: max + 1, max })
        );
    })
    .await;
}

#[tokio::test]
async fn what_the_peer_does_not_take_is_refused_and_the_rest_goes_on() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        let max = quantum::TransportConfig::default().max_message as usize;
        let long = vec![0; max + 1];
        let error = client
            .send(ChannelId(0), SendOptions::default(), long.into())
            .await
            .unwrap_err();
        assert_eq!(
            error,
            SendMessageError::Refused(SendError::TooLarge { bytes: max + 1, max })
        );
        let error = client
            .send(ChannelId(1024), SendOptions::default(), "x".into())
            .await
            .unwrap_err();
        assert_eq!(error, SendMessageError::Refused(SendError::NoSuchChannel { max: 1024 }));
        client
            .send(ChannelId(1023), SendOptions::default(), "".into())
            .await
            .unwrap();
        assert!(server.recv().await.unwrap().data.is_empty());
    })
    .await;
}
