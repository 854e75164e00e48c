//! All sessions that this node knows of: its own, and in a cluster those of the others.
//!
//! Owns: entries, their indexes, their timers. Invariants: every index names exactly the sessions that exist; every session
//! has a timer, so that each ends by itself; there are no more sessions of this node than allowed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use aetherflow_schema::{
    access::Principal,
    id::{ConnectionId, SessionId},
    sessions::{
        Cursors, NodeId, PAGE, SessionError, SessionFilter, SessionInfo, SessionPage, SessionState, SessionStatistics,
        TrafficStats,
    },
};

use super::{
    effects::{Effects, SessionChange, SessionEvent},
    entry::Entry,
    wheel::Wheel,
};

/// Sessions that a list looks at before it gives up the page: a filter that fits few sessions must not hold up the others.
const LOOKED_AT: usize = 10_000;

/// How long things take. All in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    pub(crate) introduce: u64,
    pub(crate) idle: u64,
    pub(crate) expire: u64,
    pub(crate) resume_window: u64,
    /// A change that can wait is stored after so long.
    pub(crate) save: u64,
    /// What other nodes store vanishes when it is not stored again within this; `None` where nothing vanishes.
    pub(crate) lease: Option<u64>,
}

/// See the [module](self).
pub(crate) struct Registry {
    pub(crate) node: NodeId,
    pub(crate) times: Times,
    pub(super) sessions_max: usize,
    /// Boxed, since half of the places in the map's nodes are empty: ids grow with time, and nodes are split at their end.
    pub(super) sessions: BTreeMap<SessionId, Box<Entry>>,
    connections: HashMap<(NodeId, ConnectionId), SessionId>,
    principals: HashMap<Principal, BTreeSet<SessionId>>,
    pub(super) timers: Wheel<SessionId>,
    pub(super) saves: Wheel<SessionId>,
    /// Sessions of this node.
    pub(super) own: usize,
    pub(super) counts: SessionStatistics,
    /// Somebody wants events.
    pub(crate) watched: bool,
}

impl Registry {
    pub(crate) fn new(node: NodeId, times: Times, sessions_max: usize, now_ms: u64) -> Self {
        Self {
            node,
            times,
            sessions_max,
            sessions: BTreeMap::new(),
            connections: HashMap::new(),
            principals: HashMap::new(),
            timers: Wheel::new(now_ms),
            saves: Wheel::new(now_ms),
            own: 0,
            counts: SessionStatistics::default(),
            watched: false,
        }
    }

    /// # Errors
    /// [`SessionError::NotFound`].
    pub(crate) fn entry(&self, id: SessionId) -> Result<&Entry, SessionError> {
        self.sessions.get(&id).map(Box::as_ref).ok_or(SessionError::NotFound)
    }

    /// # Errors
    /// [`SessionError::NotFound`].
    pub(super) fn entry_mut(&mut self, id: SessionId) -> Result<&mut Entry, SessionError> {
        self.sessions
            .get_mut(&id)
            .map(Box::as_mut)
            .ok_or(SessionError::NotFound)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether another session of this node may begin.
    pub(crate) fn has_room(&self) -> bool {
        self.own < self.sessions_max
    }

    /// When something is due next.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.timers.next_ms().into_iter().chain(self.saves.next_ms()).min()
    }

    /// Takes a session in, in place of what was known of it.
    pub(super) fn put(&mut self, mut entry: Entry, deadline_ms: u64) {
        let id = entry.record.id;
        self.take(id);
        entry.timer = Some(self.timers.set(deadline_ms, id));
        self.own += usize::from(entry.record.node == self.node);
        self.index(&entry);
        self.counts.in_state[entry.state() as usize] += 1;
        self.sessions.insert(id, Box::new(entry));
    }

    /// Takes a session out, with all that points to it.
    pub(super) fn take(&mut self, id: SessionId) -> Option<Entry> {
        let entry = self.sessions.remove(&id)?;
        for (timer, wheel) in [(entry.timer, &mut self.timers), (entry.save_timer, &mut self.saves)] {
            timer.map(|timer| wheel.cancel(timer));
        }
        self.own -= usize::from(entry.record.node == self.node);
        self.unindex(&entry);
        self.counts.in_state[entry.state() as usize] -= 1;
        Some(*entry)
    }

    fn connection_of(entry: &Entry) -> Option<(NodeId, ConnectionId)> {
        let Seen { node, connection, .. } = Seen::of(entry);
        Some((node.clone(), connection?))
    }

    pub(super) fn index(&mut self, entry: &Entry) {
        let id = entry.record.id;
        if let Some(connection) = Self::connection_of(entry) {
            self.connections.insert(connection, id);
        }
        self.principals
            .entry(entry.record.principal.clone())
            .or_default()
            .insert(id);
    }

    fn unindex(&mut self, entry: &Entry) {
        self.unindex_connection(entry);
        let principal = &entry.record.principal;
        if let Some(sessions) = self.principals.get_mut(principal) {
            sessions.remove(&entry.record.id);
            if sessions.is_empty() {
                self.principals.remove(principal);
            }
        }
    }

    fn unindex_connection(&mut self, entry: &Entry) {
        if let Some(connection) = Self::connection_of(entry)
            && self.connections.get(&connection) == Some(&entry.record.id)
        {
            self.connections.remove(&connection);
        }
    }

    /// Changes a session's connection, or anything else about it that is indexed.
    pub(super) fn reindex(&mut self, id: SessionId, change: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.sessions.remove(&id) {
            self.unindex_connection(&entry);
            change(&mut entry);
            self.index(&entry);
            self.sessions.insert(id, entry);
        }
    }

    /// Goes to another state.
    ///
    /// # Errors
    /// When that may not follow, or there is no such session.
    pub(super) fn go(&mut self, id: SessionId, to: SessionState) -> Result<(), SessionError> {
        let entry = self.sessions.get_mut(&id).ok_or(SessionError::NotFound)?;
        let from = entry.record.state;
        entry.record.state = from.to(to)?;
        entry.version += 1;
        self.counts.in_state[from as usize] -= 1;
        self.counts.in_state[to as usize] += 1;
        Ok(())
    }

    pub(super) fn set_timer(&mut self, id: SessionId, deadline_ms: u64) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            match entry.timer {
                Some(timer) if self.timers.postpone(timer, deadline_ms) => {}
                _ => entry.timer = Some(self.timers.set(deadline_ms, id)),
            }
        }
    }

    /// The stored copy is to be made anew at this time at the latest.
    pub(crate) fn save_by(&mut self, id: SessionId, deadline_ms: u64) {
        let shared = self.times.lease.is_some();
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        if entry.record.node != self.node || !(shared || entry.record.resume.is_some()) {
            return;
        }
        if let Some(timer) = entry.save_timer.take() {
            // What was asked for earlier holds, if it is sooner.
            if let Some(at) = self.saves.deadline_ms(timer)
                && at <= deadline_ms
            {
                entry.save_timer = Some(timer);
                return;
            }
            self.saves.cancel(timer);
        }
        entry.save_timer = Some(self.saves.set(deadline_ms, id));
    }

    pub(super) fn tell(&self, id: SessionId, change: SessionChange, effects: &mut Effects) {
        if self.watched
            && let Some(entry) = self.sessions.get(&id)
        {
            let session = Arc::new(entry.info());
            effects.events.push(SessionEvent { change, session });
        }
    }

    /// Sessions with ids greater than `after`.
    pub(crate) fn list(&self, filter: &SessionFilter, after: Option<SessionId>, limit: usize) -> SessionPage {
        let limit = limit.clamp(1, PAGE);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from, Bound::Unbounded);
        let mut page = SessionPage::default();
        let candidates: Box<dyn Iterator<Item = SessionId>> = if let Some(connection) = &filter.connection {
            let found = self.connections.get(connection).copied();
            Box::new(
                found
                    .into_iter()
                    .filter(move |id| after.is_none_or(|after| *id > after)),
            )
        } else if let Some(principal) = &filter.principal {
            let sessions = self.principals.get(principal);
            Box::new(
                sessions
                    .into_iter()
                    .flat_map(move |sessions| sessions.range(range).copied()),
            )
        } else {
            Box::new(self.sessions.range(range).map(|(id, _)| *id))
        };
        for (looked_at, id) in candidates.enumerate() {
            if page.sessions.len() == limit || looked_at == LOOKED_AT {
                return page;
            }
            page.next = Some(id);
            if let Some(entry) = self.sessions.get(&id)
                && Seen::of(entry).fits(filter)
            {
                page.sessions.push(entry.info());
            }
        }
        page.next = None;
        page
    }

    pub(crate) fn statistics(&self) -> SessionStatistics {
        SessionStatistics {
            principals: self.principals.len() as u64,
            ..self.counts.clone()
        }
    }

    /// What was exchanged with so many sessions after one, and the last of them, unless those were all.
    pub(crate) fn traffic(&self, after: Option<SessionId>, limit: usize) -> (TrafficStats, Option<SessionId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut sum = TrafficStats::default();
        let mut last = None;
        let mut count = 0;
        for (id, entry) in self.sessions.range((from, Bound::Unbounded)).take(limit) {
            sum += entry.traffic();
            last = Some(*id);
            count += 1;
        }
        (sum, last.filter(|_| count == limit))
    }
}

/// What a filter looks at.
struct Seen<'a> {
    principal: &'a Principal,
    connection: Option<ConnectionId>,
    node: &'a NodeId,
    state: SessionState,
    cursors: &'a Cursors,
}

impl<'a> Seen<'a> {
    fn of(entry: &'a Entry) -> Self {
        let record = &entry.record;
        let connection = match &entry.live {
            Some(live) => live.connection,
            None => record.connection,
        };
        Self {
            principal: &record.principal,
            connection,
            node: &record.node,
            state: record.state,
            cursors: &record.cursors,
        }
    }

    /// Whether all that the filter says holds.
    fn fits(&self, filter: &SessionFilter) -> bool {
        let SessionFilter {
            principal,
            connection,
            node,
            states,
            document,
        } = filter;
        principal.as_ref().is_none_or(|principal| principal == self.principal)
            && connection
                .as_ref()
                .is_none_or(|(node, connection)| node == self.node && Some(*connection) == self.connection)
            && node.as_ref().is_none_or(|node| node == self.node)
            && (states.is_empty() || states.contains(&self.state))
            && document
                .as_ref()
                .is_none_or(|document| self.cursors.contains_key(document))
    }
}

/// Whether all that the filter says holds of a session, as others see it.
pub(crate) fn matches(session: &SessionInfo, filter: &SessionFilter) -> bool {
    let seen = Seen {
        principal: &session.principal,
        connection: session.connection,
        node: &session.node,
        state: session.state,
        cursors: &session.cursors,
    };
    seen.fits(filter)
}
