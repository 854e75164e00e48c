//! The automerge-repo protocol, version "1", as its 2.5 releases speak it over WebSocket: one CBOR map per binary frame.
//!
//! Owns: the layout of those frames. Knows nothing of connections; which message is legal when is the gateway's affair.
//!
//! Invariants:
//! * [`Message::decode`] takes any bytes: it neither panics, nor recurses, nor allocates more than the frame is long.
//! * A sync payload is never copied on the way in ([`Bytes`] of the frame) and once per target on the way out
//!   ([`FanOut`]).
//! * What a stock client can send is understood: maps with 16-bit headers, keys in any order, `undefined` for what is
//!   absent, numbers as integers of any width or as floats, byte strings with or without the `Uint8Array` tag.
//! * What is sent is what a stock client expects: untagged byte strings, timestamps as 64-bit floats, and no 8-byte
//!   integers, which JavaScript would read as `BigInt`.
//!
//! Keys that are not known are skipped; a known key that occurs twice is an error, since receivers would differ in which
//! of the two they believe.

mod cbor;
mod decode;
mod encode;
mod error;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;

pub use self::{encode::FanOut, error::DecodeError};
use crate::id::{ChangeHash, DocumentId, StorageId};

/// The protocol version spoken here, as it stands in `supportedProtocolVersions` and `selectedProtocolVersion`.
pub const PROTOCOL_VERSION: &str = "1";

/// Protocol versions that one `join` may list.
pub const VERSIONS: usize = 16;

/// Bytes of the text in an `error` message.
pub const ERROR_TEXT_BYTES: usize = 4096;

/// Text that is borrowed from the frame, unless the peer sent it in pieces.
pub type Text<'a> = Cow<'a, str>;

/// One message. `sender` and `target` are peer ids: at most [`limits::PEER_ID_BYTES`](crate::limits::PEER_ID_BYTES)
/// bytes, and on a server's connection the sender must be the peer that joined.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    /// `join`, client to server, first on every connection.
    Join {
        /// The name the client gives itself.
        sender: Text<'a>,
        /// What it says about itself.
        metadata: PeerMetadata,
        /// The versions it speaks; just [`PROTOCOL_VERSION`] when it names none.
        versions: Vec<Text<'a>>,
    },
    /// `peer`, server to client: the answer to `join`.
    Peer {
        /// The server.
        sender: Text<'a>,
        /// The client.
        target: Text<'a>,
        /// What the server says about itself. Its storage id is what applications take as "saved on the server".
        metadata: PeerMetadata,
        /// The version to be spoken.
        version: Text<'a>,
    },
    /// `error`: the other end closes the connection after it. Stock clients log it and no more.
    Error {
        /// Who found the error.
        sender: Text<'a>,
        /// Whose connection ends.
        target: Text<'a>,
        /// In words, at most [`ERROR_TEXT_BYTES`].
        message: Text<'a>,
    },
    /// `leave`: the peer is going. No stock WebSocket client sends it.
    Leave {
        /// Who.
        sender: Text<'a>,
    },
    /// `request`: as [`Message::Sync`], from a peer that has nothing of the document and asks for it. Only a request is
    /// ever answered by [`Message::DocUnavailable`].
    Request {
        /// Who asks.
        sender: Text<'a>,
        /// Whom.
        target: Text<'a>,
        /// For this document.
        document: DocumentId,
        /// An automerge sync message.
        data: Bytes,
    },
    /// `sync`.
    Sync {
        /// Who says it.
        sender: Text<'a>,
        /// To whom.
        target: Text<'a>,
        /// About this document.
        document: DocumentId,
        /// An automerge sync message.
        data: Bytes,
    },
    /// `doc-unavailable`: the sender has no such document, and neither has anyone it is connected to. Not final.
    DocUnavailable {
        /// Who does not have it.
        sender: Text<'a>,
        /// Who asked.
        target: Text<'a>,
        /// This document.
        document: DocumentId,
    },
    /// `ephemeral`: to be passed on with another target and never stored. Receivers drop what does not raise `count`
    /// within (`sender`, `session`).
    Ephemeral {
        /// The author, also when somebody else passes the message on.
        sender: Text<'a>,
        /// To whom.
        target: Text<'a>,
        /// To those who have this document open.
        document: DocumentId,
        /// Drawn at random by the author when it started; as long as a peer id at most.
        session: Text<'a>,
        /// Rises with each message of the session, over all documents.
        count: u64,
        /// What the application sends: CBOR, unless the application is broken.
        data: Bytes,
    },
    /// `remote-subscription-change`: whose saved heads the sender wants to hear about.
    RemoteSubscriptionChange {
        /// Who subscribes.
        sender: Text<'a>,
        /// To whom it says so.
        target: Text<'a>,
        /// From now on, at most [`limits::REMOTE_SUBSCRIPTIONS`](crate::limits::REMOTE_SUBSCRIPTIONS).
        add: Vec<StorageId>,
        /// No longer, as many at most.
        remove: Vec<StorageId>,
    },
    /// `remote-heads-changed`: what storages are known to hold of a document.
    RemoteHeadsChanged {
        /// Who says so.
        sender: Text<'a>,
        /// To whom.
        target: Text<'a>,
        /// This document.
        document: DocumentId,
        /// Each storage once, in the order of the message; at most
        /// [`limits::REMOTE_SUBSCRIPTIONS`](crate::limits::REMOTE_SUBSCRIPTIONS), with
        /// [`limits::SYNC_HASHES`](crate::limits::SYNC_HASHES) heads in all.
        new_heads: Vec<(StorageId, RemoteHeads)>,
    },
    /// A well-formed message of a type that is not known here: to be ignored. Cannot be encoded with its content, which
    /// is not kept.
    Unknown {
        /// Its type.
        kind: Text<'a>,
    },
}

/// What a peer says about itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerMetadata {
    /// The name of its storage, if it has one.
    pub storage_id: Option<StorageId>,
    /// Its sync state is not worth keeping: it will not come back under this name. False when absent.
    pub is_ephemeral: bool,
}

/// What a storage holds of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteHeads {
    /// The document's heads there.
    pub heads: Vec<ChangeHash>,
    /// When that was learned, milliseconds since 1970; a finite number, of which nothing else is checked. Stock clients
    /// ignore heads that are not newer than what they know of that storage.
    pub timestamp_ms: f64,
}

impl Message<'_> {
    /// The message's type, as on the wire.
    pub fn kind(&self) -> &str {
        match self {
            Self::Join { .. } => "join",
            Self::Peer { .. } => "peer",
            Self::Error { .. } => "error",
            Self::Leave { .. } => "leave",
            Self::Request { .. } => "request",
            Self::Sync { .. } => "sync",
            Self::DocUnavailable { .. } => "doc-unavailable",
            Self::Ephemeral { .. } => "ephemeral",
            Self::RemoteSubscriptionChange { .. } => "remote-subscription-change",
            Self::RemoteHeadsChanged { .. } => "remote-heads-changed",
            Self::Unknown { kind } => kind,
        }
    }

    /// Who sent it; `None` for a message of unknown type.
    pub fn sender(&self) -> Option<&str> {
        match self {
            Self::Join { sender, .. }
            | Self::Peer { sender, .. }
            | Self::Error { sender, .. }
            | Self::Leave { sender }
            | Self::Request { sender, .. }
            | Self::Sync { sender, .. }
            | Self::DocUnavailable { sender, .. }
            | Self::Ephemeral { sender, .. }
            | Self::RemoteSubscriptionChange { sender, .. }
            | Self::RemoteHeadsChanged { sender, .. } => Some(sender),
            Self::Unknown { .. } => None,
        }
    }

    /// To whom it is addressed; `None` for messages that name no target.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Peer { target, .. }
            | Self::Error { target, .. }
            | Self::Request { target, .. }
            | Self::Sync { target, .. }
            | Self::DocUnavailable { target, .. }
            | Self::Ephemeral { target, .. }
            | Self::RemoteSubscriptionChange { target, .. }
            | Self::RemoteHeadsChanged { target, .. } => Some(target),
            Self::Join { .. } | Self::Leave { .. } | Self::Unknown { .. } => None,
        }
    }

    /// The document it is about, if any.
    pub fn document(&self) -> Option<&DocumentId> {
        match self {
            Self::Request { document, .. }
            | Self::Sync { document, .. }
            | Self::DocUnavailable { document, .. }
            | Self::Ephemeral { document, .. }
            | Self::RemoteHeadsChanged { document, .. } => Some(document),
            Self::Join { .. }
            | Self::Peer { .. }
            | Self::Error { .. }
            | Self::Leave { .. }
            | Self::RemoteSubscriptionChange { .. }
            | Self::Unknown { .. } => None,
        }
    }
}
