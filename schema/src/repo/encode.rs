//! Message to frame. The target's name is written last, so that a message for many targets is written once and each
//! target costs one copy.

use bytes::Bytes;

use super::{
    Message, PeerMetadata, RemoteHeads,
    cbor::{Count, Sink, Write},
};
use crate::{
    id::{DocumentId, StorageId},
    limits,
};

impl Message<'_> {
    /// The frame for this message: one allocation of exactly its length, into which a payload is copied once.
    ///
    /// A message of unknown type gives a map with nothing but the type.
    pub fn encode(&self) -> Bytes {
        let target = self.target().unwrap_or_default();
        FanOut::write(self, Some(target)).into()
    }
}

/// A message for many targets: everything but the target is encoded once.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// The frame without the target's text, which comes last.
    shared: Vec<u8>,
    addressed: bool,
}

impl FanOut {
    /// Encodes `message`; who its target is does not matter.
    pub fn new(message: &Message<'_>) -> Self {
        Self {
            shared: Self::write(message, None),
            addressed: message.target().is_some(),
        }
    }

    /// The frame for `target`, in one allocation of exactly its length. A message that names no target is the same for
    /// everybody.
    pub fn frame(&self, target: &str) -> Bytes {
        let mut tail = Count::default();
        if self.addressed {
            tail.text(target);
        }
        let mut frame = Vec::with_capacity(self.shared.len() + tail.0);
        frame.put(&self.shared);
        if self.addressed {
            frame.text(target);
        }
        frame.into()
    }

    fn write(message: &Message<'_>, target: Option<&str>) -> Vec<u8> {
        let target = target.filter(|_| message.target().is_some());
        let document = message.document().map(DocumentText::new);
        let document = document.as_ref().map(DocumentText::as_str).unwrap_or_default();
        let mut length = Count::default();
        write(message, document, &mut length);
        target.iter().for_each(|target| length.text(target));
        let mut frame = Vec::with_capacity(length.0);
        write(message, document, &mut frame);
        target.iter().for_each(|target| frame.text(target));
        frame
    }
}

/// Writes everything but the text of the target. `document` is the text of the message's document.
fn write(message: &Message<'_>, document: &str, out: &mut impl Write) {
    let fields = match message {
        Message::Unknown { .. } => 0,
        Message::Leave { .. } => 1,
        Message::Join { .. } | Message::DocUnavailable { .. } | Message::Error { .. } => 3,
        Message::Peer { .. }
        | Message::Request { .. }
        | Message::Sync { .. }
        | Message::RemoteSubscriptionChange { .. }
        | Message::RemoteHeadsChanged { .. } => 4,
        Message::Ephemeral { .. } => 6,
    };
    out.map(1 + fields);
    out.text("type");
    out.text(message.kind());
    if let Some(sender) = message.sender() {
        out.text("senderId");
        out.text(sender);
    }
    if message.document().is_some() {
        out.text("documentId");
        out.text(document);
    }
    write_content(message, out);
    if message.target().is_some() {
        out.text("targetId");
    }
}

/// Writes the fields that only some messages have.
fn write_content(message: &Message<'_>, out: &mut impl Write) {
    match message {
        Message::Request { data, .. } | Message::Sync { data, .. } => {
            out.text("data");
            out.bytes(data);
        }
        Message::Ephemeral {
            session, count, data, ..
        } => {
            out.text("sessionId");
            out.text(session);
            out.text("count");
            out.count(*count);
            out.text("data");
            out.bytes(data);
        }
        Message::Join { metadata, versions, .. } => {
            write_metadata(metadata, out);
            out.text("supportedProtocolVersions");
            out.array(versions.len());
            versions.iter().for_each(|version| out.text(version));
        }
        Message::Peer { metadata, version, .. } => {
            write_metadata(metadata, out);
            out.text("selectedProtocolVersion");
            out.text(version);
        }
        Message::Error { message, .. } => {
            out.text("message");
            out.text(message);
        }
        Message::RemoteSubscriptionChange { add, remove, .. } => {
            write_storages("add", add, out);
            write_storages("remove", remove, out);
        }
        Message::RemoteHeadsChanged { new_heads, .. } => {
            out.text("newHeads");
            out.map(new_heads.len());
            new_heads.iter().for_each(|(storage, heads)| {
                out.text(&storage.0);
                write_heads(heads, out);
            });
        }
        Message::Leave { .. } | Message::DocUnavailable { .. } | Message::Unknown { .. } => {}
    }
}

fn write_metadata(metadata: &PeerMetadata, out: &mut impl Write) {
    out.text("peerMetadata");
    out.map(1 + usize::from(metadata.storage_id.is_some()));
    if let Some(storage) = &metadata.storage_id {
        out.text("storageId");
        out.text(&storage.0);
    }
    out.text("isEphemeral");
    out.bool(metadata.is_ephemeral);
}

fn write_storages(name: &str, storages: &[StorageId], out: &mut impl Write) {
    out.text(name);
    out.array(storages.len());
    storages.iter().for_each(|storage| out.text(&storage.0));
}

fn write_heads(heads: &RemoteHeads, out: &mut impl Write) {
    out.map(2);
    out.text("heads");
    out.array(heads.heads.len());
    for head in &heads.heads {
        out.text(&bs58::encode(head.0).with_check().into_string());
    }
    out.text("timestamp");
    out.float(heads.timestamp_ms);
}

/// A document's text, made without an allocation.
struct DocumentText {
    buffer: [u8; limits::DOCUMENT_ID_TEXT],
    length: usize,
}

impl DocumentText {
    fn new(document: &DocumentId) -> Self {
        let mut buffer = [0; limits::DOCUMENT_ID_TEXT];
        // The buffer holds the text of the longest id there is, so this cannot fail; a test holds that down.
        let length = bs58::encode(document.as_bytes())
            .with_check()
            .onto(&mut buffer[..])
            .unwrap_or(0);
        Self { buffer, length }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.buffer[..self.length]).unwrap_or_default()
    }
}
