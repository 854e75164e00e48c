//! The records of the offline store, and how they stand in its file.
//!
//! The file begins with [`MAGIC`] and a version. A record is, little endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | [`RECORD`], by which records are found again behind damage |
//! | 4 | length of the content |
//! | 8 | `synced`: how long the file was known to be on disk when this was written |
//! | 4 | CRC-32C of length, `synced` and content |
//! | | content: kind, length of the document's id, the id, what belongs to the kind |

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    locks::Fencing,
};
use bytes::{Buf, BufMut, Bytes};

/// What the file begins with, version included.
pub(super) const MAGIC: &[u8; 12] = b"AFCLIENT\x01\0\0\0";

/// What a record begins with.
pub(super) const RECORD: [u8; 4] = *b"AFr1";

/// Bytes before a record's content.
pub(super) const HEADER: usize = 20;

/// Bytes of a record's content at most: the longest change or document, and then some.
pub(super) const CONTENT_MAX: usize = 1 << 30;

/// Something to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) document: DocumentId,
    pub(crate) what: What,
}

/// What there is to remember of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// All of it, instead of everything before; the server's entries are in it up to the cursor.
    Base { cursor: Option<Offset>, bytes: Bytes },
    /// More of it that came from the server, up to this offset; automerge chunks, perhaps none.
    Merged { cursor: Offset, bytes: Bytes },
    /// A change made here that the server has to get; under the lock with this token, if it was one.
    Local {
        hash: ChangeHash,
        bytes: Bytes,
        fencing: Option<Fencing>,
    },
    /// The server has it.
    Acknowledged(ChangeHash),
    /// The server never takes it: it is no part of the document any more.
    Refused(ChangeHash),
    /// Something before this is missing: there is no cursor until the server's state was merged.
    Unsure,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// They end too early.
    Short,
    /// It does not begin like one, or is longer than one can be.
    NoRecord,
    /// The checksum does not match.
    Checksum,
    /// The checksum matches and the content makes no sense.
    Content,
}

impl Malformed {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Short => "a record is cut short",
            Self::NoRecord => "there is no record",
            Self::Checksum => "a record's checksum does not match",
            Self::Content => "a record's content makes no sense",
        }
    }
}

impl Record {
    /// Appends it as it stands in the file.
    pub(super) fn encode(&self, synced: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_slice(&RECORD);
        out.put_u32_le(0);
        out.put_u64_le(synced);
        out.put_u32_le(0);
        out.put_u8(self.what.kind());
        // Ids have at most 64 bytes.
        out.put_u8(self.document.as_bytes().len() as u8);
        out.put_slice(self.document.as_bytes());
        match &self.what {
            What::Base { cursor, bytes } => {
                out.put_u8(u8::from(cursor.is_some()));
                out.put_u64_le(cursor.unwrap_or_default().0);
                out.put_slice(bytes);
            }
            What::Merged { cursor, bytes } => {
                out.put_u64_le(cursor.0);
                out.put_slice(bytes);
            }
            What::Local { hash, bytes, fencing } => {
                if let Some(fencing) = fencing {
                    out.put_u64_le(fencing.0);
                }
                out.put_slice(&hash.0);
                out.put_slice(bytes);
            }
            What::Acknowledged(hash) | What::Refused(hash) => out.put_slice(&hash.0),
            What::Unsure => {}
        }
        let length = (out.len() - start - HEADER) as u32;
        out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&out[start..]);
        out[start + 16..start + 20].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads the content of a record.
    pub(super) fn decode(mut content: Bytes) -> Result<Self, Malformed> {
        let mut read = || {
            let kind = content.try_get_u8().ok()?;
            let length = content.try_get_u8().ok()?.into();
            if content.len() < length {
                return None;
            }
            let document = DocumentId::from_bytes(&content.split_to(length)).ok()?;
            let what = What::decode(kind, &mut content)?;
            Some(Self { document, what })
        };
        read().ok_or(Malformed::Content)
    }
}

impl What {
    fn kind(&self) -> u8 {
        match self {
            Self::Base { .. } => 1,
            Self::Merged { .. } => 2,
            Self::Local { fencing: None, .. } => 3,
            Self::Acknowledged(_) => 4,
            Self::Refused(_) => 5,
            Self::Unsure => 6,
            Self::Local { fencing: Some(_), .. } => 7,
        }
    }

    fn decode(kind: u8, content: &mut Bytes) -> Option<Self> {
        let hash = |content: &mut Bytes| {
            let mut hash = [0; 32];
            content.try_copy_to_slice(&mut hash).ok().map(|()| ChangeHash(hash))
        };
        Some(match kind {
            1 => {
                let known = content.try_get_u8().ok()? != 0;
                let cursor = Offset(content.try_get_u64_le().ok()?);
                let cursor = known.then_some(cursor);
                let bytes = content.clone();
                Self::Base { cursor, bytes }
            }
            2 => {
                let cursor = Offset(content.try_get_u64_le().ok()?);
                let bytes = content.clone();
                Self::Merged { cursor, bytes }
            }
            3 | 7 => {
                let fencing = match kind {
                    3 => None,
                    _ => Some(Fencing(content.try_get_u64_le().ok()?)),
                };
                let hash = hash(content)?;
                let bytes = content.clone();
                Self::Local { hash, bytes, fencing }
            }
            4 => Self::Acknowledged(hash(content)?),
            5 => Self::Refused(hash(content)?),
            6 => Self::Unsure,
            _ => return None,
        })
    }
}

/// The record that these bytes begin with: its length and content, and what it says of the file's synced length.
pub(super) fn split(bytes: &[u8]) -> Result<(usize, u64, &[u8]), Malformed> {
    let header = bytes.get(..HEADER).ok_or(Malformed::Short)?;
    let (length, synced, sum) = parse_header(header)?;
    let content = bytes.get(HEADER..HEADER + length).ok_or(Malformed::Short)?;
    if checksum(&bytes[..HEADER + length]) != sum {
        return Err(Malformed::Checksum);
    }
    Ok((HEADER + length, synced, content))
}

/// The length of the content, the synced length, the checksum.
pub(super) fn parse_header(mut header: &[u8]) -> Result<(usize, u64, u32), Malformed> {
    if header.len() < HEADER || !header.starts_with(&RECORD) {
        return Err(Malformed::NoRecord);
    }
    header.advance(RECORD.len());
    let length = header.get_u32_le() as usize;
    let synced = header.get_u64_le();
    let sum = header.get_u32_le();
    if length > CONTENT_MAX {
        return Err(Malformed::NoRecord);
    }
    Ok((length, synced, sum))
}

/// Of a whole record, without the place where the checksum stands.
pub(super) fn checksum(record: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&record[4..16]);
    crc32c::crc32c_append(sum, &record[HEADER..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..60).prop_map(Bytes::from);
        let hash = || any::<[u8; 32]>().prop_map(ChangeHash);
        let what = prop_oneof![
            (any::<Option<u64>>(), bytes()).prop_map(|(cursor, bytes)| What::Base {
                cursor: cursor.map(Offset),
                bytes
            }),
            (any::<u64>(), bytes()).prop_map(|(cursor, bytes)| What::Merged {
                cursor: Offset(cursor),
                bytes
            }),
            (hash(), bytes(), any::<Option<u64>>()).prop_map(|(hash, bytes, fencing)| What::Local {
                hash,
                bytes,
                fencing: fencing.map(Fencing),
            }),
            hash().prop_map(What::Acknowledged),
            hash().prop_map(What::Refused),
            Just(What::Unsure),
        ];
        let id = prop::collection::vec(any::<u8>(), 1..=64);
        (id, what).prop_map(|(id, what)| Record {
            document: DocumentId::from_bytes(&id).unwrap(),
            what,
        })
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(record in record(), synced in any::<u64>()) {
            let mut bytes = Vec::new();
            record.encode(synced, &mut bytes);
            let (length, found, content) = split(&bytes).unwrap();
            prop_assert_eq!((length, found), (bytes.len(), synced));
            prop_assert_eq!(Record::decode(Bytes::copy_from_slice(content)), Ok(record));
        }

        #[test]
        fn a_flipped_bit_is_noticed(record in record(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut bytes = Vec::new();
            record.encode(7, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(split(&bytes).is_err());
        }

        #[test]
        fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = split(&bytes);
            let _ = Record::decode(bytes.into());
        }
    }
}
