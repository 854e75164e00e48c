//! The operations that were placed and are not committed yet, so that none is placed twice.
//!
//! **Owns** their ids, in the order of their offsets, which are dense: an id's place in the queue is its offset.
//! **Invariants**: an operation is found from when it was pushed until it was committed.

use std::collections::VecDeque;

use aetherflow_schema::id::{DocumentId, Offset, OpId};
use hashbrown::HashTable;

/// See the [module](self).
pub(crate) struct InFlight {
    /// Offset of the oldest.
    first: Offset,
    queue: VecDeque<(OpId, DocumentId)>,
    offsets: HashTable<Offset>,
}

impl InFlight {
    /// Nothing is in flight; the next operation gets the offset `next`.
    pub(crate) fn from(next: Offset) -> Self {
        Self {
            first: next,
            queue: VecDeque::new(),
            offsets: HashTable::new(),
        }
    }

    /// Where an operation of a document was placed.
    pub(crate) fn find(&self, op: &OpId, document: &DocumentId) -> Option<Offset> {
        let is_it = |offset: &Offset| {
            let (known, of) = self.at(*offset);
            known == op && of == document
        };
        self.offsets.find(hash(op, document), is_it).copied()
    }

    /// Takes an operation that was placed at the next offset.
    pub(crate) fn push(&mut self, op: OpId, document: DocumentId) {
        let offset = Offset(self.first.0 + self.queue.len() as u64);
        let again = |offset: &Offset| {
            let (op, document) = &self.queue[(offset.0 - self.first.0) as usize];
            hash(op, document)
        };
        self.offsets.insert_unique(hash(&op, &document), offset, again);
        self.queue.push_back((op, document));
    }

    /// Forgets what is committed.
    pub(crate) fn settle(&mut self, committed: Offset) {
        while self.first <= committed
            && let Some((op, document)) = self.queue.pop_front()
        {
            let settled = self.first;
            if let Ok(known) = self
                .offsets
                .find_entry(hash(&op, &document), |offset| *offset == settled)
            {
                known.remove();
            }
            self.first = settled.next();
        }
    }

    fn at(&self, offset: Offset) -> &(OpId, DocumentId) {
        &self.queue[(offset.0 - self.first.0) as usize]
    }
}

/// Operation ids are hashes already: their first eight bytes will do, with those of the document, since a change that was copied has one id in
/// all of them. Whoever makes ids that begin alike has few of them to look through: the queue of the log bounds what is in flight.
fn hash(OpId(op): &OpId, document: &DocumentId) -> u64 {
    let head = |bytes: &[u8]| bytes.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
    head(op).rotate_left(5) ^ head(document.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn what_is_not_committed_is_found_and_nothing_else(
            ops in prop::collection::vec((any::<bool>(), 0..40u8, 0..3u128), 1..200),
            commits in prop::collection::vec(0..200u64, 0..8),
        ) {
            let id = |(alike, op, document): (bool, u8, u128)| {
                let mut bytes = [0; 32];
                bytes[if alike { 31 } else { 0 }] = op;
                (OpId(bytes), DocumentId::from_uuid(Uuid::from_u128(document)))
            };
            let mut in_flight = InFlight::from(Offset(1));
            let mut placed: Vec<(OpId, DocumentId)> = Vec::new();
            let mut committed = 0;
            for (at, op) in ops.iter().enumerate() {
                let (op, document) = id(*op);
                let open = &placed[committed..];
                let expected = open.iter().position(|known| *known == (op, document.clone()));
                let expected = expected.map(|place| Offset((committed + place) as u64 + 1));
                prop_assert_eq!(in_flight.find(&op, &document), expected);
                if expected.is_none() {
                    in_flight.push(op, document.clone());
                    placed.push((op, document));
                }
                if commits.contains(&(at as u64)) {
                    committed = committed.max(placed.len() / 2);
                    in_flight.settle(Offset(committed as u64));
                }
            }
        }
    }
}
