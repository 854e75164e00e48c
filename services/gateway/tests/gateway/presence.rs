//! Who is here: presence belongs to sessions, whatever their protocol and connections.

use std::sync::atomic::Ordering;

use aetherflow_schema::{
    document_log::Offered,
    id::{DocumentId, Offset},
    native::{
        ClientFrame,
        wire::{PresenceChange, server_frame::Kind},
    },
    presence::Presence,
    sessions::{SessionFilter, SessionInfo, SessionState},
};
use uuid::Uuid;

use crate::{
    client::Client,
    ledger::tell,
    native_carrier,
    native_client::{NativeClient, hello_taking, presence, resume, subscribe},
    server::{Server, document, until},
};

/// Who is here, by the states they show.
fn here(server: &Server, document: &DocumentId) -> Vec<String> {
    let here = server.presence.here(document);
    here.iter()
        .map(|event| String::from_utf8(event.state.to_vec()).unwrap())
        .collect()
}

fn session(server: &Server) -> SessionInfo {
    server
        .sessions
        .page(&SessionFilter::default(), None, 1)
        .sessions
        .remove(0)
}

#[tokio::test]
async fn a_session_is_present_while_its_client_comes_back_and_keeps_its_cursors() {
    let server = Server::start().await;
    let id = document(1);
    let mut ada = NativeClient::welcomed(&server).await;
    ada.say(presence(&id, "typing", 60_000)).await;
    ada.say(subscribe(1, &id, 2)).await;
    ada.settle().await;
    assert_eq!(tell(&server.ledger.sink(&id), &id, 5, 10), Offered::Taken);
    ada.hear_ops().await;
    let welcome = ada.welcome.clone();
    drop(ada);
    until("the connection to be gone", || {
        session(&server).state == SessionState::Disconnecting
    })
    .await;
    assert_eq!(here(&server, &id), ["typing"]);
    assert_eq!(session(&server).cursors, [(id.clone(), Offset(5))].into());

    // On the other transport: the same session, which does not hear of itself.
    let mut again = native_carrier::Client::connect(&server);
    again.say(resume(&welcome.resume_token)).await;
    let (_, Kind::Welcome(welcomed)) = again.hear().await else {
        panic!("not welcomed");
    };
    assert!(welcomed.resumed);
    again.say(subscribe(1, &id, 5)).await;
    again.say(presence(&id, "back", 60_000)).await;
    again.say(ClientFrame::Ping(1)).await;
    let (_, Kind::Pong(_)) = again.hear().await else {
        panic!("it heard of itself");
    };
    assert_eq!(here(&server, &id), ["back"]);
    assert_eq!(session(&server).cursors, [(id.clone(), Offset(5))].into());
    drop(again);
    until("the connection to be gone", || {
        session(&server).state == SessionState::Disconnecting
    })
    .await;
    assert_eq!(session(&server).cursors, [(id.clone(), Offset(5))].into());

    let third = NativeClient::resuming(&server, &welcomed.resume_token).await;
    assert!(third.welcome.resumed);
    third.goodbye().await;
    until("its presence to be over", || here(&server, &id).is_empty()).await;
}

#[tokio::test]
async fn a_connection_that_lost_its_session_does_nothing_to_it() {
    let server = Server::start().await;
    let id = document(1);
    let mut first = NativeClient::welcomed(&server).await;
    first.say(presence(&id, "first", 60_000)).await;
    first.settle().await;
    let mut second = NativeClient::resuming(&server, &first.welcome.resume_token).await;
    second.say(presence(&id, "second", 60_000)).await;
    second.settle().await;
    assert_eq!(first.closed().await.0, 4003);
    assert_eq!(here(&server, &id), ["second"]);
}

#[tokio::test]
async fn nobody_is_present_where_it_may_be_no_longer() {
    let server = Server::start().await;
    let id = document(1);
    let mut ada = NativeClient::welcomed(&server).await;
    // Without a subscription, and without a connection.
    ada.say(presence(&id, "typing", 60_000)).await;
    ada.settle().await;
    drop(ada);
    until("the connection to be gone", || {
        session(&server).state == SessionState::Disconnecting
    })
    .await;
    server.watcher.document_changed(&id);
    assert_eq!(here(&server, &id), ["typing"], "nothing was taken back");
    server.policy.closed.store(true, Ordering::Relaxed);
    server.watcher.document_changed(&id);
    assert_eq!(here(&server, &id), [""; 0]);
}

#[tokio::test]
async fn those_who_follow_a_document_hear_who_is_present() {
    let server = Server::start().await;
    let [mut ada, mut bob] = [
        NativeClient::welcomed(&server).await,
        NativeClient::welcomed(&server).await,
    ];
    let id = document(1);
    ada.say(subscribe(1, &id, 0)).await;
    ada.say(presence(&id, "typing", 60_000)).await;
    assert_eq!(ada.settle().await, [], "nobody hears of itself");
    bob.say(subscribe(1, &id, 0)).await;
    let event = bob.hear_presence().await;
    assert_eq!(event.session_id, ada.welcome.session_id);
    assert_eq!(
        (event.change(), &event.state[..], &*event.principal),
        (PresenceChange::Joined, &b"typing"[..], "anonymous")
    );
    assert!((1..=60_000).contains(&event.ttl_ms));
    ada.say(presence(&id, "reading", 60_000)).await;
    assert_eq!(bob.hear_presence().await.change(), PresenceChange::Updated);
    bob.say(presence(&id, "", 50)).await;
    assert_eq!(ada.hear_presence().await.change(), PresenceChange::Joined);
    let left = ada.hear_presence().await;
    assert_eq!(
        (left.change(), left.ttl_ms),
        (PresenceChange::Left, 0),
        "it was not repeated"
    );
    ada.say(presence(&id, "", 0)).await;
    assert_eq!(bob.hear_presence().await.change(), PresenceChange::Left);
    ada.say(presence(&id, "back", 60_000)).await;
    assert_eq!(bob.hear_presence().await.change(), PresenceChange::Joined);
    assert_eq!(server.metric("native_present"), 1);
    // It is the session's: gone with its end, and not with a connection alone.
    ada.goodbye().await;
    assert_eq!(bob.hear_presence().await.change(), PresenceChange::Left);
    assert_eq!(server.metric("native_present"), 0);

    // Who unsubscribed hears nothing, and who may not read is not heard.
    let mut eve = NativeClient::welcomed(&server).await;
    eve.say(presence(&id, "here", 60_000)).await;
    bob.hear_presence().await;
    bob.say(ClientFrame::Unsubscribe(id.clone())).await;
    bob.settle().await;
    eve.say(presence(&id, "there", 60_000)).await;
    eve.settle().await;
    assert_eq!(bob.settle().await, []);
    server.policy.closed.store(true, Ordering::Relaxed);
    eve.say(presence(&id, "hidden", 60_000)).await;
    eve.settle().await;
    assert_eq!(server.metric("native_present"), 0);
}

/// Somebody who follows a document, and a stock client that has opened it since.
async fn watched(server: &Server) -> (NativeClient, Client) {
    let id = document(1);
    let mut native = NativeClient::welcomed(server).await;
    native.say(subscribe(1, &id, 0)).await;
    native.settle().await;
    let mut stock = Client::join(server, "ada").await;
    stock.sync(&id, "sync").await;
    (native, stock)
}

#[tokio::test]
async fn stock_clients_are_present_where_they_have_documents_open() {
    let server = Server::with(|options| {
        options.timeouts.present_ms = 60_000;
    })
    .await;
    let (mut native, stock) = watched(&server).await;
    let joined = native.hear_presence().await;
    assert_eq!((joined.change(), joined.state.len()), (PresenceChange::Joined, 0));
    assert_eq!(&*joined.principal, "anonymous");
    assert!((1..=60_000).contains(&joined.ttl_ms));
    let session = Uuid::from_slice(&joined.session_id).unwrap();
    let found = server
        .sessions
        .look_up(aetherflow_schema::id::SessionId(session))
        .unwrap();
    assert_eq!(found.client.as_str(), "ada");
    drop(stock);
    assert_eq!(native.hear_presence().await.change(), PresenceChange::Left);
    assert_eq!(server.presence.count(), 0);
}

#[tokio::test]
async fn a_stock_client_that_stays_is_said_to_be_present_again() {
    let server = Server::with(|options| {
        options.timeouts.keepalive_ms = 1_000;
        options.timeouts.present_ms = 4_000;
    })
    .await;
    let (mut native, mut stock) = watched(&server).await;
    assert_eq!(native.hear_presence().await.change(), PresenceChange::Joined);
    // It answers pings while it is read from.
    let again = loop {
        tokio::select! {
            event = native.hear_presence() => break event,
            _ = stock.next() => {}
        }
    };
    assert_eq!(again.change(), PresenceChange::Updated);
}

#[tokio::test]
async fn a_state_that_is_longer_than_a_client_takes_is_not_sent_and_is_counted() {
    let server = Server::start().await;
    let id = document(1);
    let mut ada = NativeClient::welcomed(&server).await;
    let takes_little = hello_taking(1_000);
    let mut bob = NativeClient::connect(&server).await.saying(takes_little).await;
    bob.say(subscribe(1, &id, 0)).await;
    bob.settle().await;
    ada.say(presence(&id, "x".repeat(1_000).leak(), 60_000)).await;
    ada.settle().await;
    assert_eq!(bob.settle().await, []);
    assert_eq!(server.metric("native_presence_dropped_total"), 1);
    ada.say(presence(&id, "short", 60_000)).await;
    assert_eq!(&bob.hear_presence().await.state[..], b"short");
}
