//! The native protocol over WebSocket.

use std::sync::{Arc, atomic::Ordering};

use aetherflow_schema::{
    document_log::{Offered, SnapshotAt, Told},
    documents::DocumentError,
    id::{ChangeHash, Offset},
    native::{
        ClientFrame, SUBPROTOCOL, Start,
        wire::{self, PresenceChange, RejectCode, server_frame::Kind},
    },
};
use bytes::Bytes;
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};

use crate::{
    ledger::tell,
    native_client::{NativeClient, fetch, hello, hello_taking, presence, submit, subscribe},
    server::{DEADLINE, Server, document, until},
};
use futures_util::SinkExt;

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
    let long = ClientFrame::Submit(aetherflow_schema::native::Submit {
        request: aetherflow_schema::native::RequestId(7),
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
async fn a_subscription_brings_a_snapshot_then_entries_until_it_ends() {
    let server = Server::start().await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = document(1);
    client.say(subscribe(1, &id, 5)).await;
    client.settle().await;
    assert_eq!(server.ledger.starts(&id), [Start::After(Offset(5))]);
    let first = server.ledger.sink(&id);
    let snapshot = SnapshotAt {
        offset: Offset(8),
        bytes: Bytes::from_static(b"a file"),
        heads: vec![ChangeHash([3; 32]); 2],
    };
    assert_eq!(first.offer(Told::Snapshot(snapshot)), Offered::Taken);
    let Kind::Snapshot(snapshot) = client.hear().await else {
        panic!("no snapshot");
    };
    assert_eq!(
        (snapshot.offset, &snapshot.bytes[..], snapshot.heads.len()),
        (8, &b"a file"[..], 64)
    );
    tell(&first, &id, 9, 3);
    let ops = client.hear_ops().await;
    assert_eq!(
        (ops.document.as_ref(), ops.request_id, ops.last),
        (id.as_bytes(), None, false)
    );
    let entry = &ops.entries[0];
    assert_eq!((entry.offset, entry.committed_ms, &*entry.principal), (9, 9, "bob"));

    // Subscribing again replaces it: the old one is heard no more.
    client.say(subscribe(2, &id, 0)).await;
    client.settle().await;
    assert_eq!(server.ledger.following(), 1);
    assert_eq!(tell(&first, &id, 10, 1), Offered::Gone);
    let second = server.ledger.sink(&id);
    assert_eq!(tell(&second, &id, 1, 1), Offered::Taken);
    assert_eq!(client.hear_ops().await.entries[0].offset, 1);
    // It fails: a late reject ends it.
    assert_eq!(
        second.offer(Told::Failed(DocumentError::Unreadable("disk".into()))),
        Offered::Gone
    );
    let reject = client.hear_reject().await;
    assert_eq!((reject.request_id, reject.code()), (2, RejectCode::Unreadable));
    assert_eq!(tell(&second, &id, 2, 1), Offered::Gone);

    client.say(subscribe(3, &id, 0)).await;
    client.say(ClientFrame::Unsubscribe(id.clone())).await;
    assert_eq!(client.settle().await, []);
    assert_eq!(tell(&server.ledger.sink(&id), &id, 3, 1), Offered::Gone);
    assert_eq!(server.ledger.following(), 0);
    assert_eq!(server.metric("native_subscriptions"), 0);
}

#[tokio::test]
async fn what_is_longer_than_the_client_takes_is_rejected_and_the_rest_goes_on() {
    let server = Server::start().await;
    let mut client = NativeClient::connect(&server).await;
    client.say(hello_taking(1_000)).await;
    assert!(matches!(client.hear().await, Kind::Welcome(_)));
    let (long, short) = (document(1), document(2));
    for (request, id) in [(1, &long), (2, &short)] {
        client.say(subscribe(request, id, 0)).await;
    }
    client.settle().await;
    let snapshot = |bytes| {
        Told::Snapshot(SnapshotAt {
            offset: Offset(8),
            bytes: vec![0; bytes].into(),
            heads: Vec::new(),
        })
    };
    let (first, second) = (server.ledger.sink(&long), server.ledger.sink(&short));
    assert_eq!(first.offer(snapshot(1_000)), Offered::Gone);
    let reject = client.hear_reject().await;
    assert_eq!((reject.request_id, reject.code()), (1, RejectCode::TooLarge));
    assert_eq!(reject.retry_after_ms, None);
    assert_eq!(tell(&first, &long, 9, 1), Offered::Gone, "its subscription is over");
    assert_eq!(second.offer(snapshot(900)), Offered::Taken);
    assert!(matches!(client.hear().await, Kind::Snapshot(_)));
    server.ledger.write(&long, 1, 1_000);
    client.say(fetch(3, &long, 1, None)).await;
    let reject = client.hear_reject().await;
    assert_eq!((reject.request_id, reject.code()), (3, RejectCode::TooLarge));
    // A later hello may say otherwise.
    client.say(hello()).await;
    assert!(matches!(client.hear().await, Kind::Welcome(_)));
    client.say(fetch(4, &long, 1, None)).await;
    assert!(client.hear_ops().await.last);
}

#[tokio::test]
async fn subscriptions_are_limited_and_those_that_failed_do_not_count() {
    let server = Server::with(|options| options.limits.documents_per_connection = 2).await;
    let mut client = NativeClient::welcomed(&server).await;
    for n in [1, 2] {
        client.say(subscribe(n, &document(n.into()), 0)).await;
    }
    client.say(subscribe(3, &document(3), 0)).await;
    let reject = client.hear_reject().await;
    assert_eq!(
        (reject.request_id, reject.code()),
        (3, RejectCode::TooManySubscriptions)
    );
    let failed = Told::Failed(DocumentError::NoSuchPlace("ahead".into()));
    server.ledger.sink(&document(1)).offer(failed);
    assert_eq!(client.hear_reject().await.code(), RejectCode::NoSuchPlace);
    client.say(subscribe(4, &document(3), 0)).await;
    assert_eq!(client.settle().await, []);
    assert_eq!(server.ledger.following(), 2);
    drop(client);
    until("nobody to follow", || server.ledger.following() == 0).await;
}

#[tokio::test]
async fn history_comes_in_pages_of_which_the_last_says_so() {
    let server = Server::start().await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = document(1);
    server.ledger.write(&id, 50, 100_000);
    client.say(fetch(9, &id, 11, Some(31))).await;
    let mut offsets = Vec::new();
    loop {
        let ops = client.hear_ops().await;
        assert_eq!(ops.request_id, Some(9));
        offsets.extend(ops.entries.iter().map(|entry| entry.offset));
        if ops.last {
            break;
        }
    }
    assert_eq!(offsets, (11..31).collect::<Vec<_>>());
    assert!(server.ledger.pages() > 3);
    // Nothing there is an answer, too.
    client.say(fetch(10, &id, 51, None)).await;
    let ops = client.hear_ops().await;
    assert!(ops.last && ops.entries.is_empty() && ops.request_id == Some(10));
    client.say(fetch(11, &document(2), 1, None)).await;
    assert_eq!(client.hear_reject().await.code(), RejectCode::NotFound);
}

#[tokio::test]
async fn history_is_read_no_faster_than_the_client_takes_it() {
    let server = Server::with(|options| {
        options.limits.queue_bytes = 1 << 20;
        options.timeouts.keepalive_ms = 60_000;
    })
    .await;
    let mut client = NativeClient::welcomed(&server).await;
    let id = document(1);
    server.ledger.write(&id, 400, 200_000);
    client.say(fetch(1, &id, 1, None)).await;
    until("some of it", || server.ledger.pages() > 5).await;
    // What the system buffers has an end, and then so does reading.
    let mut pages = 0;
    while pages != server.ledger.pages() {
        pages = server.ledger.pages();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(pages < 150, "{pages} of 200 pages were read");
    let mut entries = 0;
    while entries < 400 {
        entries += client.hear_ops().await.entries.len();
    }
}

#[tokio::test]
async fn who_does_not_read_is_closed_as_a_slow_reader() {
    let server = Server::with(|options| {
        options.limits.queue_bytes = 100_000;
        options.timeouts.keepalive_ms = 60_000;
        options.timeouts.stalled_ms = 300;
    })
    .await;
    let id = document(1);
    // Too much is said to it.
    let mut client = NativeClient::welcomed(&server).await;
    let ping = Frame::Binary(ClientFrame::Ping(1).encode());
    let flood = async {
        while client.socket.feed(ping.clone()).await.is_ok() {
            if client.socket.flush().await.is_err() {
                break;
            }
        }
    };
    let slow = || server.metric("closes_total{code=\"4005\",reason=\"reading too slowly\"}");
    tokio::select! {
        () = flood => {}
        () = until("the first to be closed", || slow() == 1) => {}
    }
    // It asks for more than it takes.
    server.ledger.write(&id, 1_000, 100_000);
    let mut client = NativeClient::welcomed(&server).await;
    client.say(fetch(1, &id, 1, None)).await;
    until("the second to be closed", || slow() == 2).await;
    // And a follower is told that there is no room, and no more.
    let mut client = NativeClient::welcomed(&server).await;
    client.say(subscribe(1, &id, 0)).await;
    client.settle().await;
    let sink = server.ledger.sink(&id);
    let mut refused = 0;
    let fill = async {
        for offset in 1.. {
            if tell(&sink, &id, offset, 50_000) == Offered::Full {
                refused += 1;
                // The system takes some of it, but not for ever.
                if !sink.room(50_000).await {
                    break;
                }
            }
        }
    };
    timeout(DEADLINE, fill).await.expect("it stalls");
    assert!(refused > 0);
    until("the third to be closed", || slow() == 3).await;
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
    let mut repo = crate::client::Client::join(&server, "ada").await;
    repo.sync(&document(1), "one").await;
    native.say(submit(1, &document(1), &["two"])).await;
    until("both", || {
        server.documents.received(&document(1)) == ["one"] && server.ledger.submitted(&document(1)) == ["two"]
    })
    .await;
    assert_eq!(server.metric("websockets"), 2);
}
