//! The native protocol over WebSocket: being welcome, asking for something, and parting.

use std::sync::{Arc, atomic::Ordering};

use aetherflow_schema::{
    document_log::Offered,
    documents::DocumentError,
    native::{
        ClientFrame, RequestId, SUBPROTOCOL, Submit,
        wire::{self, RejectCode, server_frame::Kind},
    },
};
use bytes::Bytes;
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};

use crate::{
    client::Client,
    ledger::tell,
    native_client::{NativeClient, fetch, hello, submit, subscribe},
    server::{DEADLINE, Server, document, until},
};

#[tokio::test]
async fn a_hello_is_welcomed_with_the_limits_of_the_server() {
    let server = Server::with(|options| {
        options.limits.documents_per_connection = 7;
        options.limits.change_bytes = 5_000;
    })
    .await;
    let mut client = NativeClient::welcomed(&server).await;
    let limits = client.welcome.limits.unwrap();
    assert_eq!((limits.subscriptions, limits.change_bytes), (7, 5_000));
    assert_eq!(client.welcome.session_id.len(), 16);
    assert_eq!(client.welcome.principal, "anonymous");
    client.say(hello()).await;
    let Kind::Welcome(again) = client.hear().await else {
        panic!("not welcomed again");
    };
    assert_eq!(again.session_id, client.welcome.session_id, "the session goes on");
    assert_eq!(server.metric("native_connections"), 1);
    assert_eq!(server.metric("native_frames_received_total{kind=\"hello\"}"), 2);
    drop(client);
    until("the connection to go", || server.metric("native_connections") == 0).await;
}

#[tokio::test]
async fn a_browser_that_names_the_subprotocol_is_answered_with_it() {
    let server = Server::start().await;
    let url = format!("ws://{}/v1/sync", server.address);
    let mut request = url.into_client_request().unwrap();
    let offered = format!("chat, {SUBPROTOCOL}").parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", offered);
    let (_, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
}

#[tokio::test]
async fn who_breaks_the_protocol_is_closed_with_the_code_for_it() {
    let server = Server::with(|options| {
        options.timeouts.join_ms = 200;
        options.limits.frame_bytes = 5_000;
    })
    .await;
    let mut silent = NativeClient::connect(&server).await;
    assert_eq!(silent.closed().await.0, 4001);
    let mut hasty = NativeClient::connect(&server).await;
    hasty.say(ClientFrame::Ping(1)).await;
    assert_eq!(hasty.closed().await.0, 1008);
    for (frame, code) in [
        (Frame::Binary(Bytes::from_static(b"nonsense")), 4004),
        (Frame::Text("hello".into()), 1003),
        (Frame::Binary(vec![0; 5_001].into()), 1009),
    ] {
        let mut client = NativeClient::welcomed(&server).await;
        client.socket.send(frame).await.unwrap();
        assert_eq!(client.closed().await.0, code);
    }
    let mut twice = NativeClient::welcomed(&server).await;
    twice.say(submit(1, &document(1), &["a"])).await;
    twice.say(submit(1, &document(1), &["b"])).await;
    assert_eq!(twice.closed().await.0, 1008);
}

#[tokio::test]
async fn submissions_are_handed_over_in_order_without_waiting_for_receipts() {
    let server = Server::start().await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = document(1);
    for (request, changes) in [(1, &["a", "b"][..]), (2, &["c"]), (3, &["d"])] {
        client.say(submit(request, &id, changes)).await;
    }
    until("all to be handed over", || server.ledger.submitted(&id).len() == 4).await;
    assert_eq!(server.ledger.submitted(&id), ["a", "b", "c", "d"]);
    let session = server.ledger.authors()[0].session;
    assert_eq!(session.0.as_bytes().as_slice(), client.welcome.session_id);
    assert_eq!(client.settle().await, [], "nothing is committed");
    for (request_id, offsets) in [(1, vec![100, 101]), (2, vec![200])] {
        server.ledger.commit(request_id as usize);
        let tier = wire::Tier::Durable.into();
        let receipt = wire::Receipt {
            request_id,
            offsets,
            tier,
        };
        assert_eq!(client.hear().await, Kind::Receipt(receipt));
    }
    assert_eq!(client.settle().await, []);
    // The id of a request that was answered is free again.
    client.say(submit(1, &id, &["e"])).await;
    for (submissions, request_id) in [(3, 3), (4, 1)] {
        server.ledger.commit(submissions);
        assert!(matches!(client.hear().await, Kind::Receipt(receipt) if receipt.request_id == request_id));
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_rejected_with_when_to_retry() {
    let server = Server::with(|options| options.limits.change_bytes = 1_000).await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = document(1);
    for (error, code, retries) in [
        (DocumentError::Overloaded, RejectCode::Overloaded, true),
        (DocumentError::ReadOnly("disk full".into()), RejectCode::ReadOnly, true),
        (DocumentError::Unknown("?".into()), RejectCode::OutcomeUnknown, true),
        (DocumentError::Invalid("no change".into()), RejectCode::Invalid, false),
        (
            DocumentError::Quarantined("poison".into()),
            RejectCode::Quarantined,
            false,
        ),
    ] {
        server.ledger.fail(error.clone());
        client.say(submit(5, &id, &["a"])).await;
        let reject = client.hear_reject().await;
        assert_eq!((reject.request_id, reject.code()), (5, code), "{error}");
        assert_eq!(reject.retry_after_ms.is_some(), retries, "{error}");
        server.ledger.fail(error);
        client.say(fetch(6, &id, 1, None)).await;
        assert_eq!(client.hear_reject().await.code(), code);
    }
    let long = ClientFrame::Submit(Submit {
        request: RequestId(7),
        document: id.clone(),
        changes: vec![vec![1; 1_001].into()],
        fencing: None,
    });
    client.say(long).await;
    assert_eq!(client.hear_reject().await.code(), RejectCode::TooLarge);
    assert_eq!(server.metric("native_rejects_total{code=\"OVERLOADED\"}"), 2);
}

#[tokio::test]
async fn the_policy_is_asked_at_every_request_and_at_what_a_subscription_brings() {
    let server = Server::start().await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = document(1);
    client.say(subscribe(1, &id, 0)).await;
    client.settle().await;
    server.policy.read_only.store(true, Ordering::Relaxed);
    client.say(submit(2, &id, &["a"])).await;
    let reject = client.hear_reject().await;
    assert_eq!((reject.request_id, reject.code()), (2, RejectCode::Forbidden));
    assert!(reject.retry_after_ms.is_none() && reject.message == "it is for reading only");
    let sink = server.ledger.sink(&id);
    assert_eq!(tell(&sink, &id, 1, 1), Offered::Taken);
    assert_eq!(client.hear_ops().await.entries[0].offset, 1);

    server.policy.closed.store(true, Ordering::Relaxed);
    assert_eq!(tell(&sink, &id, 2, 1), Offered::Gone);
    let reject = client.hear_reject().await;
    assert_eq!((reject.request_id, reject.code()), (1, RejectCode::Forbidden));
    for frame in [subscribe(3, &id, 0), fetch(3, &id, 1, None)] {
        client.say(frame).await;
        let reject = client.hear_reject().await;
        assert_eq!((reject.request_id, reject.code()), (3, RejectCode::Forbidden));
    }
    assert!(server.ledger.submitted(&id).is_empty());
    assert_eq!(server.ledger.following(), 0);
}

#[tokio::test]
async fn who_is_sent_away_is_told_when_to_come_back_and_answered_first() {
    let mut server = Server::start().await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = document(1);
    client.say(subscribe(1, &id, 0)).await;
    client.say(submit(2, &id, &["a"])).await;
    until("the submission", || server.ledger.submitted(&id).len() == 1).await;
    server.shutdown.trigger();
    let Kind::GoAway(go_away) = client.hear().await else {
        panic!("not sent away");
    };
    assert_eq!((go_away.code, go_away.closes_in_ms), (1001, 10_000));
    assert!(go_away.reconnect_after_ms <= 5_000);
    assert_eq!(server.ledger.following(), 0);
    server.ledger.commit(1);
    assert!(matches!(client.hear().await, Kind::Receipt(_)));
    assert_eq!(client.closed().await.0, 1001);
    let left = timeout(DEADLINE, &mut server.stopped).await.unwrap().unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn clients_of_both_protocols_live_side_by_side() {
    let server = Arc::new(Server::start().await);
    let mut native = NativeClient::welcomed(&server).await;
    let mut repo = Client::join(&server, "ada").await;
    repo.sync(&document(1), "one").await;
    native.say(submit(1, &document(1), &["two"])).await;
    until("both", || {
        server.documents.received(&document(1)) == ["one"] && server.ledger.submitted(&document(1)) == ["two"]
    })
    .await;
    assert_eq!(server.metric("websockets"), 2);
}
