//! Stopping.

use aetherflow_schema::{documents::PeerFrame, repo::Message};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    client::Client,
    http_client::get,
    server::{DEADLINE, Server, document, until},
};

#[tokio::test]
async fn clients_are_let_go_after_what_they_sent_and_were_sent_is_done() {
    let mut server = Server::start().await;
    assert_eq!(get(server.admin_address, "/readyz").await.status, 200);
    let mut client = Client::join(&server, "ada").await;
    let mut idle = Client::join(&server, "idle").await;
    client.sync(&document(1), "open").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    server.documents.hold(&document(1));
    client.sync(&document(1), "one").await;
    client.sync(&document(1), "two").await;
    client.sync(&document(2), "read").await;
    until("all to be read", || !server.documents.received(&document(2)).is_empty()).await;

    server.shutdown.trigger();
    idle.hung_up().await;
    until("unready", || !server.health.is_ready()).await;
    assert_eq!(get(server.admin_address, "/readyz").await.status, 503);
    assert_eq!(get(server.admin_address, "/healthz").await.status, 200);
    until("nobody to be let in", || {
        std::net::TcpStream::connect(server.address).is_err()
    })
    .await;

    // The reply to what was received still gets through.
    let sink = server.documents.sinks(&document(1)).remove(0);
    assert!(sink.deliver(PeerFrame::Unavailable { document: document(1) }));
    server.documents.release();
    let frame = client.receive().await;
    assert_eq!(Message::decode(&frame).unwrap().kind(), "doc-unavailable");
    client.hung_up().await;
    assert_eq!(server.documents.received(&document(1)), ["open", "one", "two"]);
    let left = timeout(DEADLINE, &mut server.stopped).await.unwrap().unwrap();
    assert_eq!(left, 0);
    assert!(TcpStream::connect(server.admin_address).await.is_err());
}

#[tokio::test]
async fn a_server_without_clients_stops_at_once() {
    let mut server = Server::start().await;
    let _idle_http = TcpStream::connect(server.address).await.unwrap();
    server.shutdown.trigger();
    let left = timeout(DEADLINE / 4, &mut server.stopped).await.unwrap().unwrap();
    assert_eq!(left, 0);
}
