//! Sessions in virtual time: what becomes of them, step by step.

mod properties;

use std::sync::{Arc, Mutex};

use aetherflow_schema::{
    access::Principal,
    id::{ConnectionId, DocumentId, Offset, SessionId},
    sessions::{
        ClientId, EndReason, NodeId, ResumeToken, SessionError, SessionFilter, SessionSink, SessionState,
        record::{ResumeHashes, SessionRecord},
    },
};
use uuid::Uuid;

use super::{
    effects::{Effects, SessionChange},
    entry::Live,
    lifecycle::SessionPatch,
    registry::{Registry, Times},
    resume::{admit, take_over},
};
use crate::store::{Revision, conformance};

const TIMES: Times = Times {
    introduce: 30,
    idle: 100,
    expire: 1000,
    resume_window: 500,
    save: 10,
    lease: None,
};

#[derive(Default)]
struct Ear(Mutex<Vec<EndReason>>);

impl SessionSink for Ear {
    fn ended(&self, reason: EndReason) {
        self.0.lock().unwrap().push(reason);
    }
}

fn node(name: &str) -> NodeId {
    NodeId::named(name).unwrap()
}

fn registry(lease: Option<u64>) -> Registry {
    let times = Times { lease, ..TIMES };
    let mut registry = Registry::new(node("one"), times, 100, 0);
    registry.watched = true;
    registry
}

fn id(n: u8) -> SessionId {
    conformance::record(n).id
}

fn token(n: u8, secret: u8) -> ResumeToken {
    ResumeToken::new(id(n), [secret; 32])
}

fn record(n: u8, resumable: bool) -> SessionRecord {
    SessionRecord {
        state: SessionState::Connecting,
        created_ms: 0,
        heard_ms: 0,
        resume: resumable.then(|| ResumeHashes::of(&token(n, 1))),
        ..conformance::record(n)
    }
}

fn live(n: u64, now_ms: u64) -> Arc<Live> {
    Arc::new(Live::new(Some((ConnectionId(n), Arc::new(Ear::default()))), now_ms))
}

fn begin(registry: &mut Registry, now_ms: u64, n: u8, resumable: bool) -> Arc<Live> {
    let live = live(n.into(), now_ms);
    let stored = resumable.then_some(Revision(1));
    let mut effects = Effects::default();
    registry
        .begin(now_ms, record(n, resumable), live.clone(), stored, &mut effects)
        .unwrap();
    live
}

fn client() -> ClientId {
    ClientId::named("laptop").unwrap()
}

/// All that is due, and what follows from it.
fn pass(registry: &mut Registry, now_ms: u64) -> Effects {
    let mut effects = Effects::default();
    while registry.expire(now_ms, 3, &mut effects) {}
    effects
}

fn state(registry: &Registry, n: u8) -> Option<SessionState> {
    registry.entry(id(n)).ok().map(|entry| entry.state())
}

#[test]
fn a_session_lives_and_ends_as_the_times_say() {
    let mut registry = registry(None);
    begin(&mut registry, 0, 1, false);
    pass(&mut registry, 29);
    assert_eq!(state(&registry, 1), Some(SessionState::Connecting));
    let effects = pass(&mut registry, 30);
    assert_eq!(
        (state(&registry, 1), effects.closed),
        (None, vec![id(1)]),
        "it never said what it wanted"
    );
    assert_eq!(effects.told[0].1, EndReason::Expired);

    let mut effects = Effects::default();
    let live = begin(&mut registry, 100, 2, false);
    registry.introduce(110, id(2), &live, client(), &mut effects).unwrap();
    assert!(!live.heard(150));
    pass(&mut registry, 249);
    assert_eq!(state(&registry, 2), Some(SessionState::Active), "it was heard of");
    pass(&mut registry, 250);
    assert_eq!(state(&registry, 2), Some(SessionState::Idle));
    assert!(live.heard(300), "one that is idle is to be woken");
    registry.wake(300, id(2), &live, &mut effects);
    assert!(!live.heard(301));
    assert_eq!(state(&registry, 2), Some(SessionState::Active));
    pass(&mut registry, 1300);
    assert_eq!(state(&registry, 2), Some(SessionState::Idle));
    let effects = pass(&mut registry, 1301);
    assert_eq!((state(&registry, 2), effects.closed), (None, vec![id(2)]));
    let counts = registry.statistics();
    assert_eq!(
        (counts.opened, counts.ended, counts.expired, counts.principals),
        (2, 2, 2, 0)
    );
    assert_eq!(counts.in_state, [0; 5]);
    assert_eq!(registry.next_ms(), None, "nothing is left to be timed");
}

#[test]
fn what_cannot_be_resumed_ends_with_its_connection_and_the_rest_waits() {
    let mut registry = registry(None);
    let mut effects = Effects::default();
    let short = begin(&mut registry, 0, 1, false);
    registry.introduce(0, id(1), &short, client(), &mut effects).unwrap();
    registry.disconnect(5, id(1), &short, false, &mut effects);
    assert_eq!(state(&registry, 1), None);

    let long = begin(&mut registry, 0, 2, true);
    registry.introduce(0, id(2), &long, client(), &mut effects).unwrap();
    registry.disconnect(5, id(2), &long, false, &mut effects);
    assert_eq!(state(&registry, 2), Some(SessionState::Disconnecting));
    assert_eq!(pass(&mut registry, 5).save, [id(2)], "what it was at last is stored");
    pass(&mut registry, 504);
    assert_eq!(state(&registry, 2), Some(SessionState::Disconnecting));
    let effects = pass(&mut registry, 505);
    assert_eq!((state(&registry, 2), effects.forget.len()), (None, 1));

    let bye = begin(&mut registry, 600, 3, true);
    let mut effects = Effects::default();
    registry.introduce(600, id(3), &bye, client(), &mut effects).unwrap();
    registry.disconnect(605, id(3), &bye, true, &mut effects);
    assert_eq!(
        (state(&registry, 3), effects.forget.len()),
        (None, 1),
        "it said goodbye"
    );
}

fn come_back(
    registry: &mut Registry,
    now_ms: u64,
    n: u8,
    with: &ResumeToken,
    fresh: u8,
) -> Result<Arc<Live>, SessionError> {
    let record = registry.entry(id(n))?.to_record();
    admit(&record, with, &Principal::anonymous())?;
    let record = take_over(record, with, &token(n, fresh), &node("one"))?;
    let live = live(1000 + 10 * now_ms + u64::from(n), now_ms);
    let mut effects = Effects::default();
    let stored = registry.entry(id(n))?.stored.clone();
    registry.resume(now_ms, record, live.clone(), (Revision(now_ms), stored), &mut effects)?;
    for (sink, reason) in effects.told {
        sink.ended(reason);
    }
    Ok(live)
}

#[test]
fn a_client_that_comes_back_goes_on_and_its_tokens_rotate() {
    let mut registry = registry(None);
    let mut effects = Effects::default();
    let first = begin(&mut registry, 0, 1, true);
    registry.introduce(0, id(1), &first, client(), &mut effects).unwrap();
    let document = DocumentId::from_bytes(&[9; 16]).unwrap();
    registry
        .set_cursors(1, id(1), &first, &[(document.clone(), Some(Offset(77)))])
        .unwrap();
    first.traffic.received(1, 50);
    registry.disconnect(5, id(1), &first, false, &mut effects);
    assert!(
        come_back(&mut registry, 10, 1, &token(1, 9), 2).is_err(),
        "any secret would do"
    );

    let second = come_back(&mut registry, 10, 1, &token(1, 1), 2).unwrap();
    assert_eq!(state(&registry, 1), Some(SessionState::Active));
    let entry = registry.entry(id(1)).unwrap();
    assert_eq!(entry.record.cursors[&document], Offset(77));
    second.traffic.received(1, 8);
    assert_eq!(entry.traffic().bytes_in, 58, "what was counted goes on");

    // The answer was lost: the client comes with what it has.
    let third = come_back(&mut registry, 20, 1, &token(1, 1), 3).unwrap();
    assert!(matches!(
        registry.set_cursors(21, id(1), &second, &[(document.clone(), None)]),
        Err(SessionError::TakenOver)
    ));
    registry.disconnect(22, id(1), &second, true, &mut effects);
    assert_eq!(
        state(&registry, 1),
        Some(SessionState::Active),
        "who lost a session does not end it"
    );
    assert!(
        come_back(&mut registry, 23, 1, &token(1, 2), 4).is_err(),
        "one that never reached anybody"
    );

    // It got the answer, so that what it had before is void.
    third.heard(30);
    assert!(come_back(&mut registry, 31, 1, &token(1, 1), 5).is_err());
    come_back(&mut registry, 32, 1, &token(1, 3), 6).unwrap();
    assert_eq!(registry.statistics().resumed, 3);
}

#[test]
fn who_is_taken_over_is_told_and_others_may_not() {
    let mut registry = registry(None);
    let ear = Arc::new(Ear::default());
    let live = Arc::new(Live::new(Some((ConnectionId(1), ear.clone())), 0));
    let mut effects = Effects::default();
    registry
        .begin(0, record(1, true), live, Some(Revision(1)), &mut effects)
        .unwrap();
    come_back(&mut registry, 5, 1, &token(1, 1), 2).unwrap();
    assert_eq!(*ear.0.lock().unwrap(), [EndReason::TakenOver]);
    let record = registry.entry(id(1)).unwrap().to_record();
    let somebody = Principal::named("somebody").unwrap();
    assert_eq!(admit(&record, &token(1, 2), &somebody), Err(SessionError::NotFound));
    let found = |connection| {
        let filter = SessionFilter {
            connection: Some((node("one"), ConnectionId(connection))),
            ..SessionFilter::default()
        };
        registry.list(&filter, None, 10).sessions.len()
    };
    assert_eq!((found(1), found(1051)), (0, 1), "it is found by the connection it has");
}

#[test]
fn patches_are_whole_and_only_for_the_revision_they_mean() {
    let mut registry = registry(None);
    begin(&mut registry, 0, 1, true);
    let mut effects = Effects::default();
    let revision = registry.entry(id(1)).unwrap().version;
    let patch = |expected, value: usize| SessionPatch {
        expected,
        attributes: vec![("a".to_owned(), Some("x".repeat(value))), ("n".to_owned(), None)],
        cursors: vec![(DocumentId::from_bytes(&[3; 16]).unwrap(), Some(Offset(4)))],
    };
    let before = registry.entry(id(1)).unwrap().record.clone();
    assert!(registry.patch(1, id(1), patch(None, 9000), &mut effects).is_err());
    assert_eq!(registry.entry(id(1)).unwrap().record, before);
    registry
        .patch(1, id(1), patch(Some(revision), 3), &mut effects)
        .unwrap();
    let after = &registry.entry(id(1)).unwrap().record;
    assert_eq!(after.attributes, [("a".to_owned(), "xxx".to_owned())].into());
    assert_eq!(after.cursors.len(), 2);
    assert_eq!(
        registry.patch(1, id(1), patch(Some(revision), 4), &mut effects),
        Err(SessionError::Conflict)
    );
    assert_eq!(
        registry.delete(id(1), Some(revision), &mut effects),
        Err(SessionError::Conflict)
    );
    registry.delete(id(1), Some(revision + 1), &mut effects).unwrap();
    assert_eq!(registry.delete(id(1), None, &mut effects), Err(SessionError::NotFound));
    assert_eq!(effects.events.last().unwrap().change, SessionChange::Ended);
    assert_eq!(effects.events.last().unwrap().session.state, SessionState::Closed);
}

#[test]
fn what_was_stored_can_be_resumed_for_a_whole_window_after_a_restart() {
    let mut registry = registry(None);
    let mut stored = record(1, true);
    stored.state = SessionState::Active;
    registry.recover(10_000, stored, Revision(4));
    pass(&mut registry, 10_499);
    assert_eq!(state(&registry, 1), Some(SessionState::Disconnecting));
    come_back(&mut registry, 10_499, 1, &token(1, 1), 2).unwrap();
    pass(&mut registry, 10_500);
    assert_eq!(state(&registry, 1), Some(SessionState::Active));
}

#[test]
fn there_are_no_more_sessions_than_allowed() {
    let mut registry = registry(None);
    for n in 0..100 {
        begin(&mut registry, 0, n, false);
    }
    let mut effects = Effects::default();
    let full = registry.begin(0, record(100, false), live(1, 0), None, &mut effects);
    assert_eq!(full, Err(SessionError::Full));
    pass(&mut registry, 30);
    assert_eq!(registry.len(), 0);
    begin(&mut registry, 31, 100, false);
    let again = registry.begin(31, record(100, false), live(1, 0), None, &mut effects);
    assert_eq!(again, Err(SessionError::Exists));
}

#[test]
fn sessions_of_other_nodes_come_go_and_vanish_with_them() {
    let mut registry = registry(Some(900));
    let mut effects = Effects::default();
    let live = begin(&mut registry, 0, 1, true);
    registry.introduce(0, id(1), &live, client(), &mut effects).unwrap();
    assert_eq!(pass(&mut registry, 10).save, [id(1)]);
    registry.saved(10, id(1), Revision(5));
    assert_eq!(pass(&mut registry, 309).save, []);
    assert_eq!(
        pass(&mut registry, 310).save,
        [id(1)],
        "what vanishes is stored again in time"
    );

    let other = |n, revision| {
        (
            SessionRecord {
                node: node("two"),
                ..conformance::record(n)
            },
            Revision(revision),
        )
    };
    let told = |registry: &mut Registry, now_ms, (record, revision)| {
        let mut effects = Effects::default();
        registry.on_stored(now_ms, record, revision, &mut effects);
        effects
    };
    told(&mut registry, 320, other(2, 7));
    assert_eq!(registry.len(), 2);
    // The session goes on at the other node. Older news than what is known is none.
    assert!(told(&mut registry, 330, other(1, 4)).told.is_empty());
    let effects = told(&mut registry, 330, other(1, 8));
    assert_eq!((effects.told[0].1, effects.closed), (EndReason::TakenOver, vec![id(1)]));
    assert_eq!(registry.entry(id(1)).unwrap().record.node, node("two"));
    assert_eq!(
        registry.set_cursors(331, id(1), &live, &[(DocumentId::from_bytes(&[1]).unwrap(), None)]),
        Err(SessionError::TakenOver)
    );

    let mut effects = Effects::default();
    registry.on_forgotten(id(2), Revision(6), &mut effects);
    assert_eq!(registry.len(), 2, "that was about an earlier copy");
    registry.on_forgotten(id(2), Revision(9), &mut effects);
    assert_eq!((registry.len(), effects.forget.len()), (1, 0));
    let effects = pass(&mut registry, 1229);
    assert!(effects.is_empty());
    let effects = pass(&mut registry, 1230);
    assert_eq!(
        (registry.len(), effects.forget.len(), effects.closed.len()),
        (0, 0, 0),
        "its node is gone"
    );
}

#[test]
fn a_session_id_says_when_it_was_made() {
    assert_eq!(Uuid::get_version_num(&id(1).0), 7);
}
