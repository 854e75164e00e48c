//! One event of a document's history.

use bytes::Bytes;
use uuid::Uuid;

use super::{Reader, RecordError};
use crate::{
    access::{Author, Principal},
    id::{DocumentId, Offset, OpId, SessionId},
    limits,
};

/// Bytes of an entry before its variable parts, without a trace context.
const FIXED_BYTES: usize = 56;
const TRACE_BYTES: usize = 25;
const FLAG_TRACE: u8 = 0x01;

/// What an entry records. The numbers are permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// One automerge change: a change chunk, plain or compressed.
    Change = 1,
    /// Many automerge changes at once: a document chunk, as a client sends when it uploads a whole document.
    Document = 2,
    /// The document was created (the payload is empty).
    Created = 3,
    /// The document was deleted.
    Deleted = 4,
    /// A deleted document was restored.
    Restored = 5,
    /// The document began as a copy of another one at some place.
    ForkedFrom = 6,
    /// A permission was granted.
    Grant = 7,
    /// A permission was revoked.
    Revoke = 8,
    /// A snapshot was taken here.
    SnapshotMarker = 9,
}

impl EntryKind {
    /// Its name in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Document => "document",
            Self::Created => "created",
            Self::Deleted => "deleted",
            Self::Restored => "restored",
            Self::ForkedFrom => "forked-from",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::SnapshotMarker => "snapshot-marker",
        }
    }

    fn from_u8(value: u8) -> Result<Self, RecordError> {
        Ok(match value {
            1 => Self::Change,
            2 => Self::Document,
            3 => Self::Created,
            4 => Self::Deleted,
            5 => Self::Restored,
            6 => Self::ForkedFrom,
            7 => Self::Grant,
            8 => Self::Revoke,
            9 => Self::SnapshotMarker,
            value => {
                return Err(RecordError::Unknown {
                    what: "entry kind",
                    value,
                });
            }
        })
    }
}

/// The W3C trace context an edit came with, so that it can be followed to its subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace id.
    pub trace: [u8; 16],
    /// The id of the span that submitted the edit.
    pub span: [u8; 8],
    /// The trace flags.
    pub flags: u8,
}

/// An entry that has no place in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDraft {
    /// What it records.
    pub kind: EntryKind,
    /// Of which document.
    pub document: DocumentId,
    /// Its identity: the log takes it once.
    pub op_id: OpId,
    /// Who did it.
    pub author: Author,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// What happened; opaque to the log.
    pub payload: Bytes,
}

/// A draft in the form in which it is stored, made and hashed on the submitter's side so that the log's writer only copies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEntry {
    pub(super) bytes: Vec<u8>,
    /// BLAKE3 of the bytes: what the chain binds.
    pub(super) digest: [u8; 32],
    document: DocumentId,
    op_id: OpId,
}

impl EntryDraft {
    /// Encodes it; fails when the payload or the principal's name is too long.
    pub fn encode(&self) -> Result<EncodedEntry, RecordError> {
        let document = self.document.as_bytes();
        let principal = self.author.principal.as_str().as_bytes();
        RecordError::check_length("the principal", principal.len(), limits::PRINCIPAL_BYTES)?;
        RecordError::check_length("the payload", self.payload.len(), limits::ENTRY_PAYLOAD_BYTES)?;
        let trace_bytes = if self.trace.is_some() { TRACE_BYTES } else { 0 };
        let length = FIXED_BYTES + trace_bytes + document.len() + principal.len() + self.payload.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&((length - 4) as u32).to_be_bytes());
        bytes.extend_from_slice(&[
            self.kind as u8,
            if self.trace.is_some() { FLAG_TRACE } else { 0 },
            document.len() as u8,
            principal.len() as u8,
        ]);
        bytes.extend_from_slice(&self.op_id.0);
        bytes.extend_from_slice(self.author.session.0.as_bytes());
        if let Some(trace) = &self.trace {
            bytes.extend_from_slice(&trace.trace);
            bytes.extend_from_slice(&trace.span);
            bytes.push(trace.flags);
        }
        bytes.extend_from_slice(document);
        bytes.extend_from_slice(principal);
        bytes.extend_from_slice(&self.payload);
        Ok(EncodedEntry {
            digest: *blake3::hash(&bytes).as_bytes(),
            bytes,
            document: self.document.clone(),
            op_id: self.op_id,
        })
    }
}

impl EncodedEntry {
    /// Bytes it takes in a frame.
    #[expect(clippy::len_without_is_empty, reason = "an encoded entry is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The document it belongs to.
    pub fn document(&self) -> &DocumentId {
        &self.document
    }

    /// Its identity.
    pub fn op_id(&self) -> OpId {
        self.op_id
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position in its partition.
    pub offset: Offset,
    /// The epoch of the leader that placed it.
    pub epoch: u64,
    /// When it was committed, microseconds since 1970.
    pub committed_us: u64,
    /// What it says.
    pub draft: EntryDraft,
}

/// Splits the first entry off `body` without looking into it.
pub(super) fn split_raw(body: &[u8]) -> Result<(&[u8], &[u8]), RecordError> {
    let mut reader = Reader::new(body);
    let length = reader.u32()? as usize;
    reader.take(length)?;
    Ok(body.split_at(4 + length))
}

/// What indexes are made of, read without decoding the rest of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead<'a> {
    /// The document's id.
    pub document: &'a [u8],
    /// The entry's identity.
    pub op_id: OpId,
    /// The name of the principal whose it is.
    pub principal: &'a [u8],
}

pub(super) fn head(raw: &[u8]) -> Result<EntryHead<'_>, RecordError> {
    let mut reader = Reader::new(raw);
    reader.u32()?;
    let [_, flags, document, principal] = reader.array()?;
    let op_id = OpId(reader.array()?);
    reader.take(16 + if flags & FLAG_TRACE != 0 { TRACE_BYTES } else { 0 })?;
    Ok(EntryHead {
        op_id,
        document: reader.take(document as usize)?,
        principal: reader.take(principal as usize)?,
    })
}

/// Decodes one entry; `raw` is a part of `frame`, whose bytes the payload shares.
pub(super) fn decode(frame: &Bytes, raw: &[u8]) -> Result<EntryDraft, RecordError> {
    let mut reader = Reader::new(raw);
    reader.u32()?;
    let kind = EntryKind::from_u8(reader.u8()?)?;
    let flags = reader.u8()?;
    if flags & !FLAG_TRACE != 0 {
        return Err(RecordError::Unknown {
            what: "entry flags",
            value: flags,
        });
    }
    let (document, principal) = (reader.u8()? as usize, reader.u8()? as usize);
    let op_id = OpId(reader.array()?);
    let session = SessionId(Uuid::from_bytes(reader.array()?));
    let trace = if flags & FLAG_TRACE != 0 {
        Some(TraceContext {
            trace: reader.array()?,
            span: reader.array()?,
            flags: reader.u8()?,
        })
    } else {
        None
    };
    let document = DocumentId::from_bytes(reader.take(document)?)
        .map_err(|_| RecordError::Inconsistent("the length of the document id"))?;
    let principal = std::str::from_utf8(reader.take(principal)?)
        .ok()
        .and_then(Principal::named)
        .ok_or(RecordError::Inconsistent("the principal's name"))?;
    Ok(EntryDraft {
        kind,
        document,
        op_id,
        author: Author { principal, session },
        trace,
        payload: frame.slice_ref(&raw[reader.at..]),
    })
}
