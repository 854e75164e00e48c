//! The registry under its lock, and what is done about its effects.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use aetherflow_schema::{
    id::SessionId,
    sessions::{NodeId, Protocol, SessionError, SessionInfo, SessionState, SessionStatistics, record::SessionRecord},
};
use uuid::Builder;

use super::{NewSession, SessionCompanion, options::SessionOptions, watchers::Watchers, writing::Writing};
use crate::{
    alarm::Alarm,
    clock::Clock,
    core::{effects::Effects, entry::Live, registry::Registry},
    store::SessionStore,
};

/// Entries of which the traffic is added up before others get the lock.
const SLICE: usize = 1000;

pub(super) struct Inner {
    pub(super) options: SessionOptions,
    pub(super) node: NodeId,
    pub(super) clock: Clock,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) watchers: Watchers,
    pub(super) writing: Writing,
    companions: Vec<Arc<dyn SessionCompanion>>,
    registry: RwLock<Registry>,
    pub(super) alarm: Alarm,
    stopping: AtomicBool,
    pub(super) refused: AtomicU64,
}

impl Inner {
    pub(super) fn new(
        options: SessionOptions,
        clock: Clock,
        store: Arc<dyn SessionStore>,
        companions: Vec<Arc<dyn SessionCompanion>>,
    ) -> Self {
        let times = options.times(store.lease());
        let registry = Registry::new(options.node.clone(), times, options.sessions_max, clock.now_ms());
        Self {
            node: options.node.clone(),
            options,
            clock,
            store,
            watchers: Watchers::default(),
            writing: Writing::default(),
            companions,
            registry: RwLock::new(registry),
            alarm: Alarm::default(),
            stopping: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the registry, and then what follows from it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Registry, u64, &mut Effects) -> T) -> T {
        let (result, next_ms) = self.apply(change);
        self.alarm.sooner(next_ms);
        result
    }

    /// Does what is due, a slice of it; when there is more to do, which is at once if the slice was not all. For the task
    /// that waits for the alarm.
    pub(super) fn expire(&self, steps: usize) -> Option<u64> {
        self.alarm.disarm();
        self.apply(|registry, now_ms, effects| registry.expire(now_ms, steps, effects))
            .1
    }

    /// What came of it, and when something is due next.
    fn apply<T>(&self, change: impl FnOnce(&mut Registry, u64, &mut Effects) -> T) -> (T, Option<u64>) {
        let mut effects = Effects::default();
        let now_ms = self.clock.now_ms();
        let (result, next_ms) = {
            let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut registry, now_ms, &mut effects);
            // Under the lock, so that watchers hear of things in their order.
            if !effects.events.is_empty() {
                registry.watched = self.watchers.tell(&effects.events);
            }
            (result, registry.next_ms())
        };
        self.carry_out(effects);
        (result, next_ms)
    }

    fn carry_out(&self, effects: Effects) {
        if effects.is_empty() {
            return;
        }
        self.writing.add(effects.save, effects.forget);
        for session in effects.closed {
            self.companions
                .iter()
                .for_each(|companion| companion.session_closed(session));
        }
        for (sink, reason) in effects.told {
            sink.ended(reason);
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// # Errors
    /// [`SessionError::Stopping`].
    pub(super) fn check_running(&self) -> Result<(), SessionError> {
        if self.stopping.load(Relaxed) {
            Err(SessionError::Stopping)
        } else {
            Ok(())
        }
    }

    /// A new id: a UUIDv7.
    pub(super) fn new_id(&self) -> SessionId {
        SessionId(Builder::from_unix_timestamp_millis(self.clock.now_ms(), &rand::random()).into_uuid())
    }

    pub(super) fn create(&self, new: NewSession) -> Result<SessionInfo, SessionError> {
        self.check_running()?;
        aetherflow_schema::sessions::check_attributes(&new.attributes)?;
        let id = self.new_id();
        self.change(|registry, now_ms, effects| {
            let record = SessionRecord {
                id,
                node: self.node.clone(),
                principal: new.principal,
                client: new.client,
                protocol: Protocol::Service,
                peer: new.peer,
                connection: None,
                created_ms: now_ms,
                heard_ms: now_ms,
                state: SessionState::Active,
                attributes: new.attributes,
                cursors: Default::default(),
                resume: None,
            };
            let live = Arc::new(Live::new(None, now_ms));
            registry.begin(now_ms, record, live, None, effects)?;
            Ok(registry.entry(id)?.info())
        })
    }

    pub(super) fn statistics(&self) -> SessionStatistics {
        let mut statistics = self.read().statistics();
        statistics.resume_refused = self.refused.load(Relaxed);
        let mut after = None;
        loop {
            // The lock is given back between slices.
            let (traffic, last) = self.read().traffic(after, SLICE);
            statistics.traffic += traffic;
            if last.is_none() {
                return statistics;
            }
            after = last;
        }
    }
}
