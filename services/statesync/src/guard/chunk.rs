//! Chunks of automerge's file format, and what they may unfold to.
//!
//! A chunk is a magic number, four bytes of its checksum, its kind, its length, its body. The bodies, as far as they are
//! read here:
//!
//! - a change: hashes it depends on, actor, sequence number, first operation, time, message, other actors, the columns of
//!   its operations (what they are, then their data), and whatever follows; a compressed change is the same, deflated;
//! - a document: actors, heads, what the columns of its changes and of its operations are, then the data of both;
//! - a bundle: hashes it depends on, actors, the columns of its changes, the columns of its operations.
//!
//! Source: automerge's binary format specification, <https://automerge.org/automerge-binary-format-spec/>, and for bundles
//! automerge's code.

use std::io::Read;

use aetherflow_schema::limits;

use super::{
    Refused,
    columns::{Column, Table},
    reader::Reader,
};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Bytes of a chunk's checksum.
const CHECKSUM: usize = 4;
/// Columns of one table; automerge has fifteen.
const COLUMNS: u64 = 64;

/// The kinds of chunk in automerge's file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkKind {
    Document,
    Change,
    CompressedChange,
    Bundle,
}

struct Chunk<'a> {
    kind: ChunkKind,
    body: &'a [u8],
    /// All of it.
    bytes: &'a [u8],
}

/// What everything that comes in one message may unfold to, all of its chunks together: each is made in memory before
/// the first is stored.
pub(crate) struct Allowance {
    /// Bytes after inflating, that are left.
    bytes: u64,
    /// Rows of tables, entries of lists in them, actors, that are left.
    rows: u64,
    rows_at_first: u64,
    /// Bytes of text, each time that it is repeated, that are left.
    text: u64,
}

impl Allowance {
    /// For a message of so many bytes: who sends more may unfold more, to a limit.
    pub(crate) fn of(message: usize) -> Self {
        let rows = (message as u64)
            .saturating_mul(limits::UNFOLDED_ROWS_PER_BYTE)
            .saturating_add(limits::UNFOLDED_ROWS)
            .min(limits::UNFOLDED_ROWS_MAX);
        Self {
            bytes: limits::ENTRY_PAYLOAD_BYTES as u64,
            rows,
            rows_at_first: rows,
            text: limits::UNFOLDED_TEXT_BYTES,
        }
    }

    /// Rows that what was accepted unfolds to: what applying it costs.
    pub(crate) fn rows(&self) -> u64 {
        self.rows_at_first - self.rows
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), Refused> {
        let limit = limits::ENTRY_PAYLOAD_BYTES as u64;
        take(&mut self.bytes, bytes as u64, "bytes", limit)
    }

    pub(super) fn take_rows(&mut self, rows: u64) -> Result<(), Refused> {
        take(&mut self.rows, rows, "operations", self.rows_at_first)
    }

    pub(super) fn take_text(&mut self, bytes: u64) -> Result<(), Refused> {
        take(&mut self.text, bytes, "bytes of text", limits::UNFOLDED_TEXT_BYTES)
    }

    /// Inflates what is not larger than what is left.
    fn inflate(&mut self, deflated: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut inflated = Vec::new();
        let mut inflater = flate2::read::DeflateDecoder::new(deflated).take(self.bytes + 1);
        inflater.read_to_end(&mut inflated).map_err(|_| Refused::Chunk)?;
        self.take_bytes(inflated.len())?;
        Ok(inflated)
    }
}

fn take(left: &mut u64, amount: u64, what: &'static str, limit: u64) -> Result<(), Refused> {
    *left = left.checked_sub(amount).ok_or(Refused::Unfolds { what, limit })?;
    Ok(())
}

/// Splits bytes into automerge chunks, without a look into them.
pub(crate) fn chunks(bytes: &[u8]) -> Result<Vec<(ChunkKind, &[u8])>, Refused> {
    let chunks = split(bytes)?;
    Ok(chunks.into_iter().map(|chunk| (chunk.kind, chunk.bytes)).collect())
}

/// Splits bytes into automerge chunks, and refuses what would unfold to more than is allowed.
pub(crate) fn accept<'a>(bytes: &'a [u8], allowance: &mut Allowance) -> Result<Vec<(ChunkKind, &'a [u8])>, Refused> {
    let chunks = split(bytes)?;
    for chunk in &chunks {
        match chunk.kind {
            ChunkKind::Change => change(chunk.body, allowance)?,
            ChunkKind::CompressedChange => change(&allowance.inflate(chunk.body)?, allowance)?,
            ChunkKind::Document => document(chunk.body, allowance)?,
            ChunkKind::Bundle => bundle(chunk.body, allowance)?,
        }
    }
    Ok(chunks.into_iter().map(|chunk| (chunk.kind, chunk.bytes)).collect())
}

fn split(mut bytes: &[u8]) -> Result<Vec<Chunk<'_>>, Refused> {
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len() as u64, "a chunk").map_err(|_| Refused::Chunk)? != MAGIC {
            return Err(Refused::Chunk);
        }
        reader.take(CHECKSUM as u64, "a chunk").map_err(|_| Refused::Chunk)?;
        let kind = match reader.take(1, "a chunk")?[0] {
            0 => ChunkKind::Document,
            1 => ChunkKind::Change,
            2 => ChunkKind::CompressedChange,
            3 => ChunkKind::Bundle,
            _ => return Err(Refused::Chunk),
        };
        let body = reader.prefixed("a chunk")?;
        let (chunk, rest) = bytes.split_at(bytes.len() - reader.0.len());
        chunks.push(Chunk {
            kind,
            body,
            bytes: chunk,
        });
        bytes = rest;
    }
    Ok(chunks)
}

fn change(body: &[u8], allowance: &mut Allowance) -> Result<(), Refused> {
    let mut reader = Reader(body);
    reader.hashes("a change's dependencies")?;
    reader.prefixed("a change's actor")?;
    reader.number("a change's sequence number")?;
    reader.number("a change's first operation")?;
    reader.signed("a change's time")?;
    reader.prefixed("a change's message")?;
    actors(&mut reader, allowance)?;
    let operations = columns(&mut reader)?;
    table(&operations, &mut reader, allowance)
}

fn document(body: &[u8], allowance: &mut Allowance) -> Result<(), Refused> {
    let mut reader = Reader(body);
    actors(&mut reader, allowance)?;
    reader.hashes("a document's heads")?;
    let changes = columns(&mut reader)?;
    let operations = columns(&mut reader)?;
    table(&changes, &mut reader, allowance)?;
    table(&operations, &mut reader, allowance)
}

fn bundle(body: &[u8], allowance: &mut Allowance) -> Result<(), Refused> {
    let mut reader = Reader(body);
    reader.hashes("a bundle's dependencies")?;
    actors(&mut reader, allowance)?;
    let changes = columns(&mut reader)?;
    table(&changes, &mut reader, allowance)?;
    let operations = columns(&mut reader)?;
    table(&operations, &mut reader, allowance)
}

fn actors(reader: &mut Reader<'_>, allowance: &mut Allowance) -> Result<(), Refused> {
    let count = reader.number("a list of actors")?;
    allowance.take_rows(count)?;
    for _ in 0..count {
        reader.prefixed("a list of actors")?;
    }
    Ok(())
}

/// What the columns of a table are, and how long.
fn columns(reader: &mut Reader<'_>) -> Result<Vec<(Column, u64)>, Refused> {
    let count = reader.count("columns", COLUMNS)?;
    (0..count)
        .map(|_| {
            let column = Column(reader.number("a list of columns")?);
            Ok((column, reader.number("a list of columns")?))
        })
        .collect()
}

/// The data of a table's columns.
fn table(columns: &[(Column, u64)], reader: &mut Reader<'_>, allowance: &mut Allowance) -> Result<(), Refused> {
    let mut table = Table::default();
    for &(column, length) in columns {
        let data = reader.take(length, "a column")?;
        if column.is_deflated() {
            table.add(column, &allowance.inflate(data)?, allowance)?;
        } else {
            table.add(column, data, allowance)?;
        }
    }
    allowance.take_rows(table.rows())
}
