//! A store in memory. It keeps everything the trait promises but surviving the process, and can be told to fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aetherflow_schema::{
    history::{Authored, AuthoredPage, AuthoredQuery, Position},
    id::{DocumentId, Offset, OpId, PartitionId},
    record::{Entry, Frame, RecordError},
};

use crate::{
    storage::{Operation, Snapshot, Storage, StorageError, Verified},
    tail::{Damage, PartitionState, Tail},
};

#[derive(Default)]
struct Contents {
    frames: BTreeMap<(PartitionId, Offset), Frame>,
    by_document: BTreeMap<(DocumentId, Offset), Entry>,
    ops: BTreeMap<(DocumentId, OpId), Offset>,
    snapshots: BTreeMap<(DocumentId, Offset), Snapshot>,
    tails: BTreeMap<PartitionId, Tail>,
    failsafe: Option<Arc<str>>,
    fail_next_write: Option<String>,
    panic_next_write: bool,
    unreadable: Option<OpId>,
    quarantined: BTreeMap<PartitionId, Damage>,
}

/// See the [module](self).
pub struct MemoryStorage {
    partitions: u16,
    contents: Mutex<Contents>,
}

impl MemoryStorage {
    /// An empty store.
    pub fn new(partitions: u16) -> Self {
        Self {
            partitions,
            contents: Mutex::default(),
        }
    }

    /// Makes the next write fail with this reason, and so puts the store in failsafe.
    pub fn fail_next_write(&self, reason: &str) {
        self.lock().fail_next_write = Some(reason.to_owned());
    }

    /// Makes the next write panic.
    pub fn panic_next_write(&self) {
        self.lock().panic_next_write = true;
    }

    /// Makes look-ups of this operation fail.
    pub fn make_unreadable(&self, op: OpId) {
        self.lock().unreadable = Some(op);
    }

    /// Takes a partition for damaged, until the store is resumed.
    pub fn quarantine(&self, partition: PartitionId, damage: Damage) {
        self.lock().quarantined.insert(partition, damage);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(error: RecordError) -> StorageError {
    StorageError::Unreadable(error.to_string())
}

impl Storage for MemoryStorage {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn state(&self, partition: PartitionId) -> PartitionState {
        let contents = self.lock();
        match contents.quarantined.get(&partition) {
            Some(damage) => PartitionState::Quarantined(damage.clone()),
            None => PartitionState::Sound(contents.tails.get(&partition).copied().unwrap_or_default()),
        }
    }

    fn lookup(&self, operations: &[Operation<'_>]) -> Result<Vec<Option<Offset>>, StorageError> {
        let contents = self.lock();
        if operations.iter().any(|wanted| Some(wanted.op) == contents.unreadable) {
            return Err(StorageError::Unreadable("an index row is damaged".to_owned()));
        }
        Ok(operations
            .iter()
            .map(|wanted| contents.ops.get(&(wanted.document.clone(), wanted.op)).copied())
            .collect())
    }

    fn write(&self, frames: &[Frame]) -> Result<(), StorageError> {
        let mut contents = self.lock();
        assert!(
            !std::mem::take(&mut contents.panic_next_write),
            "this write was to panic"
        );
        if let Some(reason) = contents.fail_next_write.take() {
            contents.failsafe = Some(reason.into());
        }
        if let Some(reason) = &contents.failsafe {
            return Err(StorageError::Failsafe(reason.clone()));
        }
        for frame in frames {
            let header = frame.header();
            for entry in frame.entries() {
                let entry = entry.map_err(unreadable)?;
                let document = entry.draft.document.clone();
                contents.ops.insert((document.clone(), entry.draft.op_id), entry.offset);
                contents.by_document.insert((document, entry.offset), entry);
            }
            contents.frames.insert((header.partition, header.base), frame.clone());
            let tail = Tail {
                offset: header.last(),
                chain: header.chain_after,
                epoch: header.epoch,
            };
            contents.tails.insert(header.partition, tail);
        }
        Ok(())
    }

    fn frames(&self, partition: PartitionId, from: Offset, max_bytes: usize) -> Result<Vec<Frame>, StorageError> {
        let contents = self.lock();
        if let Some(damage) = contents.quarantined.get(&partition) {
            return Err(StorageError::Quarantined(partition, damage.clone()));
        }
        let first = contents
            .frames
            .range((partition, Offset::ZERO)..=(partition, from))
            .next_back()
            .map_or(from, |((_, base), _)| *base);
        let mut bytes = 0;
        Ok(contents
            .frames
            .range((partition, first)..=(partition, Offset(u64::MAX)))
            .map(|(_, frame)| frame.clone())
            .filter(|frame| frame.header().last() >= from)
            .take_while(|frame| {
                let fits = bytes < max_bytes.max(1);
                bytes += frame.bytes().len();
                fits
            })
            .collect())
    }

    fn document_entries(
        &self,
        document: &DocumentId,
        after: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let contents = self.lock();
        let mut bytes = 0;
        Ok(contents
            .by_document
            .range((document.clone(), after.next())..=(document.clone(), Offset(u64::MAX)))
            .map(|(_, entry)| entry.clone())
            .take_while(|entry| {
                let fits = bytes < max_bytes.max(1);
                bytes += entry.draft.payload.len().max(1);
                fits
            })
            .collect())
    }

    fn document_tail(&self, document: &DocumentId) -> Result<Option<Offset>, StorageError> {
        let contents = self.lock();
        let range = (document.clone(), Offset::ZERO)..=(document.clone(), Offset(u64::MAX));
        Ok(contents
            .by_document
            .range(range)
            .next_back()
            .map(|((_, offset), _)| *offset))
    }

    fn documents(&self, after: Option<&DocumentId>, limit: usize) -> Result<Vec<DocumentId>, StorageError> {
        let contents = self.lock();
        let mut ids: Vec<DocumentId> = contents.by_document.keys().map(|(id, _)| id.clone()).collect();
        ids.dedup();
        ids.sort_by_key(|id| (id.partition(self.partitions), id.clone()));
        let key = |id: &DocumentId| (id.partition(self.partitions), id.clone());
        ids.retain(|id| after.is_none_or(|after| key(id) > key(after)));
        ids.truncate(limit);
        Ok(ids)
    }

    fn authored(&self, query: &AuthoredQuery) -> Result<AuthoredPage, StorageError> {
        let contents = self.lock();
        let mut entries: Vec<Authored> = contents
            .by_document
            .values()
            .filter(|entry| entry.draft.author.principal == query.principal)
            .filter(|entry| query.document.as_ref().is_none_or(|of| *of == entry.draft.document))
            .map(|entry| Authored {
                position: Position {
                    committed_us: entry.committed_us,
                    partition: entry.draft.document.partition(self.partitions),
                    offset: entry.offset,
                },
                document: entry.draft.document.clone(),
                kind: entry.draft.kind,
                op_id: entry.draft.op_id,
                session: entry.draft.author.session,
                bytes: entry.draft.payload.len() as u64,
            })
            .filter(|entry| (query.since_us..query.until_us).contains(&entry.position.committed_us))
            .filter(|entry| Some(entry.position) > query.after)
            .collect();
        entries.sort_unstable_by_key(|entry| entry.position);
        let more = entries.len() > query.limit.max(1);
        entries.truncate(query.limit.max(1));
        Ok(AuthoredPage {
            next: entries.last().map(|last| last.position).filter(|_| more),
            entries,
            unreadable: Vec::new(),
        })
    }

    fn put_snapshot(&self, document: &DocumentId, snapshot: &Snapshot) -> Result<(), StorageError> {
        let key = (document.clone(), snapshot.offset);
        self.lock().snapshots.insert(key, snapshot.clone());
        Ok(())
    }

    fn snapshot(&self, document: &DocumentId) -> Result<Option<Snapshot>, StorageError> {
        let Some(tail) = self.document_tail(document)? else {
            return Ok(None);
        };
        let range = (document.clone(), Offset::ZERO)..=(document.clone(), tail);
        Ok(self
            .lock()
            .snapshots
            .range(range)
            .next_back()
            .map(|(_, snapshot)| snapshot.clone()))
    }

    fn failsafe(&self) -> Option<Arc<str>> {
        self.lock().failsafe.clone()
    }

    fn resume(&self) -> Result<(), StorageError> {
        let mut contents = self.lock();
        contents.failsafe = None;
        contents.quarantined.clear();
        Ok(())
    }

    fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, StorageError> {
        let mut verified = Verified::default();
        for frame in self.lock().frames.values() {
            frame.verify_chain().map_err(unreadable)?;
            verified.frames += 1;
            verified.entries += u64::from(frame.header().count);
            verified.bytes += frame.bytes().len() as u64;
        }
        progress(verified.entries);
        Ok(verified)
    }

    fn witness(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn it_conforms() {
        conformance::check(|| MemoryStorage::new(4));
    }
}
