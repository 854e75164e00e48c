//! Every connection has a session, and is closed with it.

use aetherflow_schema::{
    id::SessionId,
    native::{ClientFrame, wire::server_frame::Kind},
    sessions::{Protocol, SessionFilter, SessionInfo, SessionState, Sessions},
};
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message as Frame;
use uuid::Uuid;

use crate::{
    client::Client,
    native_carrier,
    native_client::{NativeClient, hello, resume},
    server::{Server, until},
};

fn sessions(server: &Server) -> Vec<SessionInfo> {
    server.sessions.page(&SessionFilter::default(), None, 100).sessions
}

#[tokio::test]
async fn a_client_that_comes_back_goes_on_with_its_session() {
    let server = Server::start().await;
    let first = NativeClient::welcomed(&server).await.welcome;
    assert!(!first.resumed && first.limits.unwrap().resume_window_ms == 120_000);
    until("its connection to be gone", || {
        sessions(&server)[0].state == SessionState::Disconnecting
    })
    .await;
    let second = NativeClient::resuming(&server, &first.resume_token).await;
    assert!(second.welcome.resumed);
    assert_eq!(second.welcome.session_id, first.session_id);
    assert_ne!(second.welcome.resume_token, first.resume_token);
    let mut forged = second.welcome.resume_token.to_vec();
    forged[47] ^= 1;
    let third = NativeClient::resuming(&server, &forged.into()).await;
    assert!(!third.welcome.resumed, "nobody guesses a token");
    assert_ne!(third.welcome.session_id, first.session_id);
}

#[tokio::test]
async fn whoever_has_the_token_takes_the_session_over() {
    let server = Server::start().await;
    let mut first = NativeClient::welcomed(&server).await;
    let second = NativeClient::resuming(&server, &first.welcome.resume_token).await;
    assert_eq!(first.closed().await.0, 4003);
    assert_eq!(second.welcome.session_id, first.welcome.session_id);
    assert_eq!(sessions(&server).len(), 1);
}

#[tokio::test]
async fn it_is_the_same_on_a_transport_of_messages() {
    let server = Server::start().await;
    let welcome = NativeClient::welcomed(&server).await.welcome;
    let mut client = native_carrier::Client::connect(&server);
    client.say(resume(&welcome.resume_token)).await;
    let (None, Kind::Welcome(again)) = client.hear().await else {
        panic!("not welcomed");
    };
    assert!(again.resumed && again.session_id == welcome.session_id);
    let found = &sessions(&server)[0];
    assert_eq!(
        (found.protocol, found.peer.unwrap().port()),
        (Protocol::NativeQuantum, 4242)
    );
}

#[tokio::test]
async fn what_is_sent_behind_a_hello_waits_and_a_goodbye_ends_the_session() {
    let server = Server::start().await;
    let mut client = NativeClient::connect(&server).await;
    for frame in [hello(), ClientFrame::Ping(7), hello(), ClientFrame::Ping(8)] {
        client.socket.feed(Frame::Binary(frame.encode())).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let Kind::Welcome(first) = client.hear().await else {
        panic!("not welcomed first");
    };
    assert!(matches!(client.hear().await, Kind::Pong(pong) if pong.nonce == 7));
    let Kind::Welcome(fresh) = client.hear().await else {
        panic!("not welcomed again");
    };
    assert!(matches!(client.hear().await, Kind::Pong(pong) if pong.nonce == 8));
    assert_eq!(fresh.session_id, first.session_id);
    assert_ne!(fresh.resume_token, first.resume_token);
    client.settle().await;
    let found = &sessions(&server)[0];
    assert_eq!((found.state, found.client.as_str()), (SessionState::Active, "laptop"));
    assert!(found.traffic.bytes_in > 0 && found.traffic.packets_out > 0);
    client.goodbye().await;
    until("the session to be over", || sessions(&server).is_empty()).await;
}

#[tokio::test]
async fn a_session_that_is_ended_ends_its_connection() {
    let server = Server::start().await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = SessionId(Uuid::from_slice(&client.welcome.session_id).unwrap());
    server.sessions.delete(id).await.unwrap();
    assert_eq!(client.closed().await.0, 4014);
}

#[tokio::test]
async fn a_stock_client_has_a_session_that_ends_with_its_connection() {
    let server = Server::start().await;
    let client = Client::join(&server, "ada").await;
    let found = sessions(&server);
    assert_eq!((found.len(), found[0].client.as_str()), (1, "ada"));
    assert_eq!(
        (found[0].protocol, found[0].resumable),
        (Protocol::AutomergeRepo, false)
    );
    drop(client);
    until("the session to be over", || sessions(&server).is_empty()).await;
}
