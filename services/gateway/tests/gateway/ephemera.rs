//! Ephemeral messages between clients.

use std::sync::atomic::Ordering;

use aetherflow_schema::repo::Message;

use crate::{
    client::Client,
    server::{Server, document, until},
};

/// Clients that have both documents open.
async fn readers<const N: usize>(server: &Server, names: [&str; N]) -> [Client; N] {
    let mut clients = vec![];
    for name in names {
        let mut client = Client::join(server, name).await;
        for id in [1, 2].map(document) {
            client.sync(&id, "open").await;
        }
        clients.push(client);
    }
    let opened = || [1, 2].map(|n| server.documents.received(&document(n)).len()) == [N, N];
    until("everybody to be there", opened).await;
    clients.try_into().ok().unwrap()
}

/// The count of the next message, which must be an ephemeral one of ada's, addressed to `name`.
async fn next_count(client: &mut Client) -> u64 {
    let frame = client.receive().await;
    let Message::Ephemeral {
        sender,
        target,
        session,
        count,
        ..
    } = Message::decode(&frame).unwrap()
    else {
        panic!("{frame:?}")
    };
    assert_eq!((&*sender, &*target, &*session), ("ada", &*client.name, "a session"));
    count
}

#[tokio::test]
async fn messages_reach_all_others_in_the_order_of_their_author_over_documents() {
    let server = Server::start().await;
    let [mut ada, mut bob, mut eve] = readers(&server, ["ada", "bob", "eve"]).await;
    // A document that is busy does not change the order.
    server.documents.hold(&document(1));
    for count in 1..=100 {
        let id = document(1 + u128::from(count % 2));
        ada.sync(&id, "edit").await;
        ada.ephemeral(&id, count, vec![0x01]).await;
    }
    for reader in [&mut bob, &mut eve] {
        for count in 1..=100 {
            assert_eq!(next_count(reader).await, count);
        }
    }
    server.documents.release();
    // Nothing came back to the author: the first thing she hears is what bob says now.
    bob.name = "bob".to_owned();
    bob.ephemeral(&document(1), 1, vec![0x02]).await;
    let frame = ada.receive().await;
    assert_eq!(Message::decode(&frame).unwrap().sender(), Some("bob"));
    assert!(
        server
            .documents
            .received(&document(1))
            .iter()
            .all(|data| data != "\x01"),
        "nothing is stored"
    );
}

#[tokio::test]
async fn what_receivers_could_not_read_is_dropped_and_the_connection_stays() {
    let server = Server::with(|options| options.limits.ephemeral_bytes = 100).await;
    let [mut ada, mut bob] = readers(&server, ["ada", "bob"]).await;
    let id = document(1);
    ada.ephemeral(&id, 1, vec![0xff]).await;
    ada.ephemeral(&id, 2, vec![]).await;
    ada.ephemeral(&id, 3, vec![0x00; 101]).await;
    ada.ephemeral(&id, 4, vec![0x01]).await;
    assert_eq!(next_count(&mut bob).await, 4);
    assert_eq!(server.metric("ignored_total{reason=\"ephemeral data\"}"), 2);
    assert_eq!(server.metric("ignored_total{reason=\"ephemeral size\"}"), 1);
}

#[tokio::test]
async fn who_may_not_read_a_document_may_not_speak_in_it() {
    let server = Server::start().await;
    let [mut ada, mut bob] = readers(&server, ["ada", "bob"]).await;
    server.policy.closed.store(true, Ordering::Relaxed);
    ada.ephemeral(&document(1), 1, vec![0x01]).await;
    until("it to be ignored", || {
        server.metric("ignored_total{reason=\"ephemeral access\"}") == 1
    })
    .await;
    server.policy.closed.store(false, Ordering::Relaxed);
    ada.ephemeral(&document(1), 2, vec![0x01]).await;
    assert_eq!(next_count(&mut bob).await, 2);
}

#[tokio::test]
async fn who_is_gone_is_forgotten() {
    let server = Server::start().await;
    let [mut ada, bob, mut eve] = readers(&server, ["ada", "bob", "eve"]).await;
    drop(bob);
    until("bob to go", || server.metric("websockets") == 2).await;
    ada.ephemeral(&document(1), 1, vec![0x01]).await;
    assert_eq!(next_count(&mut eve).await, 1);
    assert_eq!(server.metric("ephemera_forwarded_total"), 1);
}
