//! How connections and endpoints end, and that nothing is left of them.

use quantum::{ChannelId, CloseCode, ConnectError, ConnectionError, EndpointError, SendMessageError, SendOptions};
use tokio::runtime::Handle;

use crate::pair::{NAME, Pair, message, number, server_options, until, within};

fn code(error: &ConnectionError) -> CloseCode {
    match error {
        ConnectionError::ClosedByPeer(error) => error.code,
        error => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finishing_delivers_everything() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        for n in 0..60 {
            client
                .send(ChannelId(n % 5), SendOptions::bulk(), message(n, 16_000))
                .await
                .unwrap();
        }
        let finishing = {
            let client = client.clone();
            tokio::spawn(async move { client.finish().await })
        };
        // Nothing is read before the connection is over.
        assert_eq!(finishing.await.unwrap(), ConnectionError::Closed);
        assert_eq!(code(&server.closed().await), CloseCode::NO_ERROR);
        let mut seen = Vec::new();
        let error = loop {
            match server.recv().await {
                Ok(message) => seen.push(number(&message.data)),
                Err(error) => break error,
            }
        };
        seen.sort_unstable();
        assert_eq!(seen, (0..60).collect::<Vec<_>>());
        assert_eq!(code(&error), CloseCode::NO_ERROR);
        let late = client.send(ChannelId(0), SendOptions::default(), "late".into()).await;
        assert_eq!(late, Err(SendMessageError::Connection(ConnectionError::Closed)));
    })
    .await;
}

#[tokio::test]
async fn the_last_handle_closes() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        let channel = client.channel(ChannelId(1), SendOptions::default());
        drop(client);
        channel.send("still open".into()).await.unwrap();
        assert_eq!(server.recv().await.unwrap().data, "still open");
        drop(channel);
        assert_eq!(code(&server.recv().await.unwrap_err()), CloseCode::NO_ERROR);
    })
    .await;
}

#[tokio::test]
async fn a_code_and_its_reason_reach_the_peer() {
    within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        server.close(CloseCode::application(7), "enough");
        match client.closed().await {
            ConnectionError::ClosedByPeer(error) => {
                assert_eq!((error.code, &*error.reason), (CloseCode::application(7), "enough"));
            }
            error => panic!("{error}"),
        }
        assert_eq!(server.closed().await, ConnectionError::Closed);
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_closes_ends_all_and_takes_no_more() {
    within(async {
        let pair = Pair::new();
        let (first, _server) = pair.connect().await;
        let (second, _other) = pair.connect().await;
        pair.server.close(CloseCode::application(1), "maintenance");
        assert!(pair.server.accept().await.is_none());
        assert_eq!(code(&first.closed().await), CloseCode::application(1));
        assert_eq!(code(&second.closed().await), CloseCode::application(1));
        let refused = pair.client.connect(&pair.options, pair.addr(), NAME).await;
        match refused {
            Err(EndpointError::Connection(error)) => assert_eq!(code(&error), CloseCode::REFUSED),
            other => panic!("{other:?}"),
        }
        pair.server.wait_idle().await;
        pair.client.close(CloseCode::NO_ERROR, "");
        pair.client.wait_idle().await;
        assert_eq!((pair.server.connections(), pair.client.connections()), (0, 0));
        let refused = pair.client.connect(&pair.options, pair.addr(), NAME).await;
        assert!(
            matches!(refused, Err(EndpointError::Connect(ConnectError::Full))),
            "{refused:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn connections_outlive_their_endpoints_and_then_nothing_is_left() {
    within(async {
        let idle = Handle::current().metrics().num_alive_tasks();
        let (client, server) = {
            let pair = Pair::new();
            pair.connect().await
        };
        client
            .send(ChannelId(0), SendOptions::default(), message(1, 50_000))
            .await
            .unwrap();
        assert_eq!(number(&server.recv().await.unwrap().data), 1);
        assert_eq!(client.finish().await, ConnectionError::Closed);
        drop((client, server));
        until(|| Handle::current().metrics().num_alive_tasks() == idle).await;
    })
    .await;
}

#[tokio::test]
async fn an_unused_endpoint_leaves_nothing() {
    within(async {
        let idle = Handle::current().metrics().num_alive_tasks();
        drop(Pair::new());
        until(|| Handle::current().metrics().num_alive_tasks() == idle).await;
    })
    .await;
}

#[tokio::test]
async fn who_waits_in_vain_to_be_accepted_is_refused() {
    within(async {
        let mut options = server_options();
        options.accept_queue = 1;
        let pair = Pair::with(&options, Default::default());
        let waiting = pair.client.connect(&pair.options, pair.addr(), NAME).await.unwrap();
        let refused = pair.client.connect(&pair.options, pair.addr(), NAME).await;
        let error = match refused {
            Ok(connection) => connection.closed().await,
            Err(EndpointError::Connection(error)) => error,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(code(&error), CloseCode::REFUSED);
        let accepted = pair.server.accept().await.unwrap();
        waiting
            .send(ChannelId(0), SendOptions::default(), "hello".into())
            .await
            .unwrap();
        assert_eq!(accepted.recv().await.unwrap().data, "hello");
    })
    .await;
}

#[test]
fn a_runtime_that_shuts_down_leaves_nobody_waiting() {
    let (ours, theirs) = (
        tokio::runtime::Runtime::new().unwrap(),
        tokio::runtime::Runtime::new().unwrap(),
    );
    let (client, _server, _pair) = theirs.block_on(within(async {
        let pair = Pair::new();
        let (client, server) = pair.connect().await;
        (client, server, pair)
    }));
    theirs.shutdown_background();
    let error = ours.block_on(within(client.recv())).unwrap_err();
    assert!(matches!(error, ConnectionError::Transport(_)), "{error}");
}
