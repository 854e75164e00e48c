//! The tails of all partitions, noted in a file outside RocksDB.
//!
//! RocksDB opens without a word when the end of its write-ahead log is gone. The witness is the second opinion: it names
//! only what was committed, so a recovered log that is shorter has lost something.
//!
//! Two slots are written in turn, each with its own checksum: a torn write leaves the other one. One file serves all
//! partitions, so that noting them costs one fdatasync.
//!
//! ```text
//! slot  0  magic "AFWT"        24  sequence u64            34  for each partition:
//!       4  format version u32  32  partitions u16              offset u64, epoch u64, chain 32 bytes
//!       8  store id 16 bytes                               then CRC32C of all before it
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use aetherflow_log_core::Tail;
use aetherflow_schema::id::{ChainHash, Offset};
use uuid::Uuid;

const MAGIC: [u8; 4] = *b"AFWT";
const VERSION: u32 = 1;
const HEADER: usize = 34;
const TAIL: usize = 48;
const PAGE: usize = 4096;

/// What the witness says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Testimony {
    pub(crate) store: Uuid,
    pub(crate) tails: Vec<Tail>,
    pub(crate) sequence: u64,
}

/// What was found in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no file: the store is new.
    Nothing,
    /// There is one, but neither slot can be read.
    Unreadable,
    /// The newer readable slot.
    Testimony(Testimony),
}

/// The open file.
pub(crate) struct Witness {
    file: File,
    store: Uuid,
    sequence: u64,
    written: Vec<Tail>,
}

/// Reads what was noted last.
pub(crate) fn read(path: &Path) -> io::Result<Found> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let newest = (0..bytes.len())
        .step_by(PAGE)
        .filter_map(|at| decode(&bytes[at..]))
        .max_by_key(|testimony| testimony.sequence);
    Ok(newest.map_or(Found::Unreadable, Found::Testimony))
}

impl Witness {
    /// Opens the file for writing, after it was [`read`], and notes `tails` at once, in both slots.
    pub(crate) fn open(path: &Path, store: Uuid, found: &Found, tails: Vec<Tail>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let sequence = match found {
            Found::Testimony(testimony) => testimony.sequence,
            Found::Nothing | Found::Unreadable => 0,
        };
        let mut witness = Self {
            file,
            store,
            sequence,
            written: Vec::new(),
        };
        witness.file.set_len(2 * slot_bytes(tails.len()) as u64)?;
        witness.write(&tails)?;
        witness.write(&tails)?;
        witness.written = tails;
        witness.file.sync_all()?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(witness)
    }

    /// Notes new tails durably; does nothing when they are the same as before.
    pub(crate) fn note(&mut self, tails: &[Tail]) -> io::Result<()> {
        if self.written == tails {
            return Ok(());
        }
        self.write(tails)?;
        self.written = tails.to_vec();
        Ok(())
    }

    fn write(&mut self, tails: &[Tail]) -> io::Result<()> {
        self.sequence += 1;
        let testimony = Testimony {
            store: self.store,
            tails: tails.to_vec(),
            sequence: self.sequence,
        };
        let slot = self.sequence % 2 * slot_bytes(tails.len()) as u64;
        self.file.write_all_at(&encode(&testimony), slot)?;
        self.file.sync_data()
    }
}

/// Whole pages, so that the two slots never share a sector.
fn slot_bytes(partitions: usize) -> usize {
    (HEADER + TAIL * partitions + 4).next_multiple_of(PAGE)
}

pub(crate) fn encode(testimony: &Testimony) -> Vec<u8> {
    let mut slot = Vec::with_capacity(slot_bytes(testimony.tails.len()));
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&VERSION.to_be_bytes());
    slot.extend_from_slice(testimony.store.as_bytes());
    slot.extend_from_slice(&testimony.sequence.to_be_bytes());
    slot.extend_from_slice(&(testimony.tails.len() as u16).to_be_bytes());
    for tail in &testimony.tails {
        slot.extend_from_slice(&tail.offset.0.to_be_bytes());
        slot.extend_from_slice(&tail.epoch.to_be_bytes());
        slot.extend_from_slice(&tail.chain.0);
    }
    let crc = crc32c::crc32c(&slot);
    slot.extend_from_slice(&crc.to_be_bytes());
    slot
}

pub(crate) fn decode(slot: &[u8]) -> Option<Testimony> {
    let header = slot.get(..HEADER)?;
    if header[..4] != MAGIC || header[4..8] != VERSION.to_be_bytes() {
        return None;
    }
    let partitions = usize::from(u16::from_be_bytes([header[32], header[33]]));
    let end = HEADER + TAIL * partitions;
    let crc = u32::from_be_bytes(slot.get(end..end + 4)?.try_into().ok()?);
    if crc32c::crc32c(&slot[..end]) != crc {
        return None;
    }
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
    let tails = slot[HEADER..end]
        .chunks_exact(TAIL)
        .map(|tail| {
            Some(Tail {
                offset: Offset(number(&tail[..8])?),
                epoch: number(&tail[8..16])?,
                chain: ChainHash(tail[16..].try_into().ok()?),
            })
        })
        .collect::<Option<_>>()?;
    Some(Testimony {
        store: Uuid::from_slice(&header[8..24]).ok()?,
        sequence: number(&header[24..32])?,
        tails,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tails(n: u64) -> Vec<Tail> {
        (0..200)
            .map(|p| Tail {
                offset: Offset(n + p),
                chain: ChainHash([p as u8; 32]),
                epoch: n,
            })
            .collect()
    }

    fn last_tails(path: &Path) -> Option<Vec<Tail>> {
        match read(path).unwrap() {
            Found::Testimony(testimony) => Some(testimony.tails),
            Found::Nothing | Found::Unreadable => None,
        }
    }

    #[test]
    fn damage_to_one_slot_leaves_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        assert_eq!(read(&path).unwrap(), Found::Nothing);
        let mut witness = Witness::open(&path, Uuid::nil(), &Found::Nothing, tails(0)).unwrap();
        for n in 1..6 {
            witness.note(&tails(n)).unwrap();
            assert_eq!(last_tails(&path), Some(tails(n)));
            let sound = std::fs::read(&path).unwrap();
            let slots = [100, sound.len() / 2 + 100];
            let survivors: Vec<_> = slots
                .iter()
                .map(|at| {
                    let mut damaged = sound.clone();
                    damaged[*at] ^= 1;
                    std::fs::write(&path, damaged).unwrap();
                    last_tails(&path).unwrap()
                })
                .collect();
            assert!(survivors.contains(&tails(n)) && survivors.contains(&tails(n - 1)));
            let mut both = sound.clone();
            slots.iter().for_each(|at| both[*at] ^= 1);
            std::fs::write(&path, both).unwrap();
            assert_eq!(read(&path).unwrap(), Found::Unreadable);
            std::fs::write(&path, &sound).unwrap();
        }
    }
}
