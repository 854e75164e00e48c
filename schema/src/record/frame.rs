//! The unit in which the log is written, replicated and stored.

use bytes::Bytes;

use super::{EncodedEntry, Entry, EntryHead, FORMAT_VERSION, FRAME_HEADER_BYTES, Reader, RecordError, entry};
use crate::{
    id::{ChainHash, Offset, OpId, PartitionId},
    limits,
};

const MAGIC: [u8; 4] = *b"AFLG";
const CRC_AT: usize = FRAME_HEADER_BYTES - 4;

/// What a frame is for. The numbers are permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// It carries entries.
    Entries = 1,
    /// A new leader begins its epoch; no entries.
    EpochStart = 2,
    /// A barrier; no entries.
    Noop = 3,
}

/// The fixed part of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it is for.
    pub kind: FrameKind,
    /// The partition it belongs to.
    pub partition: PartitionId,
    /// The stream generation it was sequenced in.
    pub generation: u32,
    /// The leader's epoch.
    pub epoch: u64,
    /// The offset of its first entry (of the next entry, when it has none).
    pub base: Offset,
    /// When it was committed, microseconds since 1970.
    pub committed_us: u64,
    /// Entries in it.
    pub count: u32,
    /// The chain value of the entry before it.
    pub chain_before: ChainHash,
    /// The chain value of its last entry.
    pub chain_after: ChainHash,
}

impl FrameHeader {
    /// The offset of its last entry; of the entry before it, when it has none.
    pub fn last(&self) -> Offset {
        Offset(self.base.0 + u64::from(self.count) - 1)
    }
}

/// A frame whose checksum was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    header: FrameHeader,
    bytes: Bytes,
}

impl Frame {
    /// Reads a frame and checks its lengths and checksum. The chain is left to [`Frame::verify_chain`].
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        let mut reader = Reader::new(&bytes);
        let magic = reader.array()?;
        if magic != MAGIC {
            return Err(RecordError::Magic(magic));
        }
        let version = reader.u8()?;
        if version != FORMAT_VERSION {
            return Err(RecordError::Version(version));
        }
        let kind = reader.u8()?;
        let partition = PartitionId(reader.u16()?);
        let generation = reader.u32()?;
        let epoch = reader.u64()?;
        let base = Offset(reader.u64()?);
        let committed_us = reader.u64()?;
        let count = reader.u32()?;
        let body = reader.u32()? as usize;
        let chain_before = ChainHash(reader.array()?);
        let chain_after = ChainHash(reader.array()?);
        let stored = reader.u32()?;
        reader.take(body)?;
        if !reader.is_empty() {
            return Err(RecordError::Inconsistent("bytes after the body"));
        }
        let computed = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[FRAME_HEADER_BYTES..]);
        if stored != computed {
            return Err(RecordError::Checksum { stored, computed });
        }
        let kind = match kind {
            1 => FrameKind::Entries,
            2 => FrameKind::EpochStart,
            3 => FrameKind::Noop,
            value => {
                return Err(RecordError::Unknown {
                    what: "frame kind",
                    value,
                });
            }
        };
        let header = FrameHeader {
            kind,
            partition,
            generation,
            epoch,
            base,
            committed_us,
            count,
            chain_before,
            chain_after,
        };
        if base == Offset::ZERO || base.0.checked_add(u64::from(count)).is_none() {
            return Err(RecordError::Inconsistent("the offset of the first entry"));
        }
        Ok(Self { header, bytes })
    }

    /// Its fixed part.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Its bytes, as stored and sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its entries, decoded one by one; their payloads share the frame's bytes.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry, RecordError>> + '_ {
        self.raw_entries().zip(self.header.base.0..).map(|(raw, offset)| {
            Ok(Entry {
                offset: Offset(offset),
                epoch: self.header.epoch,
                committed_us: self.header.committed_us,
                draft: entry::decode(&self.bytes, raw?)?,
            })
        })
    }

    /// The document and the op id of each entry, in order, without decoding the rest.
    pub fn ids(&self) -> impl Iterator<Item = Result<(&[u8], OpId), RecordError>> + '_ {
        self.heads().map(|head| head.map(|head| (head.document, head.op_id)))
    }

    /// What indexes are made of, of each entry, in order, without decoding the rest.
    pub fn heads(&self) -> impl Iterator<Item = Result<EntryHead<'_>, RecordError>> + '_ {
        self.raw_entries().map(|raw| entry::head(raw?))
    }

    /// Recomputes the chain over the entries and compares it with what the frame says.
    pub fn verify_chain(&self) -> Result<(), RecordError> {
        let mut chain = Chain::new(&self.header);
        let mut found = 0u32;
        for raw in self.raw_entries() {
            chain.add(blake3::hash(raw?).as_bytes());
            found += 1;
        }
        if found != self.header.count {
            return Err(RecordError::Inconsistent("the count of entries"));
        }
        if chain.value != self.header.chain_after {
            return Err(RecordError::Chain {
                stored: self.header.chain_after,
                computed: chain.value,
            });
        }
        Ok(())
    }

    fn raw_entries(&self) -> impl Iterator<Item = Result<&[u8], RecordError>> + '_ {
        let mut body = &self.bytes[FRAME_HEADER_BYTES..];
        std::iter::from_fn(move || {
            if body.is_empty() {
                return None;
            }
            match entry::split_raw(body) {
                Ok((raw, rest)) => {
                    body = rest;
                    Some(Ok(raw))
                }
                Err(error) => {
                    body = &[];
                    Some(Err(error))
                }
            }
        })
    }
}

/// The running chain value over the entries of one frame.
struct Chain {
    value: ChainHash,
    partition: PartitionId,
    epoch: u64,
    committed_us: u64,
    offset: u64,
}

impl Chain {
    fn new(header: &FrameHeader) -> Self {
        Self {
            value: header.chain_before,
            partition: header.partition,
            epoch: header.epoch,
            committed_us: header.committed_us,
            offset: header.base.0,
        }
    }

    /// Goes on by an entry, of which it needs the BLAKE3 digest only.
    fn add(&mut self, entry: &[u8; 32]) {
        let mut link = [0; 90];
        link[..32].copy_from_slice(&self.value.0);
        link[32..34].copy_from_slice(&self.partition.0.to_be_bytes());
        link[34..42].copy_from_slice(&self.epoch.to_be_bytes());
        link[42..50].copy_from_slice(&self.offset.to_be_bytes());
        link[50..58].copy_from_slice(&self.committed_us.to_be_bytes());
        link[58..].copy_from_slice(entry);
        self.value = ChainHash(*blake3::hash(&link).as_bytes());
        self.offset += 1;
    }
}

/// Collects entries into a frame.
pub struct FrameBuilder {
    header: FrameHeader,
    chain: Chain,
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// Begins a frame; `header.count` and `header.chain_after` are filled in as entries come.
    pub fn new(mut header: FrameHeader) -> Self {
        header.count = 0;
        header.chain_after = header.chain_before;
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + 16 * 1024);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        Self {
            chain: Chain::new(&header),
            header,
            bytes,
        }
    }

    /// Whether another entry of this size still fits. The first always does.
    pub fn has_room_for(&self, entry: &EncodedEntry) -> bool {
        self.header.count == 0
            || ((self.header.count as usize) < limits::FRAME_ENTRIES
                && self.bytes.len() + entry.len() <= limits::FRAME_BYTES)
    }

    /// Adds an entry and returns its offset.
    pub fn push(&mut self, entry: &EncodedEntry) -> Offset {
        let offset = Offset(self.header.base.0 + u64::from(self.header.count));
        self.chain.add(&entry.digest);
        self.bytes.extend_from_slice(&entry.bytes);
        self.header.count += 1;
        offset
    }

    /// Closes the frame.
    pub fn finish(mut self) -> Frame {
        self.header.chain_after = self.chain.value;
        let header = &self.header;
        let body = (self.bytes.len() - FRAME_HEADER_BYTES) as u32;
        let head = &mut self.bytes[..FRAME_HEADER_BYTES];
        head[..4].copy_from_slice(&MAGIC);
        head[4] = FORMAT_VERSION;
        head[5] = header.kind as u8;
        head[6..8].copy_from_slice(&header.partition.0.to_be_bytes());
        head[8..12].copy_from_slice(&header.generation.to_be_bytes());
        head[12..20].copy_from_slice(&header.epoch.to_be_bytes());
        head[20..28].copy_from_slice(&header.base.0.to_be_bytes());
        head[28..36].copy_from_slice(&header.committed_us.to_be_bytes());
        head[36..40].copy_from_slice(&header.count.to_be_bytes());
        head[40..44].copy_from_slice(&body.to_be_bytes());
        head[44..76].copy_from_slice(&header.chain_before.0);
        head[76..CRC_AT].copy_from_slice(&header.chain_after.0);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.bytes[..CRC_AT]), &self.bytes[FRAME_HEADER_BYTES..]);
        self.bytes[CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
        Frame {
            header: self.header,
            bytes: Bytes::from(self.bytes),
        }
    }
}
