//! The index rows of a stretch of the log, in memory.
//!
//! **Owns** the rows of all indexes for the frames it was given, and how far the log is indexed once they are in tables.
//! **Inputs**: committed frames, in order.
//! **Effects**: none; it is data, read by look-ups and written out by `tables`.
//! **Invariants**: it holds the rows of a frame all or not at all; adding the same frames again gives the same rows.
//! **On failure** of reading a frame's entries it is not to be used further.
//!
//! Ids come from clients: they are hashed with a seed of the process, so that nobody can aim at a bucket. Tables want their
//! rows sorted; that is the index thread's work, not the writer's.

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use aetherflow_schema::{
    id::{Offset, OpId},
    record::{EntryHead, Frame, RecordError},
};
use hashbrown::{HashTable, hash_table};
use indexmap::IndexMap;

use crate::keys::{self, Stamp};

/// A document's entry: the first offset of its frame, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) base: Offset,
    pub(crate) place: u16,
}

impl Place {
    pub(crate) fn offset(self) -> Offset {
        Offset(self.base.0 + u64::from(self.place))
    }
}

/// A principal's entry: its frame, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Written {
    pub(crate) stamp: Stamp,
    pub(crate) place: u16,
}

/// A document's operation, and where it stands.
struct Operation {
    op: OpId,
    /// The document's number in the generation.
    document: usize,
    offset: Offset,
}

/// One for all generations, so that whoever looks into several hashes once.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// See the [module](self).
pub(crate) struct Generation {
    /// The entries of each document, ascending, by what all keys of the document begin with.
    documents: IndexMap<Vec<u8>, Vec<Place>>,
    ops: HashTable<Operation>,
    /// The entries of each principal, ascending, by its name.
    principals: IndexMap<Vec<u8>, Vec<Written>>,
    indexed: Vec<Offset>,
    bytes: usize,
}

impl Generation {
    /// An empty one, with room for so many entries, that goes on where each partition is indexed up to.
    pub(crate) fn after(indexed: Vec<Offset>, entries: usize) -> Self {
        Self {
            documents: IndexMap::new(),
            // At once, since growing it later would hold up the writer.
            ops: HashTable::with_capacity(entries),
            principals: IndexMap::new(),
            indexed,
            bytes: 0,
        }
    }

    /// An empty one that goes on after another, in the memory of this one: what is touched for the first time costs the writer
    /// a fault for each page.
    pub(crate) fn again_after(mut self, indexed: &[Offset]) -> Self {
        self.indexed.clear();
        self.indexed.extend_from_slice(indexed);
        self
    }

    /// Without its rows, and with the memory of most of them.
    pub(crate) fn emptied(mut self) -> Self {
        self.documents.clear();
        self.ops.clear();
        self.principals.clear();
        self.bytes = 0;
        self
    }

    /// For each partition the offset up to which it is indexed once these rows are.
    pub(crate) fn indexed(&self) -> &[Offset] {
        &self.indexed
    }

    /// Entries in it.
    pub(crate) fn entries(&self) -> usize {
        self.ops.len()
    }

    /// Bytes of the frames that its rows stand for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn add(&mut self, frame: &Frame) -> Result<(), RecordError> {
        let header = frame.header();
        let stamp = Stamp {
            committed_us: header.committed_us,
            partition: header.partition,
            base: header.base,
        };
        let mut prefix = Vec::new();
        let mut author = None;
        for (place, head) in (0u16..).zip(frame.heads()) {
            let EntryHead {
                document,
                op_id: op,
                principal,
            } = head?;
            // Entries of one frame are mostly by the same principal.
            let number = match author {
                Some((name, number)) if name == principal => number,
                _ => self.principal(principal),
            };
            author = Some((principal, number));
            self.write(number, Written { stamp, place });
            keys::write_document(&mut prefix, header.partition, document);
            let place = Place {
                base: header.base,
                place,
            };
            let number = match self.documents.get_index_of(&prefix) {
                Some(number) => number,
                None => self.documents.insert_full(prefix.clone(), Vec::new()).0,
            };
            self.documents[number].push(place);
            self.place(hash(&prefix, &op), op, number, place.offset());
        }
        self.indexed[usize::from(header.partition.0)] = header.last();
        self.bytes += frame.bytes().len();
        Ok(())
    }

    fn place(&mut self, hash_of: u64, op: OpId, document: usize, offset: Offset) {
        let same = |known: &Operation| known.op == op && known.document == document;
        let documents = &self.documents;
        let again = |known: &Operation| {
            let name = documents.get_index(known.document).map_or(&[][..], |(name, _)| name);
            hash(name, &known.op)
        };
        match self.ops.entry(hash_of, same, again) {
            hash_table::Entry::Occupied(mut known) => known.get_mut().offset = offset,
            hash_table::Entry::Vacant(room) => {
                room.insert(Operation { op, document, offset });
            }
        }
    }

    fn principal(&mut self, name: &[u8]) -> usize {
        match self.principals.get_index_of(name) {
            Some(number) => number,
            None => self.principals.insert_full(name.to_vec(), Vec::new()).0,
        }
    }

    fn write(&mut self, principal: usize, entry: Written) {
        let written = &mut self.principals[principal];
        if written.last().is_none_or(|last| *last < entry) {
            return written.push(entry);
        }
        // Another partition's frame of the same moment, or the clock was set back. What is here already is added again.
        if let Err(place) = written.binary_search(&entry) {
            written.insert(place, entry);
        }
    }

    /// The entries of a principal, in order.
    pub(crate) fn written(&self, principal: &[u8]) -> &[Written] {
        self.principals.get(principal).map_or(&[], Vec::as_slice)
    }

    /// What all keys of each principal begin with, and its entries, both in the order of their keys.
    pub(crate) fn all_written(&self) -> impl Iterator<Item = (Vec<u8>, &[Written])> {
        let principals = self.principals.iter();
        let mut principals: Vec<_> = principals
            .map(|(name, written)| (keys::principal(name), written.as_slice()))
            .collect();
        principals.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        principals.into_iter()
    }

    /// Where an operation of a document stands. `hash` is what [`hash`] makes of the two.
    pub(crate) fn operation(&self, hash: u64, document: &[u8], op: &OpId) -> Option<Offset> {
        let is_it = |known: &Operation| {
            let named = self.documents.get_index(known.document);
            known.op == *op && named.is_some_and(|(name, _)| name == document)
        };
        self.ops.find(hash, is_it).map(|known| known.offset)
    }

    /// The entries of a document, in order.
    pub(crate) fn places(&self, document: &[u8]) -> &[Place] {
        self.documents.get(document).map_or(&[], Vec::as_slice)
    }

    /// Up to `limit` documents: those that come next after `after`, by what their keys begin with, in no order.
    pub(crate) fn documents(&self, after: Option<&[u8]>, limit: usize) -> Vec<&[u8]> {
        let keys = self.documents.keys().map(Vec::as_slice);
        let mut documents: Vec<&[u8]> = keys.filter(|key| after.is_none_or(|after| *key > after)).collect();
        if limit < documents.len() {
            documents.select_nth_unstable(limit);
            documents.truncate(limit);
        }
        documents
    }

    /// Each document with its places, both in the order of their keys.
    pub(crate) fn all_places(&self) -> impl Iterator<Item = (&[u8], &[Place])> {
        self.sorted_documents()
            .into_iter()
            .map(|(document, number)| (document, self.documents[number].as_slice()))
    }

    /// Each operation with its document, in the order of their keys.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&[u8], OpId, Offset)> {
        let documents = self.sorted_documents();
        let mut rank = vec![0; documents.len()];
        for (at, (_, number)) in documents.iter().enumerate() {
            rank[*number] = at;
        }
        let ops = self.ops.iter();
        let mut ops: Vec<_> = ops
            .map(|known| (rank[known.document], known.op, known.offset))
            .collect();
        ops.sort_unstable();
        ops.into_iter()
            .map(move |(at, op, offset)| (documents[at].0, op, offset))
    }

    fn sorted_documents(&self) -> Vec<(&[u8], usize)> {
        let documents = self.documents.keys().map(Vec::as_slice);
        let mut documents: Vec<_> = documents.zip(0..).collect();
        documents.sort_unstable();
        documents
    }
}

/// What an operation of a document is found by. The document counts: a change that was copied into very many of them has one id.
pub(crate) fn hash(document: &[u8], op: &OpId) -> u64 {
    HASHER.hash_one((document, op.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operation_in_many_documents_is_spread() {
        let hashes: std::collections::HashSet<u64> = (0..1_000u16)
            .map(|document| hash(&document.to_be_bytes(), &OpId([7; 32])))
            .collect();
        assert_eq!(hashes.len(), 1_000);
    }
}
