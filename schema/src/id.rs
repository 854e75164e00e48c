//! Newtypes for identifiers and positions, so that an [`Offset`] is never mistaken for anything else.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits;

/// A document's identifier: 1 to [`limits::DOCUMENT_ID_BYTES`] bytes, normally the 16 of a UUID.
///
/// Its text is base58check without a version byte, as in automerge-repo's `automerge:` URLs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(Arc<[u8]>);

/// Why bytes or text are not a [`DocumentId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentIdError {
    /// The text is not base58check, or its checksum does not match.
    #[error("a document id is base58check text, and this is not: {0}")]
    Text(String),
    /// Empty, or longer than the limit.
    #[error("a document id has 1 to {max} bytes, and this has {0}", max = limits::DOCUMENT_ID_BYTES)]
    Length(usize),
}

impl DocumentId {
    /// A new random id: the 16 bytes of a version 4 UUID, which is what automerge-repo itself makes (1.x accepts no
    /// other kind).
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(Arc::from(uuid.as_bytes().as_slice()))
    }

    /// Takes raw bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocumentIdError> {
        if bytes.is_empty() || bytes.len() > limits::DOCUMENT_ID_BYTES {
            return Err(DocumentIdError::Length(bytes.len()));
        }
        Ok(Self(Arc::from(bytes)))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The `automerge:` URL of the document.
    pub fn url(&self) -> String {
        format!("automerge:{self}")
    }

    /// The partition this document belongs to, of `partitions` in all. Fixed for ever by the id: BLAKE3 of its bytes,
    /// the first eight of them as a big-endian number, modulo the partition count.
    ///
    /// # Panics
    /// If `partitions` is zero.
    pub fn partition(&self, partitions: u16) -> PartitionId {
        let digest = blake3::hash(&self.0);
        let mut head = [0; 8];
        head.copy_from_slice(&digest.as_bytes()[..8]);
        PartitionId((u64::from_be_bytes(head) % u64::from(partitions)) as u16)
    }
}

/// Equal bytes are equal ids, and hash and sort alike.
impl Borrow<[u8]> for DocumentId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for DocumentId {
    type Err = DocumentIdError;

    /// Parses the base58check text, with or without the `automerge:` prefix.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix("automerge:").unwrap_or(text);
        if text.len() > limits::DOCUMENT_ID_TEXT {
            return Err(DocumentIdError::Length(text.len()));
        }
        let bytes = bs58::decode(text)
            .with_check(None)
            .into_vec()
            .map_err(|e| DocumentIdError::Text(e.to_string()))?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(&self.0).with_check().into_string())
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentId({self})")
    }
}

/// A partition of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionId(pub u16);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in a partition's log. Dense; the first entry has offset 1, and 0 means "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The following position.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of an operation within its document: for an automerge change its hash; otherwise a hash that the
/// submitter chose. The same id is never appended twice to one document.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub [u8; 32]);

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpId({})", Hex(&self.0))
    }
}

/// The hash of an automerge change (SHA-256, see automerge's binary format).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChangeHash(pub [u8; 32]);

impl fmt::Display for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeHash({self})")
    }
}

/// The text is neither 64 hexadecimal digits nor base58check of 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a change hash is 64 hexadecimal digits (or base58check as in automerge URLs), and this is not: {0}")]
pub struct ChangeHashError(String);

impl FromStr for ChangeHash {
    type Err = ChangeHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ChangeHashError(text.chars().take(80).collect());
        let bytes = if text.len() == 64 {
            (0..32)
                .map(|i| text.get(2 * i..2 * i + 2).and_then(|d| u8::from_str_radix(d, 16).ok()))
                .collect::<Option<Vec<u8>>>()
                .ok_or_else(fail)?
        } else if text.len() < 64 {
            bs58::decode(text).with_check(None).into_vec().map_err(|_| fail())?
        } else {
            return Err(fail());
        };
        bytes.try_into().map(Self).map_err(|_| fail())
    }
}

/// The hash that stands for a partition's whole history up to an entry: see [`crate::record`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash(pub [u8; 32]);

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

/// A peer's name in the automerge-repo protocol: any string the peer chose, not longer than
/// [`limits::PEER_ID_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub Arc<str>);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a peer's storage in the automerge-repo protocol: what survives when the peer itself restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorageId(pub Arc<str>);

impl fmt::Display for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One connection to a gateway, unique within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client's session: it may outlive a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Uuid);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lower-case hexadecimal digits of bytes.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_id_has_the_text_that_automerge_repo_gives_it() {
        let id: DocumentId = "automerge:2j9knpCseyhnK8izDmLpGP5WMdZQ".parse().unwrap();
        assert_eq!(id.as_bytes().len(), 16);
        assert_eq!(id.to_string(), "2j9knpCseyhnK8izDmLpGP5WMdZQ");
        assert_eq!(id.url(), "automerge:2j9knpCseyhnK8izDmLpGP5WMdZQ");
    }

    #[test]
    fn text_that_is_no_document_id_is_refused_with_a_reason() {
        for text in ["", "automerge:", "0OIl", "2j9knpCseyhnK8izDmLpGP5WMdZR"] {
            assert!(text.parse::<DocumentId>().is_err(), "{text:?}");
        }
        assert_eq!(DocumentId::from_bytes(&[7; 200]), Err(DocumentIdError::Length(200)));
        assert!("1".repeat(100_000).parse::<DocumentId>().is_err());
    }

    #[test]
    fn the_partition_of_a_document_never_changes() {
        let id = DocumentId::from_uuid(Uuid::from_u128(0x1234_5678));
        assert_eq!(id.partition(16), PartitionId(GOLDEN_PARTITION));
    }
    /// Computed once; a change here would scatter every stored document.
    const GOLDEN_PARTITION: u16 = 9;

    #[test]
    fn a_change_hash_is_read_from_both_spellings() {
        let hash = ChangeHash([0xab; 32]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(bs58::encode(hash.0).with_check().into_string().parse(), Ok(hash));
        for text in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<ChangeHash>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_document_id_survives_its_text(bytes in prop::collection::vec(any::<u8>(), 1..=limits::DOCUMENT_ID_BYTES)) {
            let id = DocumentId::from_bytes(&bytes).unwrap();
            prop_assert_eq!(id.to_string().parse::<DocumentId>(), Ok(id));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,200}") {
            let _ = text.parse::<DocumentId>();
            let _ = text.parse::<ChangeHash>();
        }
    }
}
