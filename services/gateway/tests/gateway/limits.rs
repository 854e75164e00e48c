//! How much one client may use up.

use aetherflow_schema::{documents::PeerFrame, repo::Message};
use bytes::Bytes;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tokio_tungstenite::tungstenite::Error;

use crate::{
    client::{Client, open},
    server::{DEADLINE, Server, document, until},
};

fn sync(bytes: &Bytes) -> PeerFrame {
    PeerFrame::Sync {
        document: document(1),
        message: bytes.clone(),
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_dropped_with_its_reason_and_hurts_nobody() {
    let server = Server::with(|options| options.limits.queue_bytes = 1 << 20).await;
    let mut slow = Client::join(&server, "slow").await;
    let mut quick = Client::join(&server, "quick").await;
    for client in [&mut slow, &mut quick] {
        client.sync(&document(1), "open").await;
        until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    }
    until("both", || server.documents.sinks(&document(1)).len() == 2).await;
    let [slow_sink, quick_sink] = server.documents.sinks(&document(1)).try_into().ok().unwrap();
    let data = Bytes::from(vec![7; 100_000]);
    let mut sent = 0;
    // The system buffers some megabytes of its own.
    while slow_sink.deliver(sync(&data)) {
        sent += 1;
        assert!(sent < 1000, "the queue has no bound");
        tokio::task::yield_now().await;
    }
    assert!(!slow_sink.is_open());
    assert!(quick_sink.deliver(sync(&data)));
    let frame = quick.receive().await;
    assert_eq!(Message::decode(&frame).unwrap().kind(), "sync");
    assert_eq!(slow.closed().await.0, 4005);
}

#[tokio::test]
async fn one_message_larger_than_the_queue_is_delivered() {
    let server = Server::with(|options| options.limits.queue_bytes = 1 << 10).await;
    let mut client = Client::join(&server, "ada").await;
    client.sync(&document(1), "open").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    let large = Bytes::from(vec![7; 12 << 20]);
    assert!(server.documents.sinks(&document(1))[0].deliver(sync(&large)));
    let frame = client.receive().await;
    let Message::Sync { data, .. } = Message::decode(&frame).unwrap() else {
        panic!("not a sync message")
    };
    assert!(data == large);
}

#[tokio::test]
async fn a_connection_opens_so_many_documents_and_no_more() {
    let server = Server::with(|options| options.limits.documents_per_connection = 3).await;
    let mut client = Client::join(&server, "ada").await;
    for n in [1, 2, 3, 1, 2, 3, 4] {
        client.sync(&document(n), "open").await;
    }
    assert_eq!(client.closed().await.0, 4006);
    until("all to be closed", || server.metric("open_documents") == 0).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let server = Server::with(|options| {
        options.limits.connections_per_address = 2;
        options.limits.count_loopback = true;
    })
    .await;
    let first = Client::join(&server, "one").await;
    let _second = Client::join(&server, "two").await;
    match open(server.address, "/").await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 429),
        Err(Error::Io(_)) => {}
        other => panic!("{other:?}"),
    }
    drop(first);
    until("one to go", || server.metric("connections") == 1).await;
    Client::join(&server, "three").await;
    assert!(server.metric("refused_connections_total") >= 1);
}

#[tokio::test]
async fn there_are_so_many_connections_in_all_and_no_more() {
    let server = Server::with(|options| options.limits.connections = 2).await;
    let _clients = [Client::join(&server, "one").await, Client::join(&server, "two").await];
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let mut bytes = vec![];
    let end = timeout(DEADLINE, third.read_to_end(&mut bytes)).await;
    drop(end.expect("the server to close"));
    assert!(bytes.is_empty());
}

#[tokio::test]
async fn a_client_that_pings_and_does_not_read_costs_nothing() {
    let server = Server::with(|options| options.limits.queue_bytes = 1 << 20).await;
    let mut client = Client::join(&server, "ada").await;
    use tokio_tungstenite::tungstenite::Message as Frame;
    for n in 0..50_000u32 {
        client.send_frame(Frame::Ping(n.to_be_bytes().to_vec().into())).await;
    }
    client.sync(&document(1), "the end").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
}
