//! What a well-behaved client sees.

use std::sync::atomic::Ordering;

use aetherflow_schema::{
    documents::{DocumentError, PeerFrame},
    id::{ChangeHash, StorageId},
    repo::Message,
};
use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::{
    client::{Client, open},
    recorder::Told,
    server::{STORE, Server, document, until},
};

#[tokio::test]
async fn a_join_is_answered_at_both_paths() {
    let server = Server::start().await;
    for path in ["/", "/automerge"] {
        let mut client = Client::connect(&server, "ada").await;
        client.socket = open(server.address, path).await.unwrap();
        client.say_join(&["1"]).await;
        let frame = client.receive().await;
        let Message::Peer {
            sender,
            target,
            metadata,
            version,
        } = Message::decode(&frame).unwrap()
        else {
            panic!("{frame:?}")
        };
        assert_eq!((&*target, &*version), ("ada", "1"));
        assert!(sender.starts_with("aetherflow-"), "{sender}");
        assert_eq!(metadata.storage_id, Some(StorageId(STORE.to_string().into())));
        assert!(!metadata.is_ephemeral);
    }
}

#[tokio::test]
async fn an_unknown_version_is_an_error_and_then_a_close() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ada").await;
    client.say_join(&["2", "3"]).await;
    let frame = client.receive().await;
    let message = Message::decode(&frame).unwrap();
    assert_eq!((message.kind(), message.target()), ("error", Some("ada")));
    assert_eq!(client.closed().await.0, 4002);
}

#[tokio::test]
async fn frames_reach_their_document_in_order_and_replies_come_back() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    for n in 0..200u8 {
        client.sync(&document(u128::from(n % 2)), vec![n]).await;
    }
    for parity in 0..2u8 {
        let id = document(u128::from(parity));
        until("all frames", || server.documents.received(&id).len() == 100).await;
        let expected: Vec<Bytes> = (0..100).map(|n| vec![2 * n + parity].into()).collect();
        assert_eq!(server.documents.received(&id), expected);
    }
    let storage = Some(StorageId("a disk".into()));
    assert!(server.documents.told().contains(&Told::Opened(document(0), storage)));
    let sink = server.documents.sinks(&document(0)).remove(0);
    for n in 0..100u8 {
        assert!(sink.deliver(PeerFrame::Sync {
            document: document(0),
            message: vec![n].into(),
        }));
    }
    for n in 0..100u8 {
        let frame = client.receive().await;
        let Message::Sync { data, target, .. } = Message::decode(&frame).unwrap() else {
            panic!("{frame:?}")
        };
        assert_eq!((&data[..], &*target), (&[n][..], "ada"));
    }
}

#[tokio::test]
async fn nobody_speaks_in_anothers_name() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    client.name = "eve".to_owned();
    client.sync(&document(1), "forged").await;
    client.name = "ada".to_owned();
    client.sync(&document(1), "real").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    assert_eq!(server.documents.received(&document(1)), ["real"]);
    assert_eq!(server.metric("ignored_total{reason=\"wrong sender\"}"), 1);
}

#[tokio::test]
async fn the_newest_connection_of_a_peer_replaces_the_older_one() {
    let server = Server::start().await;
    let mut first = Client::join(&server, "ada").await;
    let mut second = Client::join(&server, "ada").await;
    assert_eq!(first.closed().await.0, 4003);
    drop(first);
    until("the first to go", || server.metric("websockets") == 1).await;
    second.sync(&document(1), "still here").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    let _third = Client::join(&server, "ada").await;
    assert_eq!(
        second.closed().await.0,
        4003,
        "the first one's end did not forget the second"
    );
}

#[tokio::test]
async fn a_slow_document_holds_up_neither_another_one_nor_replies() {
    let server = Server::with(|options| options.limits.waiting_bytes = 4000).await;
    let mut client = Client::join(&server, "ada").await;
    let [slow, quick] = [1, 2].map(document);
    server.documents.hold(&slow);
    client.sync(&slow, "1").await;
    client.sync(&slow, "2").await;
    client.sync(&quick, "3").await;
    until("the quick one", || !server.documents.received(&quick).is_empty()).await;
    assert!(server.documents.received(&slow).is_empty());

    // More than may wait: nothing more is read now, but replies still come.
    for _ in 0..100 {
        client.sync(&slow, vec![0; 100]).await;
    }
    let sink = server.documents.sinks(&slow).remove(0);
    sink.deliver(PeerFrame::Unavailable { document: slow.clone() });
    let frame = client.receive().await;
    assert_eq!(Message::decode(&frame).unwrap().kind(), "doc-unavailable");

    server.documents.release();
    until("all frames", || server.documents.received(&slow).len() == 102).await;
    assert_eq!(&server.documents.received(&slow)[..2], ["1", "2"]);
}

#[tokio::test]
async fn a_refused_edit_is_said_and_the_connection_stays() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    for error in [
        DocumentError::ReadOnly("disk full".into()),
        DocumentError::Quarantined("poison".into()),
    ] {
        server.documents.fail(error.clone());
        client.sync(&document(1), "an edit").await;
        let frame = client.receive().await;
        let Message::Error { message, .. } = Message::decode(&frame).unwrap() else {
            panic!("{frame:?}")
        };
        assert!(message.contains(&error.to_string()), "{message}");
    }
    server.documents.sinks(&document(1));
    client.sync(&document(1), "another").await;
    until("the frame", || {
        server.documents.received(&document(1)).contains(&"another".into())
    })
    .await;
}

#[tokio::test]
async fn a_frame_whose_fate_is_unknown_makes_the_client_sync_again() {
    for error in [
        DocumentError::Overloaded,
        DocumentError::Stopping,
        DocumentError::Unknown("it was cut off".into()),
    ] {
        let server = Server::start().await;
        let mut client = Client::join(&server, "ada").await;
        client.sync(&document(1), "an edit").await;
        until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
        server.documents.fail(error);
        client.sync(&document(1), "an edit").await;
        assert_eq!(client.closed().await.0, 1013);
    }
}

#[tokio::test]
async fn a_document_may_end_the_connection_of_a_peer_that_talks_nonsense() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    client.sync(&document(1), "nonsense").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    let sink = server.documents.sinks(&document(1)).remove(0);
    sink.deliver(PeerFrame::Malformed {
        document: document(1),
        reason: "not a sync message".into(),
    });
    let (code, reason) = client.closed().await;
    assert_eq!(code, 4004);
    assert!(reason.contains("not a sync message"), "{reason}");
    assert!(!sink.is_open());
}

#[tokio::test]
async fn what_is_not_allowed_is_unavailable() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    client.sync(&document(1), "allowed").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    server.policy.read_only.store(true, Ordering::Relaxed);
    client.sync(&document(1), "read only").await;
    let heard = Told::Heard(document(1), false, Bytes::from_static(b"read only"));
    until("the frame, for hearing only", || {
        server.documents.told().contains(&heard)
    })
    .await;
    server.policy.closed.store(true, Ordering::Relaxed);
    client.sync(&document(1), "revoked").await;
    let frame = client.receive().await;
    assert_eq!(Message::decode(&frame).unwrap().kind(), "error");
    let request = Message::Request {
        sender: "ada".into(),
        target: server.peer.as_str().into(),
        document: document(2),
        data: Bytes::new(),
    };
    client.send(&request).await;
    let frame = client.receive().await;
    assert_eq!(Message::decode(&frame).unwrap().kind(), "doc-unavailable");
    assert_eq!(server.documents.received(&document(1)), ["allowed"]);
}

#[tokio::test]
async fn who_subscribes_hears_what_a_storage_holds() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    client.sync(&document(1), "hello").await;
    until("the frame", || !server.documents.received(&document(1)).is_empty()).await;
    let disk = StorageId("disk".into());
    let sink = server.documents.sinks(&document(1)).remove(0);
    assert!(!sink.wants_heads_of(&disk));
    let subscribe = |add: Vec<StorageId>, remove: Vec<StorageId>| Message::RemoteSubscriptionChange {
        sender: "ada".into(),
        target: server.peer.as_str().into(),
        add,
        remove,
    };
    client.send(&subscribe(vec![disk.clone()], vec![])).await;
    let announced = Told::Announced(document(1), vec![disk.clone()]);
    until("the announcement", || server.documents.told().contains(&announced)).await;
    assert!(sink.wants_heads_of(&disk));

    client.sync(&document(2), "hello").await;
    let announced = Told::Announced(document(2), vec![disk.clone()]);
    until("the same for a later document", || {
        server.documents.told().contains(&announced)
    })
    .await;

    sink.deliver(PeerFrame::RemoteHeads {
        document: document(1),
        storage: disk.clone(),
        heads: [ChangeHash([1; 32])].into(),
        timestamp_ms: 1_700_000_000_000,
    });
    let frame = client.receive().await;
    assert_eq!(Message::decode(&frame).unwrap().kind(), "remote-heads-changed");
    client.send(&subscribe(vec![], vec![disk.clone()])).await;
    until("the end of it", || !sink.wants_heads_of(&disk)).await;
}

#[tokio::test]
async fn a_ping_is_answered_and_a_close_too() {
    let server = Server::start().await;
    let mut client = Client::join(&server, "ada").await;
    client
        .send_frame(Frame::Ping(Bytes::from_static(b"are you there")))
        .await;
    match client.next().await {
        Some(Ok(Frame::Pong(content))) => assert_eq!(content, "are you there"),
        other => panic!("{other:?}"),
    }
    client.socket.close(None).await.unwrap();
    while let Some(Ok(_)) = client.next().await {}
    until("the end", || server.metric("websockets") == 0).await;
}
