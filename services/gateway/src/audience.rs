//! Who has which document open, and on which connection.
//!
//! Invariant: nobody is called while an index is locked for writing, and a document that nobody has open takes no memory.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Arc, PoisonError, RwLock},
};

use aetherflow_schema::id::{ConnectionId, DocumentId};

/// Parts of the index, so that connections that come and go do not wait for each other.
const SHARDS: usize = 16;

type Members<T> = HashMap<ConnectionId, Arc<T>>;

/// See the [module](self).
pub(crate) struct Audience<T: ?Sized> {
    shards: [RwLock<HashMap<DocumentId, Members<T>>>; SHARDS],
    hasher: RandomState,
}

impl<T: ?Sized> Default for Audience<T> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
        }
    }
}

/// Somebody whose right to a document may be taken back.
pub(crate) trait Reviewed: Send + Sync {
    /// What it may do has changed: it looks again.
    fn review(&self);
}

impl<T: ?Sized> Audience<T> {
    /// A connection opened a document.
    pub(crate) fn join(&self, document: &DocumentId, connection: ConnectionId, member: Arc<T>) {
        let mut shard = self.shard(document).write().unwrap_or_else(PoisonError::into_inner);
        shard.entry(document.clone()).or_default().insert(connection, member);
    }

    /// A connection closed a document.
    pub(crate) fn leave(&self, document: &DocumentId, connection: ConnectionId) {
        let mut shard = self.shard(document).write().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut members) = shard.entry(document.clone()) {
            members.get_mut().remove(&connection);
            if members.get().is_empty() {
                members.remove();
            }
        }
    }

    /// Does something with each who has a document open. It must not come back here.
    pub(crate) fn each(&self, document: &DocumentId, mut act: impl FnMut(ConnectionId, &T)) {
        let shard = self.shard(document).read().unwrap_or_else(PoisonError::into_inner);
        for (connection, member) in shard.get(document).into_iter().flatten() {
            act(*connection, member);
        }
    }

    fn all(&self, document: &DocumentId) -> Vec<Arc<T>> {
        let shard = self.shard(document).read().unwrap_or_else(PoisonError::into_inner);
        let members = shard.get(document).into_iter().flat_map(HashMap::values);
        members.cloned().collect()
    }

    fn shard(&self, document: &DocumentId) -> &RwLock<HashMap<DocumentId, Members<T>>> {
        &self.shards[self.hasher.hash_one(document) as usize % SHARDS]
    }
}

impl<T: Reviewed + ?Sized> Audience<T> {
    /// What may be done to a document has changed: everybody who has it open looks again.
    pub(crate) fn review(&self, document: &DocumentId) {
        self.all(document).iter().for_each(|member| member.review());
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn who_left_leaves_nothing_behind() {
        let audience = Audience::<u8>::default();
        let document = DocumentId::from_uuid(Uuid::from_u128(1));
        let members = || {
            let mut members = Vec::new();
            audience.each(&document, |connection, member| members.push((connection.0, *member)));
            members
        };
        audience.join(&document, ConnectionId(1), Arc::new(7));
        audience.join(&document, ConnectionId(1), Arc::new(8));
        assert_eq!(members(), [(1, 8)]);
        audience.leave(&document, ConnectionId(1));
        audience.leave(&document, ConnectionId(1));
        assert_eq!(members(), []);
        assert!(audience.shards.iter().all(|shard| shard.read().unwrap().is_empty()));
    }
}
