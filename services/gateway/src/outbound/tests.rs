use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use aetherflow_runtime::metrics::Metrics;
use aetherflow_schema::{
    documents::{PeerFrame, PeerSink},
    id::{ChangeHash, DocumentId},
    repo::Message,
};
use uuid::Uuid;

use super::*;

fn outbound(limit: usize) -> Outbound {
    let metrics = Arc::new(GatewayMetrics::new(&Metrics::default()));
    let outbound = Outbound::new(ConnectionId(1), PeerId("server".into()), limit, metrics);
    outbound.joined(PeerId("ada".into()));
    outbound
}

fn document() -> DocumentId {
    DocumentId::from_uuid(Uuid::from_u128(7))
}

fn bytes(n: usize) -> Bytes {
    vec![0; n].into()
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls once; the frames that came and the ending, if there was one.
fn take(outbound: &Outbound, hungry: bool) -> (Vec<Frame>, Option<Ending>) {
    take_with(outbound, hungry, Waker::noop())
}

fn take_with(outbound: &Outbound, hungry: bool, waker: &Waker) -> (Vec<Frame>, Option<Ending>) {
    let mut batch = VecDeque::new();
    let ending = match outbound.poll_take(hungry, &mut batch, &Context::from_waker(waker)) {
        Poll::Ready(ending) => ending,
        Poll::Pending => None,
    };
    (batch.into(), ending)
}

fn code(ending: Option<Ending>) -> Option<CloseCode> {
    ending.map(|ending| match ending {
        Ending::Now(close) | Ending::Finish(close) => close.code,
    })
}

/// The one message in the queue.
fn message(outbound: &Outbound, check: impl FnOnce(Message<'_>)) {
    let (frames, _) = take(outbound, true);
    assert_eq!(frames.len(), 1);
    let payload = Bytes::copy_from_slice(frames[0].parts().1);
    check(Message::decode(&payload).unwrap());
    outbound.written(0, true);
}

#[test]
fn a_batch_wakes_the_task_once() {
    let outbound = outbound(10_000);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    assert!(take_with(&outbound, true, &waker).0.is_empty());
    (0..50).for_each(|_| assert!(outbound.push(Kind::Sync, bytes(10))));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(take_with(&outbound, true, &waker).0.len(), 50);
    assert!(
        take_with(&outbound, false, &waker).0.is_empty(),
        "the task is busy writing"
    );
    outbound.push(Kind::Sync, bytes(10));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "so frames do not wake it");
    outbound.end(Ending::Now(Close::plain(CloseCode::Replaced)));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "but an ending does");
}

#[test]
fn a_full_queue_ends_the_connection_and_keeps_nothing() {
    let outbound = outbound(100);
    assert!(outbound.push(Kind::Sync, bytes(60)));
    assert!(!outbound.push(Kind::Sync, bytes(60)));
    assert!(!outbound.is_open());
    let (frames, ending) = take(&outbound, true);
    assert!(frames.is_empty());
    assert_eq!(code(ending), Some(CloseCode::SlowReader));
    assert!(!outbound.push(Kind::Sync, bytes(1)), "nothing comes after the end");
    assert!(!outbound.is_open());
}

#[test]
fn what_is_being_written_counts_until_it_is_written() {
    let outbound = outbound(100);
    assert!(outbound.push(Kind::Sync, bytes(78)));
    assert_eq!(take(&outbound, true).0.len(), 1);
    outbound.written(40, false);
    assert!(outbound.push(Kind::Sync, bytes(50)), "40 are on their way, 60 fit");
    outbound.written(40, true);
    assert!(outbound.push(Kind::Sync, bytes(40)));
    assert!(!outbound.push(Kind::Sync, bytes(40)));
}

#[test]
fn one_message_may_be_larger_than_the_queue() {
    let outbound = outbound(100);
    assert!(outbound.push(Kind::Sync, bytes(1000)));
    assert_eq!(take(&outbound, true).0.len(), 1);
    assert!(!outbound.push(Kind::Sync, bytes(1)), "but nothing beside it");
}

#[test]
fn ephemera_are_dropped_from_half_of_the_queue_on() {
    let outbound = outbound(100);
    outbound.push_ephemeral(bytes(40));
    outbound.push_ephemeral(bytes(40));
    assert!(outbound.push(Kind::Sync, bytes(40)), "the rest is for documents");
    assert_eq!(take(&outbound, true).0.len(), 2);
    assert!(outbound.is_open());
}

#[test]
fn the_first_ending_stands_unless_another_is_more_urgent() {
    let finish = |code| Ending::Finish(Close::plain(code));
    let now = |code| Ending::Now(Close::plain(code));
    let first = outbound(100);
    first.end(finish(CloseCode::GoingAway));
    first.end(finish(CloseCode::Normal));
    assert_eq!(code(take(&first, true).1), Some(CloseCode::GoingAway));
    assert!(first.push(Kind::Sync, bytes(1)), "replies are queued while it finishes");
    first.end(now(CloseCode::Replaced));
    assert_eq!(code(take(&first, true).1), Some(CloseCode::Replaced));

    let second = outbound(100);
    second.end(finish(CloseCode::GoingAway));
    second.end(now(CloseCode::Replaced));
    second.end(now(CloseCode::SlowReader));
    assert_eq!(code(take(&second, true).1), Some(CloseCode::Replaced));
}

#[test]
fn document_frames_become_messages_to_the_peer() {
    let outbound = outbound(10_000);
    outbound.deliver(PeerFrame::Sync {
        document: document(),
        message: Bytes::from_static(b"data"),
    });
    message(&outbound, |message| {
        assert_eq!((message.sender(), message.target()), (Some("server"), Some("ada")));
        let Message::Sync { document: id, data, .. } = message else {
            panic!("{message:?}")
        };
        assert_eq!((id, &data[..]), (document(), &b"data"[..]));
    });
    outbound.deliver(PeerFrame::Unavailable { document: document() });
    message(&outbound, |message| {
        assert!(matches!(message, Message::DocUnavailable { .. }), "{message:?}");
    });
    outbound.deliver(PeerFrame::RemoteHeads {
        document: document(),
        storage: StorageId("disk".into()),
        heads: [ChangeHash([1; 32])].into(),
        timestamp_ms: 1_700_000_000_000,
    });
    message(&outbound, |message| {
        let Message::RemoteHeadsChanged { new_heads, .. } = message else {
            panic!("{message:?}")
        };
        assert_eq!(new_heads[0].0, StorageId("disk".into()));
        assert_eq!(new_heads[0].1.timestamp_ms, 1_700_000_000_000.0);
        assert_eq!(new_heads[0].1.heads, [ChangeHash([1; 32])]);
    });
    outbound.deliver(PeerFrame::Refused {
        document: document(),
        reason: "the log is full".into(),
    });
    message(&outbound, |message| {
        let Message::Error { message, .. } = message else {
            panic!("{message:?}")
        };
        assert!(message.contains("the log is full") && message.contains(&document().url()));
    });
    assert!(!outbound.deliver(PeerFrame::Malformed {
        document: document(),
        reason: "nonsense".into(),
    }));
    assert_eq!(code(take(&outbound, true).1), Some(CloseCode::MalformedMessage));
}

#[test]
fn a_connection_whose_document_was_lost_is_closed_to_come_again() {
    let outbound = outbound(100);
    assert!(!outbound.deliver(PeerFrame::Lost {
        document: document(),
        reason: "the disk does not answer".into(),
    }));
    assert_eq!(code(take(&outbound, true).1), Some(CloseCode::TryAgainLater));
}

#[test]
fn subscriptions_are_bounded_and_only_new_ones_are_announced() {
    let outbound = outbound(100);
    let storage = |i: usize| StorageId(format!("storage {i}").into());
    assert!(!outbound.wants_heads_of(&storage(1)));
    assert_eq!(outbound.subscribe(vec![storage(1), storage(2)], &[]).0.len(), 2);
    let (added, complete) = outbound.subscribe(vec![storage(1), storage(3)], &[storage(2)]);
    assert_eq!((added, complete), (vec![storage(3)], true));
    assert!(outbound.wants_heads_of(&storage(3)) && !outbound.wants_heads_of(&storage(2)));
    let (_, complete) = outbound.subscribe((0..2000).map(storage).collect(), &[]);
    assert!(!complete);
    assert_eq!(outbound.subscriptions().len(), limits::REMOTE_SUBSCRIPTIONS);
}
