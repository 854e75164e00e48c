//! Local changes of a document without an outcome, in the order in which they were made.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use aetherflow_schema::{id::ChangeHash, locks::Fencing};
use bytes::Bytes;

use super::record::What;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Pending {
    changes: BTreeMap<u64, Local>,
    numbers: HashMap<ChangeHash, u64>,
    next: u64,
}

/// A change, and where in the file its record stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Local {
    pub(super) hash: ChangeHash,
    pub(super) bytes: Bytes,
    pub(super) fencing: Option<Fencing>,
    pub(super) at: u64,
}

impl From<Local> for What {
    fn from(local: Local) -> Self {
        let Local {
            hash, bytes, fencing, ..
        } = local;
        Self::Local { hash, bytes, fencing }
    }
}

impl Pending {
    /// Adds a change, unless it is here already.
    pub(super) fn add(&mut self, local: Local) {
        if let Entry::Vacant(place) = self.numbers.entry(local.hash) {
            place.insert(self.next);
            self.changes.insert(self.next, local);
            self.next += 1;
        }
    }

    /// It has an outcome.
    pub(super) fn remove(&mut self, hash: &ChangeHash) {
        if let Some(number) = self.numbers.remove(hash) {
            self.changes.remove(&number);
        }
    }

    pub(super) fn has(&self, hash: &ChangeHash) -> bool {
        self.numbers.contains_key(hash)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Local> {
        self.changes.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_here_once_and_in_its_place() {
        let local = |n: u8| Local {
            hash: ChangeHash([n; 32]),
            bytes: Bytes::from(vec![n]),
            fencing: None,
            at: n.into(),
        };
        let mut pending = Pending::default();
        for n in [3, 1, 2, 1, 4] {
            pending.add(local(n));
        }
        let hashes = |pending: &Pending| pending.iter().map(|local| local.hash.0[0]).collect::<Vec<_>>();
        assert_eq!(hashes(&pending), [3, 1, 2, 4]);
        for n in [1, 1, 9] {
            pending.remove(&local(n).hash);
        }
        pending.add(local(1));
        assert_eq!(hashes(&pending), [3, 2, 4, 1]);
        assert!(pending.has(&local(1).hash) && !pending.has(&local(9).hash));
    }
}
