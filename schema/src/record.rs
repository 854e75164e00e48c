//! The log's record format: entries, the frames that group them, and the chain that binds them.
//!
//! A **frame** is what is written, replicated and stored at once: up to [`limits::FRAME_ENTRIES`] consecutive entries of
//! one partition. All integers are big-endian.
//!
//! ```text
//! frame   0  magic "AFLG"            36  count of entries        u32
//!         4  format version = 2  u8  40  length of the body      u32
//!         5  kind                u8  44  chain before the frame  32 bytes
//!         6  partition          u16  76  chain after the frame   32 bytes
//!         8  generation         u32 108  CRC32C of bytes 0..108 and of the body
//!        12  leader epoch       u64 112  body: the entries, one after the other
//!        20  offset of the first entry u64
//!        28  commit time, microseconds since 1970 u64
//!
//! entry   0  length of what follows u32   40  session, a UUID       16 bytes
//!         4  kind                   u8    56  trace context, 25 bytes, when flag 0x01 is set:
//!         5  flags                  u8        trace id 16, span id 8, trace flags 1
//!         6  length of document id  u8        then document id, principal, payload
//!         7  length of principal    u8
//!         8  op id            32 bytes
//! ```
//!
//! **The chain.** An entry's chain value is `BLAKE3(c ‖ partition ‖ epoch ‖ offset ‖ commit time ‖ BLAKE3(entry))`, where
//! `c` is the value of the entry before it (32 zero bytes before the first) and `entry` is its bytes as above. It stands for
//! the whole history up to that entry: two replicas with equal values at an offset hold the same log. Generations are not
//! part of it, so that moving a log into a new stream changes no value. The entry goes in by its digest, so that it is hashed
//! by whoever submits it and not by the one writer, and so that a link can be proved without showing the entry.

mod entry;
mod frame;

pub use entry::{EncodedEntry, Entry, EntryDraft, EntryHead, EntryKind, TraceContext};
pub use frame::{Frame, FrameBuilder, FrameHeader, FrameKind};

use crate::{id::ChainHash, limits};

/// The format version this code writes, and the only one it reads.
pub const FORMAT_VERSION: u8 = 2;

/// Bytes of a frame before its body.
pub const FRAME_HEADER_BYTES: usize = 112;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Shorter than its own lengths say.
    #[error("cut short: {needed} bytes needed at byte {at}, {left} left")]
    Truncated {
        /// Where reading stopped.
        at: usize,
        /// Bytes wanted there.
        needed: usize,
        /// Bytes present there.
        left: usize,
    },
    /// Does not begin as a frame does.
    #[error("not a log frame: it begins with {0:02x?}")]
    Magic([u8; 4]),
    /// Written by a newer (or damaged) version.
    #[error("log format version {0}; this program reads version {FORMAT_VERSION}")]
    Version(u8),
    /// A number that stands for no kind.
    #[error("unknown {what} {value}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// The number found.
        value: u8,
    },
    /// The checksum does not match: the bytes were damaged.
    #[error("checksum mismatch: stored {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// In the record.
        stored: u32,
        /// Of the bytes as they are.
        computed: u32,
    },
    /// The count or a length contradicts the bytes.
    #[error("inconsistent record: {0}")]
    Inconsistent(&'static str),
    /// The entries do not lead from the chain value before the frame to the one after it.
    #[error("chain broken: the frame says {stored}, its entries give {computed}")]
    Chain {
        /// In the frame.
        stored: ChainHash,
        /// Of its entries.
        computed: ChainHash,
    },
    /// A part is too long to be written.
    #[error("{what} has {bytes} bytes, more than the {limit} allowed")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
}

impl RecordError {
    fn check_length(what: &'static str, bytes: usize, limit: usize) -> Result<(), Self> {
        if bytes > limit {
            return Err(Self::TooLong { what, bytes, limit });
        }
        Ok(())
    }
}

/// Takes fixed and counted pieces off the front of a slice, remembering where it is.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, needed: usize) -> Result<&'a [u8], RecordError> {
        let left = self.bytes.len() - self.at;
        if left < needed {
            return Err(RecordError::Truncated {
                at: self.at,
                needed,
                left,
            });
        }
        let piece = &self.bytes[self.at..self.at + needed];
        self.at += needed;
        Ok(piece)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array::<1>().map(|[b]| b)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
}

const _: () = assert!(limits::DOCUMENT_ID_BYTES <= u8::MAX as usize);
const _: () = assert!(limits::PRINCIPAL_BYTES == u8::MAX as usize);

#[cfg(test)]
mod tests;
