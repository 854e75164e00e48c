//! What is checked of a sync message before automerge sees it.
//!
//! Automerge trusts some numbers in a message: a Bloom filter may ask for four billion probes of each hash, and a
//! compressed change may unfold to a thousand times its size. Both are bounded here. The layout is that of automerge's sync
//! protocol: type, heads, need, have (last sync, filter), changes; lists and byte strings are counted in LEB128.

use std::io::Read;

use aetherflow_schema::limits;

const TYPE_V1: u8 = 0x42;
const TYPE_V2: u8 = 0x43;
const HASH: usize = 32;
/// Automerge itself makes filters with 7 probes.
const PROBES: u64 = 64;
/// Automerge itself sends one.
const HAVES: u64 = 64;
const CHUNK_MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// Why a message is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the sync message is cut short in {0}")]
    Truncated(&'static str),
    #[error("the sync message begins with {0:#04x}, which is no known type")]
    Type(u8),
    #[error("a number in {0} of the sync message is malformed")]
    Number(&'static str),
    #[error("the sync message has {found} {what}; {limit} are allowed")]
    TooMany { what: &'static str, found: u64, limit: u64 },
    #[error("a Bloom filter in the sync message is inconsistent")]
    Filter,
    #[error("the bytes of a change are not an automerge chunk")]
    Chunk,
    #[error("a compressed change unfolds to more than {0} bytes")]
    Unfolds(usize),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: u64, what: &'static str) -> Result<&'a [u8], Refused> {
        let bytes = usize::try_from(bytes).map_err(|_| Refused::Truncated(what))?;
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Refused::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, what: &'static str) -> Result<u64, Refused> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, what)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Refused::Number(what));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Refused::Number(what))
    }

    fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, Refused> {
        let found = self.number(what)?;
        if found > limit {
            return Err(Refused::TooMany { what, found, limit });
        }
        Ok(found)
    }

    fn hashes(&mut self, what: &'static str) -> Result<(), Refused> {
        let count = self.count(what, limits::SYNC_HASHES as u64)?;
        self.take(count * HASH as u64, what).map(|_| ())
    }
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

/// The kinds of chunk in automerge's file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkKind {
    Document,
    Change,
    CompressedChange,
    Bundle,
}

/// Splits bytes into automerge chunks, and refuses what would unfold without bound.
pub(crate) fn chunks(mut bytes: &[u8]) -> Result<Vec<(ChunkKind, &[u8])>, Refused> {
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let mut reader = Reader(bytes);
        if reader.take(4, "a chunk").map_err(|_| Refused::Chunk)? != CHUNK_MAGIC {
            return Err(Refused::Chunk);
        }
        reader.take(4, "a chunk").map_err(|_| Refused::Chunk)?;
        let kind = match reader.take(1, "a chunk")?[0] {
            0 => ChunkKind::Document,
            1 => ChunkKind::Change,
            2 => ChunkKind::CompressedChange,
            3 => ChunkKind::Bundle,
            _ => return Err(Refused::Chunk),
        };
        let length = reader.number("a chunk")?;
        let body = reader.take(length, "a chunk")?;
        if kind == ChunkKind::CompressedChange {
            unfolds_within(body, limits::ENTRY_PAYLOAD_BYTES)?;
        }
        let (chunk, rest) = bytes.split_at(bytes.len() - reader.0.len());
        chunks.push((kind, chunk));
        bytes = rest;
    }
    Ok(chunks)
}

fn unfolds_within(compressed: &[u8], limit: usize) -> Result<(), Refused> {
    let mut inflater = flate2::read::DeflateDecoder::new(compressed).take(limit as u64 + 1);
    let mut buffer = [0; 8192];
    let mut total = 0;
    loop {
        match inflater.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => total += read,
            Err(_) => return Err(Refused::Chunk),
        }
        if total > limit {
            return Err(Refused::Unfolds(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use automerge::{AutoCommit, ROOT, sync, sync::SyncDoc, transaction::Transactable};
    use proptest::prelude::*;

    use super::*;

    fn messages() -> Vec<Vec<u8>> {
        let mut doc = AutoCommit::new();
        let (mut here, mut there) = (sync::State::new(), sync::State::new());
        let mut peer = AutoCommit::new();
        let mut messages = Vec::new();
        for n in 0..20 {
            doc.put(ROOT, "text", format!("{n} {}", "long ".repeat(n * 20)))
                .unwrap();
            loop {
                let Some(message) = doc.sync().generate_sync_message(&mut here) else {
                    break;
                };
                messages.push(message.clone().encode());
                peer.sync().receive_sync_message(&mut there, message).unwrap();
                if let Some(answer) = peer.sync().generate_sync_message(&mut there) {
                    messages.push(answer.clone().encode());
                    doc.sync().receive_sync_message(&mut here, answer).unwrap();
                }
            }
        }
        messages
    }

    #[test]
    fn what_automerge_sends_is_accepted_whole() {
        for message in messages() {
            check(&message).unwrap();
            for bytes in sync::Message::decode(&message).unwrap().changes.iter() {
                let chunks = chunks(bytes).unwrap();
                assert_eq!(chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>(), bytes.len());
            }
        }
    }

    #[test]
    fn a_filter_that_asks_for_billions_of_probes_is_refused() {
        let mut message = vec![TYPE_V1, 0, 0, 1, 0];
        let filter = [1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        message.push(filter.len() as u8);
        message.extend_from_slice(&filter);
        message.push(0);
        assert!(matches!(
            check(&message),
            Err(Refused::TooMany {
                what: "filter probes",
                ..
            })
        ));
    }

    #[test]
    fn a_filter_without_bits_is_refused() {
        let message = [TYPE_V1, 0, 0, 1, 0, 3, 5, 0, 7, 0];
        assert_eq!(check(&message), Err(Refused::Filter));
    }

    #[test]
    fn a_change_that_unfolds_without_bound_is_refused() {
        use std::io::Write;
        let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1 << 20];
        (0..=limits::ENTRY_PAYLOAD_BYTES >> 20).for_each(|_| bomb.write_all(&zeros).unwrap());
        let bomb = bomb.finish().unwrap();
        let mut chunk = CHUNK_MAGIC.to_vec();
        chunk.extend_from_slice(&[0, 0, 0, 0, 2]);
        let mut length = bomb.len();
        while length >= 0x80 {
            chunk.push(length as u8 | 0x80);
            length >>= 7;
        }
        chunk.push(length as u8);
        chunk.extend_from_slice(&bomb);
        assert!(matches!(chunks(&chunk), Err(Refused::Unfolds(_))));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_what_passes_automerge_can_decode(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
            let _ = check(&bytes);
            let _ = chunks(&bytes);
            for mut message in messages() {
                let at = at.index(message.len());
                message[at] ^= bytes.first().copied().unwrap_or(1);
                if check(&message).is_ok() {
                    let _ = sync::Message::decode(&message);
                }
            }
        }
    }
}
