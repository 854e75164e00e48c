//! Who is present on which document, over all native connections of a gateway. Nothing of it is stored.
//!
//! Invariants: a watcher hears of everybody who is present when it comes, and of every change afterwards, in the order in
//! which they happen, unless it has no room; nobody hears of itself; a document that nobody watches and on which nobody is
//! present takes no memory.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aetherflow_schema::{
    access::{Author, Principal},
    id::{ConnectionId, DocumentId, SessionId},
    native::{
        encode,
        wire::{self, PresenceChange},
    },
};
use bytes::Bytes;
use tokio::time::Instant;

use crate::lock;

/// Parts of the index, so that documents do not wait for each other.
const SHARDS: usize = 16;

/// Somebody who hears of presence. Calls never block.
pub(crate) trait Watcher: Send + Sync {
    /// On which connection.
    fn connection(&self) -> ConnectionId;

    /// Somebody's presence changed: an encoded frame.
    fn hear(&self, event: Bytes);

    /// What may be done to the document has changed.
    fn review(&self);
}

/// All documents.
#[derive(Default)]
pub(crate) struct Rooms {
    shards: [Mutex<HashMap<DocumentId, Room>>; SHARDS],
    hasher: RandomState,
    sessions: AtomicUsize,
}

/// One document.
#[derive(Default)]
struct Room {
    watchers: BTreeMap<ConnectionId, Arc<dyn Watcher>>,
    present: BTreeMap<SessionId, Present>,
}

struct Present {
    connection: ConnectionId,
    principal: Principal,
    state: Bytes,
    until: Instant,
}

impl Rooms {
    /// Sessions present, over all documents.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// A connection's watcher of a document, instead of the one it had: it hears of everybody there.
    pub(super) fn watch(&self, document: &DocumentId, watcher: Arc<dyn Watcher>) {
        let mut rooms = self.shard(document);
        let room = rooms.entry(document.clone()).or_default();
        for (session, present) in &room.present {
            if present.connection != watcher.connection() {
                watcher.hear(present.event(document, *session, PresenceChange::Joined));
            }
        }
        room.watchers.insert(watcher.connection(), watcher);
    }

    /// A connection watches no longer.
    pub(super) fn unwatch(&self, document: &DocumentId, connection: ConnectionId) {
        let mut rooms = self.shard(document);
        if let Some(room) = rooms.get_mut(document) {
            room.watchers.remove(&connection);
        }
        tidy(&mut rooms, document);
    }

    /// A session is present for so long, with this state.
    pub(super) fn present(
        &self,
        document: &DocumentId,
        author: &Author,
        connection: ConnectionId,
        state: Bytes,
        ttl_ms: u32,
    ) {
        let mut rooms = self.shard(document);
        let room = rooms.entry(document.clone()).or_default();
        let present = Present {
            connection,
            principal: author.principal.clone(),
            // A frame may be much larger than the state that is a part of it.
            state: Bytes::copy_from_slice(&state),
            until: Instant::now() + Duration::from_millis(ttl_ms.into()),
        };
        let change = if room.present.contains_key(&author.session) {
            PresenceChange::Updated
        } else {
            self.sessions.fetch_add(1, Ordering::Relaxed);
            PresenceChange::Joined
        };
        room.tell(connection, || present.event(document, author.session, change));
        room.present.insert(author.session, present);
    }

    /// A session is present no longer, if it was on this connection: another one may go on with it meanwhile.
    pub(super) fn absent(&self, document: &DocumentId, session: SessionId, connection: ConnectionId) {
        let mut rooms = self.shard(document);
        if let Some(room) = rooms.get_mut(document)
            && room
                .present
                .get(&session)
                .is_some_and(|present| present.connection == connection)
            && let Some(mut present) = room.present.remove(&session)
        {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            present.state = Bytes::new();
            present.until = Instant::now();
            room.tell(present.connection, || {
                present.event(document, session, PresenceChange::Left)
            });
        }
        tidy(&mut rooms, document);
    }

    /// What may be done to a document has changed: everybody who watches it looks again.
    pub(crate) fn review(&self, document: &DocumentId) {
        let watchers: Vec<_> = match self.shard(document).get(document) {
            Some(room) => room.watchers.values().cloned().collect(),
            None => return,
        };
        watchers.iter().for_each(|watcher| watcher.review());
    }

    fn shard(&self, document: &DocumentId) -> MutexGuard<'_, HashMap<DocumentId, Room>> {
        lock(&self.shards[self.hasher.hash_one(document) as usize % SHARDS])
    }
}

fn tidy(rooms: &mut HashMap<DocumentId, Room>, document: &DocumentId) {
    if rooms
        .get(document)
        .is_some_and(|room| room.watchers.is_empty() && room.present.is_empty())
    {
        rooms.remove(document);
    }
}

impl Room {
    /// Tells all watchers but those of the connection it is about.
    fn tell(&self, about: ConnectionId, event: impl FnOnce() -> Bytes) {
        let mut others = self.watchers.values().filter(|watcher| watcher.connection() != about);
        let Some(first) = others.next() else { return };
        let event = event();
        first.hear(event.clone());
        others.for_each(|watcher| watcher.hear(event.clone()));
    }
}

impl Present {
    fn event(&self, document: &DocumentId, session: SessionId, change: PresenceChange) -> Bytes {
        let left = self.until.saturating_duration_since(Instant::now()).as_millis();
        let event = wire::PresenceEvent {
            document: Bytes::copy_from_slice(document.as_bytes()),
            session_id: Bytes::copy_from_slice(session.0.as_bytes()),
            principal: self.principal.as_str().to_owned(),
            change: change.into(),
            state: self.state.clone(),
            ttl_ms: left.try_into().unwrap_or(u32::MAX),
        };
        encode(&wire::ServerFrame::from(event))
    }
}

#[cfg(test)]
mod tests {
    use aetherflow_schema::native::{decode_server, wire::server_frame};
    use uuid::Uuid;

    use super::*;

    struct Ear(ConnectionId, Mutex<Vec<Bytes>>);

    impl Watcher for Ear {
        fn connection(&self) -> ConnectionId {
            self.0
        }

        fn hear(&self, event: Bytes) {
            lock(&self.1).push(event);
        }

        fn review(&self) {}
    }

    fn ear(connection: u64) -> Arc<Ear> {
        Arc::new(Ear(ConnectionId(connection), Mutex::default()))
    }

    /// What was heard since the last time: of whom, what, and the state.
    fn heard(ear: &Ear) -> Vec<(u8, PresenceChange, Bytes)> {
        let events = std::mem::take(&mut *lock(&ear.1)).into_iter();
        events
            .map(|event| match decode_server(event) {
                Ok(server_frame::Kind::PresenceEvent(event)) => {
                    let change = event.change();
                    assert_eq!(change == PresenceChange::Left, event.ttl_ms == 0);
                    (event.session_id[15], change, event.state)
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn author(n: u8) -> Author {
        Author {
            principal: Principal::anonymous(),
            session: SessionId(Uuid::from_u128(n.into())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_watch_hear_of_the_others_and_newcomers_of_everybody() {
        use PresenceChange::{Joined, Left, Updated};
        let rooms = Rooms::default();
        let document = DocumentId::from_bytes(&[1; 16]).unwrap();
        let present = |n: u8, state: &'static [u8]| {
            rooms.present(
                &document,
                &author(n),
                ConnectionId(n.into()),
                Bytes::from_static(state),
                1000,
            );
        };
        let (one, two) = (ear(1), ear(2));
        rooms.watch(&document, one.clone());
        present(1, b"a");
        assert_eq!(heard(&one), [], "nobody hears of itself");
        rooms.watch(&document, two.clone());
        assert_eq!(heard(&two), [(1, Joined, Bytes::from_static(b"a"))]);
        present(1, b"b");
        present(2, b"c");
        assert_eq!(heard(&two), [(1, Updated, Bytes::from_static(b"b"))]);
        assert_eq!(heard(&one), [(2, Joined, Bytes::from_static(b"c"))]);
        assert_eq!(rooms.sessions(), 2);
        rooms.absent(&document, author(1).session, ConnectionId(9));
        assert_eq!(heard(&two), [], "it goes on at another connection");
        rooms.absent(&document, author(1).session, ConnectionId(1));
        rooms.absent(&document, author(1).session, ConnectionId(1));
        assert_eq!(heard(&two), [(1, Left, Bytes::new())]);
        rooms.unwatch(&document, ConnectionId(1));
        present(2, b"d");
        assert_eq!(heard(&one), []);
        rooms.unwatch(&document, ConnectionId(2));
        rooms.absent(&document, author(2).session, ConnectionId(2));
        assert_eq!(rooms.sessions(), 0);
        assert!(rooms.shards.iter().all(|shard| lock(shard).is_empty()));
    }
}
