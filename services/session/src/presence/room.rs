//! One document: who is present, and who watches.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use aetherflow_schema::{
    access::{Identity, Principal},
    id::{ConnectionId, DocumentId, SessionId},
    presence::{PresenceChange, PresenceEvent, PresenceWatcher},
    sessions::NodeId,
};
use bytes::Bytes;

use crate::core::wheel::TimerId;

/// Sessions of other nodes on one document; those beyond are passed over. At worst a gigabyte of states.
pub(super) const REMOTE_MEMBERS: usize = 65_536;

/// Where a session is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// On this node, as this one.
    Here(Arc<Identity>),
    /// On this run of another node.
    There(NodeId, u64),
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) origin: Origin,
    pub(super) principal: Principal,
    pub(super) state: Bytes,
    /// Which of its states that is; its node decides.
    pub(super) revision: u64,
    /// Until when the state holds, by what its client said.
    pub(super) until_ms: u64,
    /// Until then, or until its node is forgotten.
    pub(super) timer: TimerId,
}

impl Member {
    pub(super) fn is_here(&self) -> bool {
        matches!(self.origin, Origin::Here(_))
    }

    pub(super) fn ttl_ms(&self, now_ms: u64) -> u32 {
        u32::try_from(self.until_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX)
    }
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Room {
    pub(super) watchers: BTreeMap<ConnectionId, Arc<dyn PresenceWatcher>>,
    pub(super) members: BTreeMap<SessionId, Member>,
    /// Members of this node.
    pub(super) own: usize,
    /// Up to which message each other node was heard.
    pub(super) heard: HashMap<NodeId, (u64, u64)>,
    /// When this node says next who is here, while it has members.
    pub(super) roster: Option<TimerId>,
}

impl Room {
    /// Whether this node wants to hear the others, and has something to say itself.
    pub(super) fn is_wanted(&self) -> bool {
        !self.watchers.is_empty() || self.own > 0
    }

    /// An event about a member.
    pub(super) fn event(
        document: &DocumentId,
        (session, member): (SessionId, &Member),
        change: PresenceChange,
        now_ms: u64,
    ) -> Arc<PresenceEvent> {
        let who = (session, &member.principal);
        let ttl_ms = member.ttl_ms(now_ms);
        Arc::new(PresenceEvent::present(
            document,
            who,
            change,
            member.state.clone(),
            ttl_ms,
        ))
    }

    /// Tells all watchers but those of the session it is about.
    pub(super) fn tell(&self, about: SessionId, event: impl FnOnce() -> Arc<PresenceEvent>) {
        let mut others = self.watchers.values().filter(|watcher| watcher.session() != about);
        let Some(first) = others.next() else { return };
        let event = event();
        first.hear(&event);
        others.for_each(|watcher| watcher.hear(&event));
    }
}
