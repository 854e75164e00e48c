//! A document as one client has it, its sync with the server, and what the server acknowledged of it. No I/O.
//!
//! Owns: what "acknowledged" means for every checker. A change is acknowledged when the server, in a sync message,
//! advertised heads from which the change is reachable in this replica's own graph. That is what a stock client goes by
//! (`getSyncInfo`). Heads that are not known here yet count as soon as they are: the server did claim them.
//!
//! Invariant: acknowledgements only grow, over all connections; the sync state starts afresh on each.

mod native;

use std::collections::HashSet;

use aetherflow_schema::id::Offset;
use automerge::{
    AutoCommit, AutoSerde, AutomergeError, ChangeHash,
    sync::{self, SyncDoc},
};

use crate::places::Places;

/// A message of the server that cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// It is no sync message.
    #[error("not a sync message: {0}")]
    Malformed(#[from] sync::ReadMessageError),
    /// It cannot be applied.
    #[error("cannot be applied: {0}")]
    Apply(#[from] AutomergeError),
    /// An entry came that was there before.
    #[error("entry {0} came after {1}")]
    Order(Offset, Offset),
    /// An entry is not what it says.
    #[error("entry {0}: {1}")]
    Entry(Offset, String),
}

/// What is to be said to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// The replica has nothing of the document and asks for it.
    pub request: bool,
    /// An automerge sync message.
    pub message: Vec<u8>,
}

/// One document.
pub struct Replica {
    document: AutoCommit,
    sync: sync::State,
    acknowledged: HashSet<ChangeHash>,
    /// Heads that the server advertised and that are not known here.
    unknown: HashSet<ChangeHash>,
    /// What the server said last on this connection.
    server_heads: Option<Vec<ChangeHash>>,
    unavailable: bool,
    /// Only in the native protocol.
    place: Option<native::Place>,
    /// Where changes stand, as the server says in the native protocol.
    places: Places,
}

impl Replica {
    /// With what there is of the document; nothing, to ask for it.
    pub fn new(document: AutoCommit) -> Self {
        Self {
            document,
            sync: sync::State::new(),
            acknowledged: HashSet::new(),
            unknown: HashSet::new(),
            server_heads: None,
            unavailable: false,
            place: None,
            places: Places::default(),
        }
    }

    /// Changes the document: whatever `edit` does becomes one change.
    pub fn edit<R>(&mut self, edit: impl FnOnce(&mut AutoCommit) -> R) -> R {
        let result = edit(&mut self.document);
        self.document.commit();
        result
    }

    /// The document.
    pub fn document(&mut self) -> &mut AutoCommit {
        &mut self.document
    }

    /// A new connection: nothing that was said on the old one counts for the sync.
    pub fn reconnect(&mut self) {
        self.sync = sync::State::new();
        self.server_heads = None;
        self.unavailable = false;
    }

    /// What to say next, if anything.
    pub fn say(&mut self) -> Option<Saying> {
        let request = self.document.get_heads().is_empty() && self.sync.shared_heads.is_empty();
        let message = self.document.sync().generate_sync_message(&mut self.sync)?;
        Some(Saying {
            request,
            message: message.encode(),
        })
    }

    /// Takes in what the server said.
    ///
    /// # Errors
    /// When it is not a sync message that can be applied.
    pub fn hear(&mut self, message: &[u8]) -> Result<(), ReplicaError> {
        let message = sync::Message::decode(message)?;
        let heads = message.heads.clone();
        self.document.sync().receive_sync_message(&mut self.sync, message)?;
        self.unavailable = false;
        self.acknowledge(&heads);
        self.server_heads = Some(heads);
        Ok(())
    }

    /// The server says that it does not have the document.
    pub fn hear_unavailable(&mut self) {
        self.unavailable = true;
    }

    fn acknowledge(&mut self, heads: &[ChangeHash]) {
        self.unknown.extend(heads);
        let mut todo: Vec<ChangeHash> = self.unknown.drain().collect();
        let document = self.document.document();
        while let Some(hash) = todo.pop() {
            if self.acknowledged.contains(&hash) {
                continue;
            }
            match document.get_change_meta_by_hash(&hash) {
                Some(change) => {
                    self.acknowledged.insert(hash);
                    todo.extend(change.deps);
                }
                None => {
                    self.unknown.insert(hash);
                }
            }
        }
    }

    /// Every change that the server has ever acknowledged to this replica, its own and those of others.
    pub fn acknowledged(&self) -> &HashSet<ChangeHash> {
        &self.acknowledged
    }

    /// Heads that the server advertised and that never became known here. It claimed to have them all the same.
    pub fn advertised_unseen(&self) -> &HashSet<ChangeHash> {
        &self.unknown
    }

    /// Where the server has ever said that changes stand.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Whether the change is part of this replica.
    pub fn has(&mut self, hash: &ChangeHash) -> bool {
        self.document.document().get_change_meta_by_hash(hash).is_some()
    }

    /// The replica has something, and exactly what the server last said it has; in the native protocol, where that is not
    /// said, nothing that is not saved.
    pub fn is_in_sync(&mut self) -> bool {
        if self.place.is_some() {
            return self.is_saved();
        }
        let heads = self.document.get_heads();
        !heads.is_empty() && self.server_heads.as_ref().is_some_and(|server| same(server, &heads))
    }

    /// The server answered, on this connection, that it does not have the document.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }

    /// Whether the server has all of this replica's heads, or newer ones.
    pub fn is_saved(&mut self) -> bool {
        let heads = self.document.get_heads();
        !heads.is_empty() && heads.iter().all(|head| self.acknowledged.contains(head))
    }

    /// The heads, sorted.
    pub fn heads(&mut self) -> Vec<ChangeHash> {
        let mut heads = self.document.get_heads();
        heads.sort_unstable();
        heads
    }

    /// Number of changes.
    pub fn changes(&mut self) -> usize {
        self.document.get_changes_meta(&[]).len()
    }

    /// The content as JSON, with sorted keys.
    pub fn content(&mut self) -> serde_json::Value {
        serde_json::to_value(AutoSerde::from(self.document.document())).unwrap_or_default()
    }
}

fn same(a: &[ChangeHash], b: &[ChangeHash]) -> bool {
    a.len() == b.len() && a.iter().all(|hash| b.contains(hash))
}

#[cfg(test)]
mod tests {
    use automerge::{ROOT, transaction::Transactable};

    use super::*;

    fn replica() -> Replica {
        Replica::new(AutoCommit::new())
    }

    fn put(replica: &mut Replica, key: &str) -> ChangeHash {
        replica.edit(|document| document.put(ROOT, key, 1).unwrap());
        replica.heads()[0]
    }

    /// Delivers until both have nothing to say.
    fn talk(a: &mut Replica, b: &mut Replica) {
        loop {
            let there = a.say().map(|saying| b.hear(&saying.message).unwrap());
            let back = b.say().map(|saying| a.hear(&saying.message).unwrap());
            if there.is_none() && back.is_none() {
                return;
            }
        }
    }

    #[test]
    fn a_change_is_acknowledged_when_the_other_end_names_heads_that_contain_it() {
        let (mut client, mut server) = (replica(), replica());
        let first = put(&mut client, "a");
        let second = put(&mut client, "b");
        let upload = client.say().unwrap();
        assert!(client.acknowledged().is_empty() && !client.is_saved());
        server.hear(&upload.message).unwrap();
        talk(&mut client, &mut server);
        assert!(client.is_saved() && client.is_in_sync());
        assert_eq!(client.acknowledged(), &HashSet::from([first, second]));
    }

    #[test]
    fn heads_that_are_unknown_count_once_they_are_known() {
        let (mut client, mut server) = (replica(), replica());
        put(&mut client, "a");
        talk(&mut client, &mut server);
        let foreign = put(&mut server, "b");
        client.acknowledge(&[foreign]);
        assert!(!client.acknowledged().contains(&foreign));
        talk(&mut client, &mut server);
        assert!(client.acknowledged().contains(&foreign));
    }

    #[test]
    fn what_is_not_known_to_be_saved_is_not_acknowledged() {
        let (mut client, mut server) = (replica(), replica());
        put(&mut client, "a");
        talk(&mut client, &mut server);
        let late = put(&mut client, "b");
        assert!(!client.is_saved() && !client.is_in_sync());
        assert!(!client.acknowledged().contains(&late));
        client.reconnect();
        assert_eq!(client.acknowledged().len(), 1);
        talk(&mut client, &mut server);
        assert!(client.is_saved());
    }

    #[test]
    fn only_an_empty_replica_asks() {
        assert!(replica().say().unwrap().request);
        let mut writer = replica();
        put(&mut writer, "a");
        assert!(!writer.say().unwrap().request);
    }
}
