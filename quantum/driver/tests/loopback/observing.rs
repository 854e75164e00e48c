//! What can be seen of connections: counters and qlogs.

use quantum::{ChannelId, QlogFolder, SendOptions, TransportConfig};

use crate::pair::{Pair, message, server_options, until, within};

#[tokio::test]
async fn what_connections_have_done_is_not_forgotten_with_them() {
    within(async {
        let pair = Pair::new();
        let mut before = 0;
        for round in 1..=3 {
            let (client, server) = pair.connect().await;
            client
                .send(ChannelId(0), SendOptions::default(), message(round, 500))
                .await
                .unwrap();
            server.recv().await.unwrap();
            assert_eq!(pair.server.survey().connections.len(), 1);
            client.finish().await;
            drop(server);
            until(|| pair.server.connections() == 0).await;
            let survey = pair.server.survey();
            assert!(survey.connections.is_empty());
            let total = survey.total();
            assert_eq!(total.messages_received, u64::from(round));
            assert!(total.packets_received > before);
            before = total.packets_received;
        }
    })
    .await;
}

/// More often than there are other packets when nobody speaks.
#[tokio::test]
async fn a_ping_is_answered() {
    within(async {
        let transport = TransportConfig {
            keep_alive: None,
            ..Default::default()
        };
        let pair = Pair::with(&server_options(), transport);
        let (client, _server) = pair.connect().await;
        for _ in 0..50 {
            let before = client.stats().packets_received;
            client.ping();
            until(|| client.stats().packets_received > before).await;
        }
    })
    .await;
}

#[tokio::test]
async fn both_ends_of_a_connection_are_logged_to_the_end() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let qlog = QlogFolder::open(&folder.path().join("qlog")).unwrap();
        let mut options = server_options();
        options.qlog = Some(qlog.clone());
        let mut pair = Pair::with(&options, Default::default());
        pair.options = pair.options.with_qlog(qlog);
        let (client, server) = pair.connect().await;
        client
            .send(ChannelId(0), SendOptions::default(), message(1, 5_000))
            .await
            .unwrap();
        server.recv().await.unwrap();
        client.finish().await;
        drop((client, server));
        until(|| pair.server.connections() + pair.client.connections() == 0).await;
        let read = |side: &str| -> Vec<String> {
            let files = std::fs::read_dir(folder.path().join("qlog")).unwrap();
            let names = files.map(|file| file.unwrap().path());
            let mut named = names.filter(|path| path.to_string_lossy().ends_with(&format!(".{side}.sqlog")));
            let (Some(path), None) = (named.next(), named.next()) else {
                return Vec::new();
            };
            let text = std::fs::read_to_string(path).unwrap();
            text.split_terminator('\n').map(str::to_owned).collect()
        };
        for side in ["client", "server"] {
            until(|| read(side).iter().any(|record| record.contains("connection_closed"))).await;
            let records = read(side);
            assert!(records.len() > 10, "{records:?}");
            assert!(records[0].contains("\"qlog_version\""));
            assert!(
                records
                    .iter()
                    .all(|record| record.starts_with('\u{1e}') && record.ends_with('}'))
            );
            assert!(records.iter().any(|record| record.contains("packet_received")));
        }
    })
    .await;
}
