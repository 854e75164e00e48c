//! Frame to message. The frame is walked once to find its fields, then each field that the message's type calls for is
//! read where it stands: so the keys may come in any order, and a type that is not known may use them as it likes.

use bytes::Bytes;

use super::{
    ERROR_TEXT_BYTES, Message, PROTOCOL_VERSION, PeerMetadata, RemoteHeads, Text, VERSIONS, cbor::Reader,
    error::DecodeError,
};
use crate::{
    id::{ChangeHash, DocumentId, DocumentIdError, StorageId},
    limits,
};

type Result<T> = std::result::Result<T, DecodeError>;

/// The keys of all messages, those of the frequent ones first.
const NAMES: [&str; 14] = [
    "type",
    "senderId",
    "targetId",
    "documentId",
    "data",
    "sessionId",
    "count",
    "newHeads",
    "add",
    "remove",
    "peerMetadata",
    "supportedProtocolVersions",
    "selectedProtocolVersion",
    "message",
];

const TYPE: usize = 0;
const SENDER: usize = 1;
const TARGET: usize = 2;
const DOCUMENT: usize = 3;
const DATA: usize = 4;
const SESSION: usize = 5;
const COUNT: usize = 6;
const NEW_HEADS: usize = 7;
const ADD: usize = 8;
const REMOVE: usize = 9;
const METADATA: usize = 10;
const VERSIONS_OFFERED: usize = 11;
const VERSION_SELECTED: usize = 12;
const MESSAGE: usize = 13;

impl<'a> Message<'a> {
    /// Reads the one message in `frame`.
    ///
    /// # Errors
    /// When the frame is not one well-formed CBOR map, or lacks what a message of its type needs, or exceeds a limit.
    pub fn decode(frame: &'a Bytes) -> Result<Self> {
        let mut reader = Reader::new(frame, 0);
        let places = reader.locate(&NAMES, "the message")?;
        reader.finish()?;
        let fields = Fields {
            frame,
            names: &NAMES,
            start: 0,
            places,
        };
        fields.message()
    }
}

/// A map whose values have been found: its known keys, and where the value of each starts (0: absent).
struct Fields<'a, const N: usize> {
    frame: &'a Bytes,
    names: &'static [&'static str; N],
    start: usize,
    places: [usize; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Reads a field if it is there, and neither `undefined` nor `null`.
    fn optional<T>(
        &self,
        i: usize,
        read: impl FnOnce(&mut Reader<'a>, &'static str) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.places[i] == 0 {
            return Ok(None);
        }
        let mut reader = Reader::new(self.frame, self.places[i]);
        if reader.is_nothing() {
            return Ok(None);
        }
        read(&mut reader, self.names[i]).map(Some)
    }

    /// Reads a field that has to be there.
    fn required<T>(&self, i: usize, read: impl FnOnce(&mut Reader<'a>, &'static str) -> Result<T>) -> Result<T> {
        self.optional(i, read)?.ok_or(DecodeError::Missing {
            field: self.names[i],
            at: self.start,
        })
    }
}

impl<'a> Fields<'a, { NAMES.len() }> {
    fn message(&self) -> Result<Message<'a>> {
        let kind = self.required(TYPE, name)?;
        Ok(match &*kind {
            "sync" => Message::Sync {
                sender: self.sender()?,
                target: self.target()?,
                document: self.document()?,
                data: self.data()?,
            },
            "request" => Message::Request {
                sender: self.sender()?,
                target: self.target()?,
                document: self.document()?,
                data: self.data()?,
            },
            "ephemeral" => Message::Ephemeral {
                sender: self.sender()?,
                target: self.target()?,
                document: self.document()?,
                session: self.required(SESSION, name)?,
                count: self.required(COUNT, Reader::count)?,
                data: self.data()?,
            },
            "doc-unavailable" => Message::DocUnavailable {
                sender: self.sender()?,
                target: self.target()?,
                document: self.document()?,
            },
            "remote-heads-changed" => Message::RemoteHeadsChanged {
                sender: self.sender()?,
                target: self.target()?,
                document: self.document()?,
                new_heads: self.required(NEW_HEADS, |reader, field| new_heads(self.frame, reader, field))?,
            },
            "remote-subscription-change" => Message::RemoteSubscriptionChange {
                sender: self.sender()?,
                target: self.target()?,
                add: self.optional(ADD, storages)?.unwrap_or_default(),
                remove: self.optional(REMOVE, storages)?.unwrap_or_default(),
            },
            "join" => Message::Join {
                sender: self.sender()?,
                metadata: self.metadata()?,
                versions: self
                    .optional(VERSIONS_OFFERED, versions)?
                    .unwrap_or_else(|| vec![PROTOCOL_VERSION.into()]),
            },
            "peer" => Message::Peer {
                sender: self.sender()?,
                target: self.target()?,
                metadata: self.metadata()?,
                version: self.required(VERSION_SELECTED, name)?,
            },
            "error" => Message::Error {
                sender: self.sender()?,
                target: self.target()?,
                message: self.required(MESSAGE, |reader, field| reader.text(field, ERROR_TEXT_BYTES))?,
            },
            "leave" => Message::Leave { sender: self.sender()? },
            _ => Message::Unknown { kind },
        })
    }

    fn sender(&self) -> Result<Text<'a>> {
        self.required(SENDER, name)
    }

    fn target(&self) -> Result<Text<'a>> {
        self.required(TARGET, name)
    }

    fn document(&self) -> Result<DocumentId> {
        self.required(DOCUMENT, document)
    }

    fn data(&self) -> Result<Bytes> {
        self.required(DATA, Reader::bytes)
    }

    fn metadata(&self) -> Result<PeerMetadata> {
        let metadata = self.optional(METADATA, |reader, field| {
            let metadata = Fields::within(self.frame, reader, &["storageId", "isEphemeral"], field)?;
            Ok(PeerMetadata {
                storage_id: metadata.optional(0, storage)?,
                is_ephemeral: metadata.optional(1, Reader::bool)?.unwrap_or_default(),
            })
        })?;
        Ok(metadata.unwrap_or_default())
    }
}

impl<'a, const N: usize> Fields<'a, N> {
    /// The fields of a map within the frame.
    fn within(
        frame: &'a Bytes,
        reader: &mut Reader<'a>,
        names: &'static [&'static str; N],
        field: &'static str,
    ) -> Result<Self> {
        let start = reader.position();
        let places = reader.locate(names, field)?;
        Ok(Self {
            frame,
            names,
            start,
            places,
        })
    }
}

/// A peer id, or other text that is no longer than one.
fn name<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Text<'a>> {
    reader.text(field, limits::PEER_ID_BYTES)
}

fn storage(reader: &mut Reader<'_>, field: &'static str) -> Result<StorageId> {
    name(reader, field).map(|text| StorageId(text.into()))
}

/// Decoded here rather than by `DocumentId::from_str`, to save an allocation on each frame and to take no `automerge:`
/// prefix, which the sender would not recognise in an answer without it.
fn document(reader: &mut Reader<'_>, field: &'static str) -> Result<DocumentId> {
    let at = reader.position();
    let text = reader.text(field, limits::DOCUMENT_ID_TEXT)?;
    let mut bytes = [0; limits::DOCUMENT_ID_TEXT];
    bs58::decode(text.as_bytes())
        .with_check(None)
        .onto(&mut bytes)
        .map_err(|e| DocumentIdError::Text(e.to_string()))
        .and_then(|n| DocumentId::from_bytes(&bytes[..n]))
        .map_err(|source| DecodeError::Document { source, at })
}

fn versions<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Vec<Text<'a>>> {
    list(reader, field, VERSIONS, name)
}

fn storages(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<StorageId>> {
    list(reader, field, limits::REMOTE_SUBSCRIPTIONS, storage)
}

/// An array of at most `limit` elements. What it claims to hold reserves nothing.
fn list<'a, T>(
    reader: &mut Reader<'a>,
    field: &'static str,
    limit: usize,
    element: impl Fn(&mut Reader<'a>, &'static str) -> Result<T>,
) -> Result<Vec<T>> {
    let at = reader.position();
    let mut elements = Vec::new();
    let mut remaining = reader.begin_array(field)?;
    while reader.more(&mut remaining, field)? {
        if elements.len() == limit {
            return Err(DecodeError::TooLong { field, limit, at });
        }
        elements.push(element(reader, field)?);
    }
    Ok(elements)
}

fn new_heads<'a>(
    frame: &'a Bytes,
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<Vec<(StorageId, RemoteHeads)>> {
    let at = reader.position();
    let mut all = Vec::new();
    let mut budget = limits::SYNC_HASHES;
    let mut remaining = reader.begin_map(field)?;
    while reader.more(&mut remaining, field)? {
        if all.len() == limits::REMOTE_SUBSCRIPTIONS {
            let limit = limits::REMOTE_SUBSCRIPTIONS;
            return Err(DecodeError::TooLong { field, limit, at });
        }
        let storage = storage(reader, field)?;
        let entry = Fields::within(frame, reader, &["heads", "timestamp"], field)?;
        let heads = entry.required(0, |reader, field| list(reader, field, budget, head))?;
        budget -= heads.len();
        let timestamp_ms = entry.required(1, Reader::number)?;
        all.push((storage, RemoteHeads { heads, timestamp_ms }));
    }
    let mut storages: Vec<_> = all.iter().map(|(storage, _)| storage).collect();
    storages.sort_unstable();
    if storages.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(DecodeError::Duplicate { field, at });
    }
    Ok(all)
}

fn head(reader: &mut Reader<'_>, field: &'static str) -> Result<ChangeHash> {
    let at = reader.position();
    let text = reader.text(field, limits::DOCUMENT_ID_TEXT)?;
    text.parse().map_err(|source| DecodeError::Hash { source, at })
}
