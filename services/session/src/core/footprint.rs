//! What a session costs in memory: counted, so that it does not grow unnoticed.

use std::sync::Arc;

use aetherflow_schema::{
    access::Principal,
    id::{ConnectionId, SessionId},
    sessions::{EndReason, NodeId, SessionSink, SessionState, record::SessionRecord},
};
use uuid::Uuid;

use super::{
    effects::Effects,
    entry::Live,
    registry::{Registry, Times},
};
use crate::store::conformance;

/// So many that what belongs to no single one does not count.
const SESSIONS: u64 = 20_000;
/// Bytes for each, its connection's part included: what was counted, and a tenth more.
const EACH: u64 = 1200;

struct Deaf;

impl SessionSink for Deaf {
    fn ended(&self, _: EndReason) {}
}

fn record(node: &NodeId, n: u64) -> SessionRecord {
    SessionRecord {
        // As they come: later ones have greater ids.
        id: SessionId(Uuid::from_u128(u128::from(n) << 64)),
        node: node.clone(),
        principal: Principal::named(&format!("user-{n}")).unwrap(),
        state: SessionState::Connecting,
        resume: None,
        attributes: Default::default(),
        cursors: Default::default(),
        ..conformance::record(1)
    }
}

#[test]
fn a_session_takes_no_more_memory_than_it_did() {
    let node = NodeId::named("one").unwrap();
    let times = Times {
        introduce: 30_000,
        idle: 60_000,
        expire: 600_000,
        resume_window: 60_000,
        save: 2000,
        lease: None,
    };
    let sink: Arc<dyn SessionSink> = Arc::new(Deaf);
    let mut registry = None;
    let taken = allocation_counter::measure(|| {
        let mut all = Registry::new(node.clone(), times, SESSIONS as usize, 0);
        for n in 0..SESSIONS {
            let live = Arc::new(Live::new(Some((ConnectionId(n), sink.clone())), 0));
            all.begin(0, record(&node, n), live, None, &mut Effects::default())
                .unwrap();
        }
        registry = Some(all);
    });
    assert_eq!(registry.unwrap().len() as u64, SESSIONS);
    let each = taken.bytes_current as u64 / SESSIONS;
    eprintln!("{each} bytes for each session");
    assert!(each <= EACH, "{each} bytes for each session, and {EACH} are allowed");
}
