//! What clients of the native protocol read: documents that they follow, and history, as fast as they take it.

use std::sync::Arc;

use aetherflow_schema::{
    document_log::{Offered, Ops, SnapshotAt, Told},
    documents::DocumentError,
    id::{ChangeHash, Offset},
    native::{
        ClientFrame, Start,
        wire::{RejectCode, server_frame::Kind},
    },
};
use bytes::Bytes;
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::{
    ledger::{entry, tell},
    native_client::{NativeClient, fetch, hello, hello_taking, subscribe},
    server::{DEADLINE, Server, document, until},
};

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
async fn what_the_server_puts_together_is_never_longer_than_the_client_takes() {
    let server = Server::start().await;
    let takes_little = hello_taking(1_000);
    let mut client = NativeClient::connect(&server).await.saying(takes_little).await;
    let id = document(1);
    server.ledger.write(&id, 10, 300);
    client.say(fetch(1, &id, 1, None)).await;
    let mut offsets = Vec::new();
    loop {
        let ops = client.hear_ops().await;
        assert_eq!(ops.request_id, Some(1));
        offsets.extend(ops.entries.iter().map(|entry| entry.offset));
        if ops.last {
            break;
        }
    }
    assert_eq!(offsets, (1..=10).collect::<Vec<_>>());

    client.say(subscribe(2, &id, 0)).await;
    client.settle().await;
    let sink = server.ledger.sink(&id);
    let entries = |offsets: std::ops::Range<u64>| offsets.map(|offset| entry(&id, offset, 300)).collect();
    let ops = |offsets| Arc::new(Ops::new(id.clone(), entries(offsets)).unwrap());
    assert_eq!(sink.longest(), 1_000);
    // It is to come in parts, of which the log is asked again.
    assert_eq!(sink.offer(Told::Ops(ops(1..11))), Offered::Full);
    assert_eq!(client.settle().await, []);
    for first in [1, 3, 5, 7, 9] {
        assert_eq!(sink.offer(Told::Ops(ops(first..first + 2))), Offered::Taken);
        let offsets: Vec<_> = client
            .hear_ops()
            .await
            .entries
            .iter()
            .map(|entry| entry.offset)
            .collect();
        assert_eq!(offsets, [first, first + 1]);
    }
    assert_eq!(tell(&sink, &id, 11, 1_000), Offered::Gone);
    let reject = client.hear_reject().await;
    assert_eq!((reject.request_id, reject.code()), (2, RejectCode::TooLarge));
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
    let mut client = NativeClient::connect_narrow(&server).await.saying(hello()).await;
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
