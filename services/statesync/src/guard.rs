//! What is checked of a sync message, and of changes, before automerge sees them.
//!
//! Automerge trusts some numbers in a message: a Bloom filter may ask for four billion probes of each hash, and a change
//! of sixty bytes may claim to be a trillion operations. All of them are bounded here, at a cost that depends on the bytes
//! that came and not on what they claim. The layout is that of automerge's sync protocol: type, heads, need, have (last
//! sync, filter), changes; lists and byte strings are counted in LEB128. `chunk` looks into the changes, `columns` into
//! their operations, `reader` reads numbers.

#[cfg(test)]
#[allow(dead_code, reason = "the tests of the service need more of it")]
#[path = "../tests/statesync/common/bomb.rs"]
pub(crate) mod bomb;
mod chunk;
mod columns;
mod reader;
#[cfg(test)]
mod tests;

pub(crate) use self::chunk::{Allowance, ChunkKind, accept, chunks};
use self::reader::Reader;

const TYPE_V1: u8 = 0x42;
const TYPE_V2: u8 = 0x43;
/// Automerge itself makes filters with 7 probes.
const PROBES: u64 = 64;
/// Automerge itself sends one.
const HAVES: u64 = 64;

/// Why a message is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the bytes end within {0}")]
    Truncated(&'static str),
    #[error("the sync message begins with {0:#04x}, which is no known type")]
    Type(u8),
    #[error("a number in {0} is malformed")]
    Number(&'static str),
    #[error("there are {found} {what}; {limit} are allowed")]
    TooMany { what: &'static str, found: u64, limit: u64 },
    #[error("a Bloom filter in the sync message is inconsistent")]
    Filter,
    #[error("the bytes of a change are not an automerge chunk")]
    Chunk,
    #[error("the changes unfold to more than {limit} {what}")]
    Unfolds { what: &'static str, limit: u64 },
}

/// Checks the parts of a message that automerge would trust.
pub(crate) fn check(message: &[u8]) -> Result<(), Refused> {
    let mut reader = Reader(message);
    let kind = reader.take(1, "its type")?[0];
    if kind != TYPE_V1 && kind != TYPE_V2 {
        return Err(Refused::Type(kind));
    }
    reader.hashes("heads")?;
    reader.hashes("needed hashes")?;
    for _ in 0..reader.count("summaries", HAVES)? {
        reader.hashes("last synced hashes")?;
        let length = reader.number("a filter")?;
        filter(reader.take(length, "a filter")?)?;
    }
    Ok(())
}

fn filter(bytes: &[u8]) -> Result<(), Refused> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut reader = Reader(bytes);
    let entries = reader.number("a filter")?;
    let bits = reader.number("a filter")?;
    reader.count("filter probes", PROBES)?;
    let needed = entries.checked_mul(bits).ok_or(Refused::Filter)?.div_ceil(8);
    // Automerge reads exactly this many bytes and divides by their number.
    if needed == 0 || needed > reader.0.len() as u64 {
        return Err(Refused::Filter);
    }
    Ok(())
}
