//! Every key in the store. Numbers are big-endian, so that keys sort as numbers do; nothing here may ever change.
//!
//! | family | key | value |
//! | --- | --- | --- |
//! | [`ENTRY`](Family::Entry) | partition u16, offset of the frame's first entry u64 | the frame |
//! | [`BY_DOC`](Family::ByDoc) | partition, document, offset of the frame's first entry u64 | places u16 of the document's entries in the frame |
//! | [`BY_PRINCIPAL`](Family::ByPrincipal) | principal, commit time u64, partition u16, offset of the frame's first entry u64 | places u16 of the principal's entries in the frame |
//! | [`OP_ID`](Family::OpId) | partition, document, op id 32 bytes | offset u64 |
//! | [`SNAPSHOT`](Family::Snapshot) | partition, document, offset u64 | see `snapshot` |
//! | [`META`](Family::Meta) | a name | see `meta` |
//! | each index | [`INDEXED`] | for each partition the offset u64 up to which the family is complete |
//!
//! A document or a principal in a key is its length (u8) and its bytes, so that no id is the beginning of another one. The op-id index
//! holds the document too: a copied document shares changes, and so operation ids, with its original.

use aetherflow_schema::id::{DocumentId, Offset, OpId, PartitionId};
#[cfg(doc)]
use aetherflow_schema::limits::PRINCIPAL_BYTES;

/// A key family: a RocksDB column family of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The log itself: frames by offset.
    Entry,
    /// Where a document's entries stand.
    ByDoc,
    /// Where a principal's entries stand, by time.
    ByPrincipal,
    /// Which operations a document has, for dedupe.
    OpId,
    /// Materialized documents.
    Snapshot,
    /// What the store says about itself.
    Meta,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Entry,
        Self::ByDoc,
        Self::ByPrincipal,
        Self::OpId,
        Self::Snapshot,
        Self::Meta,
    ];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::ByDoc => "by_doc",
            Self::ByPrincipal => "by_principal",
            Self::OpId => "op_id",
            Self::Snapshot => "snapshot",
            Self::Meta => "meta",
        }
    }
}

/// The mark of an index. There are at most 65,535 partitions, so that none has this number, and no principal's name begins
/// with a byte that no text begins with; it sorts after all rows.
pub const INDEXED: [u8; 2] = [0xff; 2];

/// Key of a frame.
pub fn entry(partition: PartitionId, base: Offset) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&partition.0.to_be_bytes());
    key[2..].copy_from_slice(&base.0.to_be_bytes());
    key
}

/// What all keys of a document in a family begin with.
pub fn document(partition: PartitionId, document: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + document.len() + 32);
    write_document(&mut key, partition, document);
    key
}

/// The same, into a buffer that is used again and again.
pub fn write_document(key: &mut Vec<u8>, partition: PartitionId, document: &[u8]) {
    key.clear();
    key.extend_from_slice(&partition.0.to_be_bytes());
    key.push(document.len() as u8);
    key.extend_from_slice(document);
}

/// Key of a position of a document, in the families [`Family::ByDoc`] and [`Family::Snapshot`].
pub fn document_at(partition: PartitionId, id: &[u8], offset: Offset) -> Vec<u8> {
    let mut key = document(partition, id);
    key.extend_from_slice(&offset.0.to_be_bytes());
    key
}

/// What all keys of a principal begin with. Its name has [`PRINCIPAL_BYTES`] at most.
pub fn principal(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len() + 18);
    key.push(name.len() as u8);
    key.extend_from_slice(name);
    key
}

/// A frame, in the order of commit times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When it was committed, microseconds since 1970.
    pub committed_us: u64,
    /// Its partition.
    pub partition: PartitionId,
    /// Its first entry.
    pub base: Offset,
}

/// Key of a principal's entries in a frame.
pub fn principal_at(principal: &[u8], stamp: Stamp) -> Vec<u8> {
    let mut key = principal.to_vec();
    key.extend_from_slice(&stamp.committed_us.to_be_bytes());
    key.extend_from_slice(&stamp.partition.0.to_be_bytes());
    key.extend_from_slice(&stamp.base.0.to_be_bytes());
    key
}

/// The frame in a key that [`principal_at`] made of this principal; `None` for anything else.
pub fn stamp_of(principal: &[u8], key: &[u8]) -> Option<Stamp> {
    let stamp: &[u8; 18] = key.strip_prefix(principal)?.try_into().ok()?;
    let (committed_us, rest) = stamp.split_first_chunk()?;
    let (partition, base) = rest.split_first_chunk()?;
    Some(Stamp {
        committed_us: u64::from_be_bytes(*committed_us),
        partition: PartitionId(u16::from_be_bytes(*partition)),
        base: Offset(u64::from_be_bytes(base.try_into().ok()?)),
    })
}

/// Key of an operation of a document: a key of the document, and the id.
#[derive(Debug, Clone)]
pub struct OpKey(Vec<u8>);

impl OpKey {
    /// Its parts put together.
    pub fn new(partition: PartitionId, id: &[u8], op: OpId) -> Self {
        let mut key = document(partition, id);
        key.extend_from_slice(&op.0);
        Self(key)
    }

    /// From what all keys of the document begin with.
    pub fn of(document: &[u8], op: OpId) -> Self {
        Self([document, &op.0].concat())
    }

    /// What all keys of the document begin with.
    pub fn document(&self) -> &[u8] {
        &self.0[..self.0.len() - 32]
    }

    /// The id.
    pub fn op(&self) -> OpId {
        let mut op = [0; 32];
        op.copy_from_slice(&self.0[self.0.len() - 32..]);
        OpId(op)
    }
}

impl AsRef<[u8]> for OpKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The document in a key made by [`document`], or in anything that begins with one.
pub fn document_of(key: &[u8]) -> Option<DocumentId> {
    let length = usize::from(*key.get(2)?);
    DocumentId::from_bytes(key.get(3..3 + length)?).ok()
}

/// The document and the offset in a key made by [`document_at`]; `None` for anything else.
pub fn split_document_at(key: &[u8]) -> Option<(DocumentId, Offset)> {
    let document = document_of(key)?;
    let offset: [u8; 8] = key.get(3 + document.as_bytes().len()..)?.try_into().ok()?;
    Some((document, Offset(u64::from_be_bytes(offset))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_by_partition_document_and_offset(
            a in (any::<u16>(), prop::collection::vec(any::<u8>(), 1..20), any::<u64>()),
            b in (any::<u16>(), prop::collection::vec(any::<u8>(), 1..20), any::<u64>()),
        ) {
            let key = |(p, d, o): &(u16, Vec<u8>, u64)| document_at(PartitionId(*p), d, Offset(*o));
            let order = |(p, d, o): &(u16, Vec<u8>, u64)| (*p, d.len(), d.clone(), *o);
            prop_assert_eq!(key(&a).cmp(&key(&b)), order(&a).cmp(&order(&b)));
            let (document, offset) = split_document_at(&key(&a)).unwrap();
            prop_assert_eq!((document.as_bytes(), offset.0), (a.1.as_slice(), a.2));
            prop_assert!(a.0 == u16::MAX || key(&a).as_slice() < INDEXED.as_slice());
        }

        #[test]
        fn keys_of_a_principal_sort_by_time(
            a in ("\\PC{1,80}", any::<u64>(), any::<u16>(), any::<u64>()),
            b in ("\\PC{1,80}", any::<u64>(), any::<u16>(), any::<u64>()),
        ) {
            let stamp = |(_, committed_us, partition, base): &(String, u64, u16, u64)| Stamp {
                committed_us: *committed_us,
                partition: PartitionId(*partition),
                base: Offset(*base),
            };
            let key = |of: &(String, u64, u16, u64)| principal_at(&principal(of.0.as_bytes()), stamp(of));
            let order = |of: &(String, u64, u16, u64)| (of.0.len(), of.0.clone(), stamp(of));
            prop_assert_eq!(key(&a).cmp(&key(&b)), order(&a).cmp(&order(&b)));
            prop_assert_eq!(stamp_of(&principal(a.0.as_bytes()), &key(&a)), Some(stamp(&a)));
            prop_assert!(a.0 == b.0 || stamp_of(&principal(a.0.as_bytes()), &key(&b)).is_none());
            prop_assert!(key(&a).as_slice() < INDEXED.as_slice());
        }
    }
}
