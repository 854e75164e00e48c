use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use aetherflow_schema::{
    access::{Caller, Identity, Principal},
    id::{ConnectionId, DocumentId, SessionId},
    native::PRESENCE_BYTES,
    presence::{PRESENT_DOCUMENTS, Presence, PresenceChange, PresenceError, PresenceEvent, PresenceWatcher, Present},
    sessions::NodeId,
};
use bytes::Bytes;
use uuid::Uuid;

use super::{PresenceBus, PresenceOptions, PresenceService, PresenceSubscription, bus::Hearing};
use crate::clock::Clock;

use PresenceChange::{Joined, Left, Updated};

struct Ear(ConnectionId, Mutex<Vec<Arc<PresenceEvent>>>);

impl PresenceWatcher for Ear {
    fn connection(&self) -> ConnectionId {
        self.0
    }

    fn session(&self) -> SessionId {
        session(self.0.0 as u8)
    }

    fn hear(&self, event: &Arc<PresenceEvent>) {
        self.1.lock().unwrap().push(event.clone());
    }
}

fn ear(connection: u64) -> Arc<Ear> {
    Arc::new(Ear(ConnectionId(connection), Mutex::default()))
}

/// What was heard since the last time: of whom, what, and the state.
fn heard(ear: &Ear) -> Vec<(u8, PresenceChange, Bytes)> {
    let events = std::mem::take(&mut *ear.1.lock().unwrap());
    events
        .iter()
        .map(|event| {
            assert_eq!(event.change == Left, event.ttl_ms == 0);
            (event.session.0.as_bytes()[15], event.change, event.state.clone())
        })
        .collect()
}

fn session(n: u8) -> SessionId {
    SessionId(Uuid::from_u128(n.into()))
}

fn document(n: u16) -> DocumentId {
    DocumentId::from_bytes(&n.to_be_bytes()).unwrap()
}

fn present(on: u16, n: u8, state: &'static [u8], ttl_ms: u64) -> Present {
    Present {
        document: document(on),
        caller: Caller::anonymous(session(n)),
        state: Bytes::from_static(state),
        ttl: Duration::from_millis(ttl_ms),
    }
}

fn start(name: &str) -> PresenceService {
    PresenceService::start(PresenceOptions::new(NodeId::named(name).unwrap()), Clock::new())
}

const NOTHING: Bytes = Bytes::new();

#[tokio::test(start_paused = true)]
async fn those_who_watch_hear_of_the_others_and_newcomers_of_everybody() {
    let presence = start("one");
    let (one, two) = (ear(1), ear(2));
    presence.watch(&document(1), one.clone());
    presence.present(present(1, 1, b"a", 1000)).unwrap();
    assert_eq!(heard(&one), [], "nobody hears of itself");
    presence.watch(&document(1), two.clone());
    assert_eq!(heard(&two), [(1, Joined, Bytes::from_static(b"a"))]);
    presence.present(present(1, 1, b"b", 1000)).unwrap();
    presence.present(present(1, 2, b"c", 1000)).unwrap();
    assert_eq!(heard(&two), [(1, Updated, Bytes::from_static(b"b"))]);
    assert_eq!(heard(&one), [(2, Joined, Bytes::from_static(b"c"))]);
    let here = presence.here(&document(1));
    assert_eq!(
        here.iter().map(|event| event.session).collect::<Vec<_>>(),
        [session(1), session(2)]
    );
    assert_eq!(presence.count(), 2);
    presence.absent(&document(1), session(1));
    presence.absent(&document(1), session(1));
    assert_eq!(heard(&two), [(1, Left, NOTHING)]);
    presence.unwatch(&document(1), ConnectionId(1));
    presence.present(present(1, 2, b"d", 1000)).unwrap();
    assert_eq!(heard(&one), []);
    presence.unwatch(&document(1), ConnectionId(2));
    presence.leave(session(2));
    assert!(presence.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nobody_stays_for_longer_than_it_said() {
    let presence = start("one");
    let ear = ear(9);
    presence.watch(&document(1), ear.clone());
    presence.present(present(1, 1, b"a", 1000)).unwrap();
    presence.present(present(1, 2, b"b", 5000)).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    presence.present(present(1, 1, b"a", 1000)).unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(heard(&ear).len(), 3, "it was repeated in time");
    tokio::time::sleep(Duration::from_millis(101)).await;
    assert_eq!(heard(&ear), [(1, Left, NOTHING)]);
    tokio::time::sleep(Duration::from_millis(4000)).await;
    assert_eq!(heard(&ear), [(2, Left, NOTHING)]);
    presence.unwatch(&document(1), ConnectionId(9));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(presence.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_not_told_of_itself_on_another_connection() {
    struct Second(Arc<Ear>);
    impl PresenceWatcher for Second {
        fn connection(&self) -> ConnectionId {
            ConnectionId(77)
        }
        fn session(&self) -> SessionId {
            self.0.session()
        }
        fn hear(&self, event: &Arc<PresenceEvent>) {
            self.0.hear(event);
        }
    }
    let presence = start("one");
    let ear = ear(1);
    presence.present(present(1, 1, b"a", 1000)).unwrap();
    presence.present(present(1, 2, b"b", 1000)).unwrap();
    presence.watch(&document(1), Arc::new(Second(ear.clone())));
    presence.present(present(1, 1, b"c", 1000)).unwrap();
    assert_eq!(heard(&ear), [(2, Joined, Bytes::from_static(b"b"))]);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_known_for_a_while_only_is_present_no_longer_than_that() {
    let presence = start("one");
    let ear = ear(9);
    presence.watch(&document(1), ear.clone());
    presence.present(present(1, 1, b"a", 5000)).unwrap();
    presence.present(present(2, 1, b"a", 500)).unwrap();
    presence.limit(session(1), Duration::from_millis(1000));
    presence.limit(session(2), Duration::ZERO);
    assert_eq!(heard(&ear).len(), 1);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(presence.count(), 1, "what ends sooner is not prolonged");
    tokio::time::sleep(Duration::from_millis(401)).await;
    assert_eq!(heard(&ear), [(1, Left, NOTHING)]);
    presence.present(present(1, 1, b"a", 5000)).unwrap();
    presence.limit(session(1), Duration::from_secs(1));
    presence.present(present(1, 1, b"b", 5000)).unwrap();
    tokio::time::sleep(Duration::from_millis(4900)).await;
    assert_eq!(presence.count(), 1, "it said so again");
}

#[tokio::test]
async fn those_who_may_not_stay_and_those_whose_key_is_gone_leave() {
    let presence = start("one");
    let as_one = |n: u8, on: u16, name: &str, key: Option<&str>| {
        let mut present = present(on, n, b"", 60_000);
        let mut identity = Identity::user(Principal::named(name).unwrap());
        identity.credential = key.map(Arc::from);
        present.caller.identity = Arc::new(identity);
        presence.present(present).unwrap();
    };
    as_one(1, 1, "ada", None);
    as_one(2, 1, "eve", None);
    as_one(2, 2, "eve", None);
    as_one(3, 2, "server", Some("key"));
    as_one(4, 2, "server", Some("other"));
    presence.review(&document(1), &|identity| identity.principal.as_str() != "eve");
    let of = |on| {
        let here = presence.here(&document(on));
        here.iter().map(|event| event.session).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(1), of(2)),
        (vec![session(1)], vec![session(2), session(3), session(4)])
    );
    presence.revoke("key");
    assert_eq!((of(1), of(2)), (vec![session(1)], vec![session(2), session(4)]));
    for n in 1..5 {
        presence.leave(session(n));
    }
    assert!(presence.is_empty());
}

#[tokio::test]
async fn what_exceeds_its_bounds_is_refused() {
    let presence = start("one");
    static LONG: [u8; PRESENCE_BYTES + 1] = [0; PRESENCE_BYTES + 1];
    let too_large = presence.present(present(1, 1, &LONG, 1));
    assert_eq!(too_large, Err(PresenceError::TooLarge(LONG.len())));
    assert_eq!(presence.present(present(1, 1, b"", 0)), Err(PresenceError::Ttl));
    assert_eq!(presence.present(present(1, 1, b"", 3_600_001)), Err(PresenceError::Ttl));
    for n in 0..PRESENT_DOCUMENTS as u16 {
        presence.present(present(n, 1, b"", 3_600_000)).unwrap();
    }
    let too_many = presence.present(present(5000, 1, b"", 1000));
    assert_eq!(too_many, Err(PresenceError::TooManyDocuments));
    presence.present(present(7, 1, b"", 1000)).unwrap();
    presence.absent(&document(7), session(1));
    presence.present(present(5000, 1, b"", 1000)).unwrap();
    presence.leave(session(1));
    assert!(presence.is_empty());
}

#[tokio::test]
async fn a_slow_reader_is_told_that_something_was_lost() {
    let presence: Arc<dyn Presence> = Arc::new(start("one"));
    let mut reader = PresenceSubscription::new(presence.clone(), document(1), (ConnectionId(9), session(9)));
    for _ in 0..1025 {
        presence.present(present(1, 1, b"a", 1000)).unwrap();
    }
    for n in 0..1024 {
        let change = if n == 0 { Joined } else { Updated };
        assert_eq!(reader.next().await.unwrap().change, change);
    }
    assert!(reader.next().await.is_err());
    drop(reader);
    let mut reader = PresenceSubscription::new(presence.clone(), document(1), (ConnectionId(9), session(9)));
    assert_eq!(reader.next().await.unwrap().change, Joined);
}

/// Hands messages to the other node at once, unless it is told to lose them.
struct Wire {
    other: Weak<Mutex<Option<Hearing>>>,
    lost: Arc<Mutex<Box<dyn FnMut() -> bool + Send>>>,
}

impl PresenceBus for Wire {
    fn subscribe(&self, _: &DocumentId) {}

    fn unsubscribe(&self, _: &DocumentId) {}

    fn publish(&self, _: &DocumentId, message: Bytes) {
        let lost = (self.lost.lock().unwrap())();
        let other = self.other.upgrade().and_then(|other| other.lock().unwrap().clone());
        if let Some(hear) = other.filter(|_| !lost) {
            // As from the task of a socket: the sender holds a lock.
            tokio::spawn(async move { hear(message) });
        }
    }
}

type End = Arc<Mutex<Option<Hearing>>>;

fn connect(presence: &PresenceService, own: &End, other: &End, lost: impl FnMut() -> bool + Send + 'static) {
    let wire = Wire {
        other: Arc::downgrade(other),
        lost: Arc::new(Mutex::new(Box::new(lost))),
    };
    presence.connect(|hear| {
        *own.lock().unwrap() = Some(hear);
        Arc::new(wire)
    });
}

#[tokio::test(start_paused = true)]
async fn nodes_tell_one_another_and_a_node_that_dies_is_forgotten() {
    let (one, two) = (start("one"), start("two"));
    let ends: [End; 2] = Default::default();
    connect(&one, &ends[0], &ends[1], || false);
    connect(&two, &ends[1], &ends[0], || false);
    one.present(present(1, 1, b"a", 3_600_000)).unwrap();
    let ear = ear(9);
    two.watch(&document(1), ear.clone());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(heard(&ear), [(1, Joined, Bytes::from_static(b"a"))], "it asked");
    one.present(present(1, 1, b"b", 3_600_000)).unwrap();
    one.present(present(1, 2, b"c", 3_600_000)).unwrap();
    one.absent(&document(1), session(1));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let expected = [
        (1, Updated, Bytes::from_static(b"b")),
        (2, Joined, Bytes::from_static(b"c")),
        (1, Left, NOTHING),
    ];
    assert_eq!(heard(&ear), expected);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!((heard(&ear), two.count()), (vec![], 1), "rosters keep it");
    drop(one);
    tokio::time::sleep(Duration::from_secs(14)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(heard(&ear), [(2, Left, NOTHING)]);
    two.unwatch(&document(1), ConnectionId(9));
    assert!(two.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_made_good() {
    let (one, two) = (start("one"), start("two"));
    let ends: [End; 2] = Default::default();
    // Three of four messages are lost for a while, in a pattern that repeats with no period of ours.
    let mut seed = 7u32;
    let losing = Arc::new(AtomicBool::new(true));
    let loses = losing.clone();
    connect(&one, &ends[0], &ends[1], move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        loses.load(Relaxed) && seed >> 16 & 3 != 0
    });
    connect(&two, &ends[1], &ends[0], || false);
    two.watch(&document(1), ear(9));
    for round in 0..20u8 {
        for n in 0..10 {
            let state: &'static [u8] = [b"a", b"b", b"c"][usize::from(round) % 3];
            if (n + round) % 4 == 0 {
                one.absent(&document(1), session(n));
            } else {
                one.present(present(1, n, state, 3_600_000)).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let of = |presence: &PresenceService| -> Vec<_> {
        let here = presence.here(&document(1));
        here.iter().map(|event| (event.session, event.state.clone())).collect()
    };
    assert_ne!(
        of(&one),
        of(&two),
        "nothing that mattered was lost: the test proves nothing"
    );
    losing.store(false, Relaxed);
    // The next roster, and answers to what it makes one ask.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(of(&one), of(&two));
    assert!(!of(&one).is_empty());
    one.leave(session(1));
    (0..10).for_each(|n| one.leave(session(n)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(two.count(), 0);
    assert!(one.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_moves_to_another_node_does_not_leave() {
    let (one, two) = (start("one"), start("two"));
    let ends: [End; 2] = Default::default();
    connect(&one, &ends[0], &ends[1], || false);
    connect(&two, &ends[1], &ends[0], || false);
    let (ear_1, ear_2) = (ear(8), ear(9));
    one.watch(&document(1), ear_1.clone());
    two.watch(&document(1), ear_2.clone());
    one.present(present(1, 1, b"a", 3_600_000)).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    two.present(present(1, 1, b"b", 3_600_000)).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    one.leave(session(1));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(two.here(&document(1)).len(), 1);
    assert_eq!(one.here(&document(1)).len(), 1, "the roster told it");
    let told = heard(&ear_2);
    assert_eq!(told.last().map(|(_, change, _)| *change), Some(Updated), "{told:?}");
}
