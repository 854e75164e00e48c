//! The file of the offline store: found as it was left, appended to, written anew when most of it is of no use.
//!
//! Owns: the file, which records of each document count, and which local changes have no outcome yet.
//! Invariants: a record is known here only when it is in the file; what was known to be on disk and is not readable is
//! reported, never passed over (unless asked to); of what was never known to be on disk the readable beginning counts.
//! On failure: the first error ends all writing, since nobody knows what a failed write or sync has left.

mod recovery;

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use aetherflow_schema::id::{ChangeHash, DocumentId, Offset};
use bytes::Bytes;

use super::{
    disk::{beside, io_error, lock, open_or_make, sync_directory},
    pending::{Local, Pending},
    record::{self, HEADER, MAGIC, Record, What},
};
use crate::{error::StoreError, replica::Part};

/// A file shorter than this is not written anew.
const COMPACT_FROM: u64 = 1 << 20;

/// What is known of a document.
#[derive(Debug, Default)]
struct Known {
    /// Where the records stand from which it is put together, in order: start and length.
    records: Vec<(u64, usize)>,
    /// Local changes without an outcome.
    pending: Pending,
    /// Local changes that were refused.
    refused: HashSet<ChangeHash>,
}

/// A document as the store has it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Stored {
    /// What happened to it.
    pub(crate) parts: Vec<Part>,
    /// The server's entries are in it up to here.
    pub(crate) cursor: Option<Offset>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct StoreFile {
    path: PathBuf,
    file: File,
    /// Held as long as this lives.
    _lock: File,
    known: BTreeMap<DocumentId, Known>,
    length: u64,
    synced: u64,
    /// Its length when it was last written anew.
    compacted: u64,
    failed: Option<String>,
}

impl StoreFile {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path, salvage: bool) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let _ = fs::remove_file(beside(path, "new"));
        let (file, length) = open_or_make(path).map_err(|source| io_error(path, source))?;
        let mut store = Self {
            path: path.to_owned(),
            file,
            _lock: lock,
            known: BTreeMap::new(),
            length,
            synced: 0,
            compacted: COMPACT_FROM / 2,
            failed: None,
        };
        store.recover(salvage)?;
        Ok(store)
    }

    /// Notes what a record at this place means.
    fn take(&mut self, at: u64, length: usize, record: Record) {
        let known = self.known.entry(record.document).or_default();
        match record.what {
            What::Base { .. } => {
                known.records.clear();
                known.refused.clear();
            }
            What::Merged { .. } | What::Unsure => {}
            What::Local { hash, bytes, fencing } => {
                known.refused.remove(&hash);
                let local = Local {
                    hash,
                    bytes,
                    fencing,
                    at,
                };
                known.pending.add(local);
            }
            What::Acknowledged(hash) => {
                known.pending.remove(&hash);
                known.refused.remove(&hash);
                return;
            }
            What::Refused(hash) => {
                known.pending.remove(&hash);
                known.refused.insert(hash);
            }
        }
        known.records.push((at, length));
    }

    /// Local changes without an outcome, in the order in which they were made.
    pub(super) fn pending(&self) -> Vec<(DocumentId, Vec<Local>)> {
        let known = self.known.iter().filter(|(_, known)| !known.pending.is_empty());
        known
            .map(|(document, known)| (document.clone(), known.pending.iter().cloned().collect()))
            .collect()
    }

    /// Local changes of a document that were refused.
    pub(crate) fn refused(&self, document: &DocumentId) -> HashSet<ChangeHash> {
        self.known
            .get(document)
            .map(|known| known.refused.clone())
            .unwrap_or_default()
    }

    /// Why it takes nothing more, if so.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Appends records; on disk only after [`Self::sync`].
    pub(crate) fn append(&mut self, records: Vec<Record>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut taken = Vec::with_capacity(records.len());
        for record in records {
            let start = bytes.len();
            record.encode(self.synced, &mut bytes);
            taken.push((self.length + start as u64, bytes.len() - start, record));
        }
        self.guarded(|store| {
            store.file.seek(SeekFrom::Start(store.length))?;
            store.file.write_all(&bytes)
        })?;
        self.length += bytes.len() as u64;
        for (at, length, record) in taken {
            self.take(at, length, record);
        }
        Ok(())
    }

    /// The same, with a file that cannot be written.
    #[cfg(test)]
    pub(super) fn read_only(mut self, path: &Path) -> Self {
        self.file = File::open(path).unwrap();
        self
    }

    /// Waits until everything is on disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.length {
            self.guarded(|store| store.file.sync_data())?;
            self.synced = self.length;
        }
        Ok(())
    }

    fn guarded(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if let Some(error) = &self.failed {
            return Err(io::Error::other(error.clone()));
        }
        write(self).inspect_err(|error| self.failed = Some(error.to_string()))
    }

    /// Puts a document together.
    pub(crate) fn load(&self, document: &DocumentId) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        for (at, length) in self.known.get(document).map_or(&[][..], |known| &known.records) {
            match self.read(*at, *length)?.what {
                What::Base { cursor, bytes } => {
                    stored.cursor = cursor;
                    stored.parts.push(Part::Chunks(bytes));
                }
                What::Merged { cursor, bytes } => {
                    stored.cursor = Some(cursor);
                    if !bytes.is_empty() {
                        stored.parts.push(Part::Chunks(bytes));
                    }
                }
                What::Local { bytes, .. } => stored.parts.push(Part::Chunks(bytes)),
                What::Refused(hash) => stored.parts.push(Part::Refused(hash)),
                What::Acknowledged(_) => {}
                What::Unsure => stored.cursor = None,
            }
        }
        Ok(stored)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        (&self.file).seek(SeekFrom::Start(at))?;
        (&self.file).read_exact(bytes)
    }

    fn read(&self, at: u64, length: usize) -> Result<Record, StoreError> {
        let mut bytes = vec![0; length];
        let read = self.read_at(&mut bytes, at);
        read.map_err(|source| io_error(&self.path, source))?;
        let bytes = Bytes::from(bytes);
        record::split(&bytes)
            .map(|(length, ..)| bytes.slice(HEADER..length))
            .and_then(Record::decode)
            .map_err(|malformed| StoreError::Damaged {
                path: self.path.clone(),
                at,
                what: malformed.describe().to_owned(),
            })
    }

    /// Most of the file is of no use.
    pub(super) fn wants_compaction(&self) -> bool {
        self.failed.is_none() && self.length > COMPACT_FROM && self.length / 2 > self.compacted
    }

    /// The records that say the same as all there are, given what these documents are now.
    fn worth_keeping(&self, bases: Vec<Record>) -> Result<Vec<Record>, StoreError> {
        let bases = bases.into_iter().map(|base| (base.document.clone(), base));
        let mut bases: BTreeMap<DocumentId, Record> = bases.collect();
        let mut records = Vec::new();
        for (document, known) in &self.known {
            let record = |what| Record {
                document: document.clone(),
                what,
            };
            if let Some(base) = bases.remove(document) {
                records.push(base);
                if !known.pending.is_empty() {
                    // One of them may depend on one of these.
                    records.extend(known.refused.iter().map(|hash| record(What::Refused(*hash))));
                }
                let pending = known.pending.iter().cloned();
                records.extend(pending.map(|local| record(local.into())));
            } else {
                let start = records.len();
                for (at, length) in &known.records {
                    records.push(self.read(*at, *length)?);
                }
                let settled = known.settled(&records[start..]);
                records.extend(settled.into_iter().map(|hash| record(What::Acknowledged(hash))));
            }
        }
        records.extend(bases.into_values());
        Ok(records)
    }

    /// Writes the file anew: these documents as they are now, the others as they stand. A crash leaves the old file or the
    /// new one.
    pub(super) fn compact(&mut self, bases: Vec<Record>) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(io_error(&self.path, io::Error::other(error.clone())));
        }
        // If it fails it is not tried again until there is as much again.
        self.compacted = self.length;
        let records = self.worth_keeping(bases)?;
        let path = beside(&self.path, "new");
        let fail = |source| io_error(&path, source);
        let mut out = Vec::from(MAGIC.as_slice());
        let mut taken = Vec::with_capacity(records.len());
        for record in records {
            let start = out.len();
            // The file is there only once all of it is on disk, so each vouches for those before it.
            record.encode(start as u64, &mut out);
            taken.push((start as u64, out.len() - start, record));
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(fail)?;
        file.write_all(&out).and_then(|()| file.sync_all()).map_err(fail)?;
        fs::rename(&path, &self.path).map_err(fail)?;
        // From here on this is the file, whatever comes of it.
        self.file = file;
        self.length = out.len() as u64;
        self.synced = self.length;
        self.compacted = self.length;
        self.known.clear();
        for (at, length, record) in taken {
            self.take(at, length, record);
        }
        self.guarded(|store| sync_directory(&store.path)).map_err(fail)
    }
}

impl Known {
    /// Changes that are among these records and of which nothing more is to be said.
    fn settled(&self, records: &[Record]) -> Vec<ChangeHash> {
        let is_settled = |hash: &ChangeHash| !self.pending.has(hash) && !self.refused.contains(hash);
        let settled = records.iter().filter_map(|record| match record.what {
            // What was refused the server may have after all.
            What::Local { hash, .. } | What::Refused(hash) if is_settled(&hash) => Some(hash),
            _ => None,
        });
        settled.collect()
    }
}
