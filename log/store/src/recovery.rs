//! What is checked when the store is opened.
//!
//! RocksDB recovers to a point in time: a torn end of its write-ahead log is cut, which is right for what was never
//! acknowledged. Whether more is missing, only our own evidence tells: dense offsets, the chain and the witness.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use aetherflow_log_core::{Damage, PartitionState, Tail, storage::Verified, tail::judge};
use aetherflow_schema::id::{ChainHash, Offset, PartitionId};
use rocksdb::{DB, DBRecoveryMode, ErrorKind};
use uuid::Uuid;

use crate::{
    database::Database,
    entry,
    meta::{self, Meta},
    options::StoreOptions,
    pending::Pending,
    reindex,
    store::{OpenError, ReadError},
    tables, verify,
    witness::{self, Found, Testimony, Witness},
};

/// Entries at the end of each partition that are read and checked at every opening, beyond those after the witness.
const TAIL_ENTRIES: u64 = 4_096;

/// A store that was opened and judged.
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) meta: Meta,
    pub(crate) states: Vec<PartitionState>,
    /// The committed tails; of a quarantined partition, what the witness knows of it.
    pub(crate) tails: Vec<Tail>,
    pub(crate) witness: Witness,
}

pub(crate) fn open(options: &StoreOptions) -> Result<Opened, OpenError> {
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |error| OpenError::Io(path, error)
    };
    fs::create_dir_all(&options.dir).map_err(io(&options.dir))?;
    let witness_path = options.dir.join("witness");
    let found = witness::read(&witness_path).map_err(io(&witness_path))?;
    let (db, suspect) = open_db(options)?;
    // Only now: until RocksDB has the directory to itself, these may be another process's.
    tables::clean(options).map_err(io(&options.dir))?;
    let testimony = match &found {
        Found::Testimony(testimony) => Some(testimony),
        Found::Nothing => None,
        Found::Unreadable => {
            tracing::error!(path = %witness_path.display(), "the witness is damaged; only the chain proves the log now");
            None
        }
    };
    // A database that was deleted while the witness stayed keeps its identity, and its partitions are found short.
    let id = testimony.map_or_else(Uuid::new_v4, |testimony| testimony.store);
    let partitions = testimony.map_or(options.partitions, |testimony| testimony.tails.len() as u16);
    let meta = meta::load_or_create(&db, id, partitions)?;
    if let Some(testimony) = testimony
        && testimony.store != meta.id
    {
        return Err(OpenError::ForeignWitness(witness_path, testimony.store, meta.id));
    }
    let noted = |partition: PartitionId| {
        testimony.and_then(|testimony: &Testimony| testimony.tails.get(usize::from(partition.0)).copied())
    };
    let mut judged: Vec<Result<Tail, Damage>> = (0..meta.partitions)
        .map(PartitionId)
        .map(|partition| recover(&db, partition, noted(partition), suspect))
        .collect();
    let unindexed = reindex::rebuild(&db, options, &mut judged)?;
    let database = Database {
        db,
        pending: Pending::new(options.full(), unindexed),
    };
    let mut states = Vec::new();
    let mut tails = Vec::new();
    for (partition, judged) in (0..meta.partitions).map(PartitionId).zip(judged) {
        let judged = judged.and_then(|tail| match suspect {
            true => verify::partition(&database, partition, tail, &mut Verified::default(), &mut |_| {}).map(|()| tail),
            false => Ok(tail),
        });
        tails.push(judged.as_ref().ok().copied().or(noted(partition)).unwrap_or_default());
        states.push(match judged {
            Ok(tail) => PartitionState::Sound(tail),
            Err(damage) => {
                tracing::error!(%partition, %damage, "the partition is quarantined: restore it from a backup or a replica");
                PartitionState::Quarantined(damage)
            }
        });
    }
    let witness = Witness::open(&witness_path, meta.id, &found, tails.clone()).map_err(io(&witness_path))?;
    Ok(Opened {
        database,
        meta,
        states,
        tails,
        witness,
    })
}

/// Opens RocksDB; the flag says that nothing may be believed unread: records were passed over, or tables forgotten.
///
/// RocksDB takes a manifest that lost its end for a shorter one, and then deletes the tables which that end named: a whole
/// stretch of an index would be gone without a word. Tables that were there before and are not in use after opening are
/// the trace of it. (A crash in mid-compaction leaves the same trace; then the check finds nothing and costs its time.)
fn open_db(options: &StoreOptions) -> Result<(DB, bool), OpenError> {
    let path = options.dir.join("rocksdb");
    let before = tables(&path).map_err(|error| OpenError::Io(path.clone(), error))?;
    let opened = open_as_found(options, &path)?;
    let live = opened
        .0
        .live_files()
        .map_err(|error| OpenError::Corrupt(error.to_string()))?;
    let live: BTreeSet<&str> = live.iter().map(|file| file.name.trim_start_matches('/')).collect();
    let forgotten: Vec<&String> = before.iter().filter(|name| !live.contains(name.as_str())).collect();
    if !forgotten.is_empty() {
        tracing::warn!(
            ?forgotten,
            "the database does not use all of its tables; checking the whole log"
        );
    }
    options
        .allow_compactions(&opened.0)
        .map_err(|error| OpenError::Write(error.to_string()))?;
    Ok((opened.0, opened.1 || !forgotten.is_empty()))
}

/// The names of the table files in a directory.
fn tables(path: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(path) {
        Ok(files) => Ok(files
            .filter_map(|file| file.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".sst"))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn open_as_found(options: &StoreOptions, path: &Path) -> Result<(DB, bool), OpenError> {
    match options.open_db(path, DBRecoveryMode::PointInTime) {
        Ok(db) => Ok((db, false)),
        Err(error) if error.kind() == ErrorKind::Corruption => {
            tracing::error!(%error, "the write-ahead log is damaged; reading what is left and checking all of it");
            options
                .open_db(path, DBRecoveryMode::SkipAnyCorruptedRecord)
                .map(|db| (db, true))
                .map_err(|error| OpenError::Corrupt(error.to_string()))
        }
        Err(error) if error.to_string().contains("lock") => Err(OpenError::InUse(path.to_owned(), error.to_string())),
        Err(error) if error.kind() == ErrorKind::IOError => Err(OpenError::Write(error.to_string())),
        Err(error) => Err(OpenError::Corrupt(error.to_string())),
    }
}

/// Finds the tail of a partition and checks the log before it: its last entries, and all since the witness. All of it,
/// when the store is suspect.
fn recover(db: &DB, partition: PartitionId, noted: Option<Tail>, suspect: bool) -> Result<Tail, Damage> {
    let last = entry::last(db, partition).map_err(|error| {
        // The end cannot be read; the first offset that cannot be trusted may be long before it.
        first_damage(db, partition).unwrap_or_else(|| damage(error))
    })?;
    let tail = last.map_or_else(Tail::default, |frame| Tail {
        offset: frame.header().last(),
        chain: frame.header().chain_after,
        epoch: frame.header().epoch,
    });
    let noted_offset = noted.map_or(Offset::ZERO, |noted| noted.offset);
    let from = match suspect {
        true => Offset(1),
        false => Offset(tail.offset.0.saturating_sub(TAIL_ENTRIES).min(noted_offset.0).max(1)),
    };
    let mut chain_at_witness: Option<ChainHash> = None;
    let mut end = Offset::ZERO;
    for frame in entry::from(db, partition, from).map_err(damage)? {
        let frame = frame.map_err(damage)?;
        let header = frame.header();
        if end == Offset::ZERO && header.base > from {
            return Err(Damage {
                offset: from,
                reason: format!("the entries before {} are missing", header.base),
            });
        }
        frame.verify_chain().map_err(|error| Damage {
            offset: header.base,
            reason: error.to_string(),
        })?;
        end = header.last();
        if end == noted_offset {
            chain_at_witness = Some(header.chain_after);
        }
    }
    judge(tail, noted, chain_at_witness)
}

fn first_damage(db: &DB, partition: PartitionId) -> Option<Damage> {
    match entry::from(db, partition, Offset(1)) {
        Ok(mut frames) => frames.find_map(Result::err).map(damage),
        Err(error) => Some(damage(error)),
    }
}

pub(crate) fn damage(error: ReadError) -> Damage {
    match error {
        ReadError::Damaged { offset, reason, .. } => Damage { offset, reason },
        ReadError::Failed(reason) => Damage {
            offset: Offset(1),
            reason,
        },
    }
}
