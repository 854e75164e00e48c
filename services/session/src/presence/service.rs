//! Presence on all documents.
//!
//! Documents are spread over shards, so that they do not wait for each other; which documents a session is on is kept
//! beside, spread by session. Whoever takes both locks takes the session's first.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use aetherflow_schema::{
    access::Identity,
    id::{ConnectionId, DocumentId, SessionId},
    native::PRESENCE_TTL_MS_MAX,
    presence::{PRESENT_DOCUMENTS, Presence, PresenceError, PresenceEvent, PresenceWatcher, Present, bus::BusMessage},
    sessions::NodeId,
};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{
    bus::PresenceBus,
    shard::{Command, Shard},
};
use crate::{alarm::Alarm, clock::Clock, service::SessionCompanion};

/// Parts of each index.
const SHARDS: usize = 16;

/// Members that expire before others get a shard.
const SLICE: usize = 128;

/// What the operator may choose.
#[derive(Debug, Clone)]
pub struct PresenceOptions {
    /// The name of this process among the others.
    pub node: NodeId,
    /// Other nodes forget whom they do not hear of for so long, and are told three times as often; 15 s, at most an hour.
    pub lease: Duration,
}

impl PresenceOptions {
    /// The defaults.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            lease: Duration::from_secs(15),
        }
    }
}

/// See the [module](self).
pub struct PresenceService {
    shared: Arc<Shared>,
    timers: JoinHandle<()>,
}

struct Shared {
    node: NodeId,
    /// Which run of this node it is.
    run: u64,
    lease_ms: u32,
    clock: Clock,
    sequence: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
    sessions: [Mutex<HashMap<SessionId, BTreeSet<DocumentId>>>; SHARDS],
    hasher: RandomState,
    alarm: Alarm,
    bus: OnceLock<Arc<dyn PresenceBus>>,
}

impl PresenceService {
    /// Begins, for one node by itself: see [`Self::connect`]. Must be called within a runtime.
    pub fn start(options: PresenceOptions, clock: Clock) -> Self {
        let lease_ms = u32::try_from(options.lease.as_millis()).unwrap_or(u32::MAX);
        let lease_ms = lease_ms.clamp(1, PRESENCE_TTL_MS_MAX);
        let now_ms = clock.now_ms();
        let shared = Arc::new(Shared {
            node: options.node,
            run: now_ms,
            lease_ms,
            clock,
            sequence: AtomicU64::new(0),
            shards: std::array::from_fn(|_| Mutex::new(Shard::new(now_ms, lease_ms))),
            sessions: Default::default(),
            hasher: RandomState::new(),
            alarm: Alarm::default(),
            bus: OnceLock::new(),
        });
        let timers = tokio::spawn(keep_time(shared.clone()));
        Self { shared, timers }
    }

    /// Speaks with other nodes from here on, over the bus that is made with what it is to do with each message it hears.
    /// Once, before anybody is present or watches.
    pub fn connect(&self, bus: impl FnOnce(super::bus::Hearing) -> Arc<dyn PresenceBus>) {
        let shared = Arc::downgrade(&self.shared);
        let hear = move |message| {
            if let Some(shared) = shared.upgrade() {
                shared.on_message(message);
            }
        };
        if self.shared.bus.set(bus(Arc::new(hear))).is_err() {
            tracing::error!("presence is connected already; the second bus is not used");
        }
    }
}

/// It ends without a word to the other nodes, as it would if the process was killed.
impl Drop for PresenceService {
    fn drop(&mut self) {
        self.timers.abort();
    }
}

async fn keep_time(shared: Arc<Shared>) {
    loop {
        shared.alarm.disarm();
        let mut next_ms = None;
        for shard in &shared.shards {
            next_ms = next_ms.into_iter().chain(shared.expire(shard)).min();
        }
        shared.alarm.wait(&shared.clock, next_ms).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn shard(&self, document: &DocumentId) -> &Mutex<Shard> {
        &self.shards[self.spread(document)]
    }

    fn session(&self, session: SessionId) -> MutexGuard<'_, HashMap<SessionId, BTreeSet<DocumentId>>> {
        lock(&self.sessions[self.spread(session)])
    }

    fn spread(&self, key: impl Hash) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    /// Does something with a document, and tells other nodes.
    fn change<T>(&self, document: &DocumentId, change: impl FnOnce(&mut Shard, u64, &mut Vec<Command>) -> T) -> T {
        let mut commands = Vec::new();
        let mut shard = lock(self.shard(document));
        let result = change(&mut shard, self.clock.now_ms(), &mut commands);
        let next_ms = shard.timers.next_ms();
        self.carry_out(commands);
        drop(shard);
        self.alarm.sooner(next_ms);
        result
    }

    /// With the shard's lock held, so that messages about a document leave in their order.
    fn carry_out(&self, commands: Vec<Command>) {
        let Some(bus) = self.bus.get() else { return };
        for command in commands {
            match command {
                Command::Subscribe(document) => bus.subscribe(&document),
                Command::Unsubscribe(document) => bus.unsubscribe(&document),
                Command::Say(document, body) => {
                    let message = BusMessage {
                        node: self.node.clone(),
                        order: (self.run, self.sequence.fetch_add(1, Relaxed) + 1),
                        document,
                        lease_ms: self.lease_ms,
                        body,
                    };
                    bus.publish(&message.document, message.encode());
                }
            }
        }
    }

    fn on_message(&self, message: Bytes) {
        match BusMessage::decode(message) {
            Ok(message) if message.node == self.node => {
                if message.order.0 != self.run {
                    tracing::warn!(node = %self.node, "another process speaks under the name of this node");
                }
            }
            Ok(message) => {
                let document = message.document.clone();
                self.change(&document, |shard, now_ms, commands| {
                    shard.on_message(now_ms, &self.node, message, commands);
                });
            }
            Err(error) => tracing::warn!(%error, "what was heard about presence is passed over"),
        }
    }

    /// A slice of what is due in a shard; when there is more to do.
    fn expire(&self, shard: &Mutex<Shard>) -> Option<u64> {
        let (mut gone, mut commands) = (Vec::new(), Vec::new());
        let next_ms = {
            let mut shard = lock(shard);
            let now_ms = self.clock.now_ms();
            let more = shard.expire(now_ms, SLICE, &mut gone, &mut commands);
            self.carry_out(commands);
            if more { Some(now_ms) } else { shard.timers.next_ms() }
        };
        for (session, document) in gone {
            let mut sessions = self.session(session);
            // It may have come back meanwhile.
            if !lock(self.shard(&document)).is_here(&document, session) {
                forget(&mut sessions, session, &document);
            }
        }
        next_ms
    }
}

/// A session is on a document no longer.
fn forget(sessions: &mut HashMap<SessionId, BTreeSet<DocumentId>>, session: SessionId, document: &DocumentId) {
    if let Some(documents) = sessions.get_mut(&session) {
        documents.remove(document);
        if documents.is_empty() {
            sessions.remove(&session);
        }
    }
}

impl Presence for PresenceService {
    fn watch(&self, document: &DocumentId, watcher: Arc<dyn PresenceWatcher>) {
        self.shared.change(document, |shard, now_ms, commands| {
            shard.watch(now_ms, document, watcher, commands)
        });
    }

    fn unwatch(&self, document: &DocumentId, connection: ConnectionId) {
        self.shared.change(document, |shard, _, commands| {
            shard.unwatch(document, connection, commands)
        });
    }

    fn present(&self, present: Present) -> Result<(), PresenceError> {
        present.check()?;
        let (document, session) = (present.document.clone(), present.caller.session);
        let mut sessions = self.shared.session(session);
        let documents = sessions.entry(session).or_default();
        if documents.len() >= PRESENT_DOCUMENTS && !documents.contains(&document) {
            return Err(PresenceError::TooManyDocuments);
        }
        documents.insert(document.clone());
        self.shared.change(&document, |shard, now_ms, commands| {
            shard.present(now_ms, present, commands)
        });
        Ok(())
    }

    fn absent(&self, document: &DocumentId, session: SessionId) {
        let mut sessions = self.shared.session(session);
        forget(&mut sessions, session, document);
        self.shared
            .change(document, |shard, _, commands| shard.absent(document, session, commands));
    }

    fn leave(&self, session: SessionId) {
        let mut sessions = self.shared.session(session);
        for document in sessions.remove(&session).unwrap_or_default() {
            self.shared.change(&document, |shard, _, commands| {
                shard.absent(&document, session, commands)
            });
        }
    }

    fn limit(&self, session: SessionId, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.shared.clock.now_ms().saturating_add(within_ms);
        let documents = self.shared.session(session).get(&session).cloned().unwrap_or_default();
        for document in documents {
            self.shared
                .change(&document, |shard, _, _| shard.limit(until_ms, &document, session));
        }
    }

    fn review(&self, document: &DocumentId, may_stay: &dyn Fn(&Identity) -> bool) {
        let own = lock(self.shared.shard(document)).own(Some(document));
        // Nothing is locked while somebody else's code decides.
        for (document, session, _) in own.into_iter().filter(|(_, _, identity)| !may_stay(identity)) {
            self.absent(&document, session);
        }
    }

    fn revoke(&self, credential: &str) {
        for shard in &self.shared.shards {
            let own = lock(shard).own(None);
            let came_with = |identity: &Identity| identity.credential.as_deref() == Some(credential);
            for (document, session, _) in own.into_iter().filter(|(_, _, identity)| came_with(identity)) {
                self.absent(&document, session);
            }
        }
    }

    fn here(&self, document: &DocumentId) -> Vec<Arc<PresenceEvent>> {
        lock(self.shared.shard(document)).here(self.shared.clock.now_ms(), document)
    }

    fn count(&self) -> usize {
        self.shared.shards.iter().map(|shard| lock(shard).members).sum()
    }
}

impl SessionCompanion for PresenceService {
    fn session_closed(&self, session: SessionId) {
        self.leave(session);
    }
}

#[cfg(test)]
impl PresenceService {
    /// Whether nothing at all is remembered.
    pub(super) fn is_empty(&self) -> bool {
        let shards = self.shared.shards.iter().map(lock);
        let mut sessions = self.shared.sessions.iter().map(lock);
        shards
            .into_iter()
            .all(|shard| shard.rooms.is_empty() && shard.timers.len() == 0 && shard.members == 0)
            && sessions.all(|sessions| sessions.is_empty())
    }
}
