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

use std::collections::HashMap;

use aetherflow_schema::{
    id::{Offset, OpId},
    record::{EntryHead, Frame, RecordError},
};

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

/// A document's number in a generation, or a principal's.
type Number = u32;

/// See the [module](self).
pub(crate) struct Generation {
    /// By what all keys of the document begin with.
    documents: HashMap<Vec<u8>, Number>,
    /// Of each document, ascending.
    places: Vec<Vec<Place>>,
    ops: HashMap<(Number, OpId), Offset>,
    /// By name.
    principals: HashMap<Vec<u8>, Number>,
    /// Of each principal, ascending.
    written: Vec<Vec<Written>>,
    indexed: Vec<Offset>,
    bytes: usize,
}

impl Generation {
    /// An empty one, with room for so many entries, that goes on where each partition is indexed up to.
    pub(crate) fn after(indexed: Vec<Offset>, entries: usize) -> Self {
        Self {
            documents: HashMap::new(),
            places: Vec::new(),
            // At once, since growing it later would hold up the writer.
            ops: HashMap::with_capacity(entries),
            principals: HashMap::new(),
            written: Vec::new(),
            indexed,
            bytes: 0,
        }
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
            let number = match self.documents.get(&prefix) {
                Some(number) => *number,
                None => {
                    let number = self.places.len() as Number;
                    self.documents.insert(prefix.clone(), number);
                    self.places.push(Vec::new());
                    number
                }
            };
            self.ops.insert((number, op), place.offset());
            self.places[number as usize].push(place);
        }
        self.indexed[usize::from(header.partition.0)] = header.last();
        self.bytes += frame.bytes().len();
        Ok(())
    }

    fn principal(&mut self, name: &[u8]) -> Number {
        if let Some(number) = self.principals.get(name) {
            return *number;
        }
        let number = self.written.len() as Number;
        self.principals.insert(name.to_vec(), number);
        self.written.push(Vec::new());
        number
    }

    fn write(&mut self, principal: Number, entry: Written) {
        let written = &mut self.written[principal as usize];
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
        let number = self.principals.get(principal);
        number.map_or(&[], |number| &self.written[*number as usize])
    }

    /// What all keys of each principal begin with, and its entries, both in the order of their keys.
    pub(crate) fn all_written(&self) -> impl Iterator<Item = (Vec<u8>, &[Written])> {
        let principals = self.principals.iter();
        let mut principals: Vec<_> = principals
            .map(|(name, number)| (keys::principal(name), self.written[*number as usize].as_slice()))
            .collect();
        principals.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        principals.into_iter()
    }

    /// Where an operation of a document stands.
    pub(crate) fn operation(&self, document: &[u8], op: OpId) -> Option<Offset> {
        let number = self.documents.get(document)?;
        self.ops.get(&(*number, op)).copied()
    }

    /// The entries of a document, in order.
    pub(crate) fn places(&self, document: &[u8]) -> &[Place] {
        let number = self.documents.get(document);
        number.map_or(&[], |number| &self.places[*number as usize])
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
            .map(|(document, number)| (document, self.places[number as usize].as_slice()))
    }

    /// Each operation with its document, in the order of their keys.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&[u8], OpId, Offset)> {
        let documents = self.sorted_documents();
        let mut rank = vec![0; documents.len()];
        for (at, (_, number)) in documents.iter().enumerate() {
            rank[*number as usize] = at;
        }
        let ops = self.ops.iter();
        let mut ops: Vec<_> = ops
            .map(|((number, op), offset)| (rank[*number as usize], *op, *offset))
            .collect();
        ops.sort_unstable();
        ops.into_iter()
            .map(move |(at, op, offset)| (documents[at].0, op, offset))
    }

    fn sorted_documents(&self) -> Vec<(&[u8], Number)> {
        let documents = self.documents.iter();
        let mut documents: Vec<_> = documents
            .map(|(document, number)| (document.as_slice(), *number))
            .collect();
        documents.sort_unstable();
        documents
    }
}
