//! What a frame of the automerge-repo protocol means on one connection. No I/O.
//!
//! Owns: whether the peer has joined, and under which name.
//! Inputs: frames, in order. Effects: exactly one [`Action`] for each.
//! Invariants: before `join` nothing but a `join` has an effect; afterwards nothing has that names another sender; no
//! frame that decodes can fail for its content.
//! On failure: the action says how to close the connection.

use aetherflow_schema::{
    close::CloseCode,
    id::{DocumentId, PeerId, StorageId},
    repo::{Message, PROTOCOL_VERSION, PeerMetadata, Text},
};
use bytes::Bytes;

use crate::{
    close::Close,
    ephemeral::is_cbor,
    metrics::{Ignored, Kind},
    outbound::kind,
};

/// The largest integer that a JavaScript number holds exactly, 2^53 - 1.
const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Who the server says it is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Its name, another one whenever it starts.
    pub(crate) peer: PeerId,
    /// The name of its storage, which never changes: what applications take as "saved on the server".
    pub(crate) storage: StorageId,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct RepoSession {
    peer: Option<PeerId>,
    /// Frames ignored before the join, and how many may be.
    ignored: usize,
    pre_join_frames: usize,
    ephemeral_bytes: usize,
}

/// What is to be done about a frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Action<'a> {
    /// The peer joined: make its name known, then send the reply.
    Join {
        peer: PeerId,
        /// Its storage, when it has one that is worth remembering.
        storage: Option<StorageId>,
        reply: Bytes,
    },
    /// Hand the frame to the document.
    Document {
        document: DocumentId,
        request: bool,
        data: Bytes,
    },
    /// Pass the message on to the document's other peers.
    Forward(Message<'a>),
    /// Change the peer's subscriptions.
    Subscribe {
        add: Vec<StorageId>,
        remove: Vec<StorageId>,
    },
    /// Nothing.
    Ignore(Ignored),
    /// Say this, then close.
    Refuse { reply: Bytes, close: Close },
    /// Close.
    Close(Close),
}

impl RepoSession {
    /// A connection on which nobody has joined.
    pub(crate) fn new(pre_join_frames: usize, ephemeral_bytes: usize) -> Self {
        Self {
            peer: None,
            ignored: 0,
            pre_join_frames,
            ephemeral_bytes,
        }
    }

    /// Who joined.
    pub(crate) fn peer(&self) -> Option<&PeerId> {
        self.peer.as_ref()
    }

    /// Decides about the next frame.
    pub(crate) fn handle<'a>(&mut self, server: &Identity, frame: &'a Bytes) -> (Kind, Action<'a>) {
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(error) => return (Kind::Other, Action::Close(Close::because(error.close_code(), error))),
        };
        let kind = kind(&message);
        let action = match (message, &self.peer) {
            (
                Message::Join {
                    sender,
                    metadata,
                    versions,
                },
                None,
            ) => self.join(server, &sender, metadata, &versions),
            (Message::Join { .. }, Some(_)) => {
                Action::Close(Close::because(CloseCode::PolicyViolation, "joined a second time"))
            }
            (Message::Unknown { .. }, Some(_)) => Action::Ignore(Ignored::UnknownType),
            (_, None) => self.before_join(),
            (message, Some(peer)) if message.sender() != Some(&peer.0) => Action::Ignore(Ignored::WrongSender),
            (message, Some(_)) => self.joined(message),
        };
        (kind, action)
    }

    fn join(
        &mut self,
        server: &Identity,
        sender: &str,
        metadata: PeerMetadata,
        versions: &[Text<'_>],
    ) -> Action<'static> {
        if !versions.iter().any(|version| version == PROTOCOL_VERSION) {
            let text = format!("unsupported protocol version; this server speaks {PROTOCOL_VERSION:?}");
            let error = Message::Error {
                sender: (&*server.peer.0).into(),
                target: sender.into(),
                message: text.into(),
            };
            return Action::Refuse {
                reply: error.encode(),
                close: Close::plain(CloseCode::UnsupportedVersion),
            };
        }
        if sender == &*server.peer.0 {
            let detail = "this peer id is the server's";
            return Action::Close(Close::because(CloseCode::PolicyViolation, detail));
        }
        let reply = Message::Peer {
            sender: (&*server.peer.0).into(),
            target: sender.into(),
            metadata: PeerMetadata {
                storage_id: Some(server.storage.clone()),
                is_ephemeral: false,
            },
            version: PROTOCOL_VERSION.into(),
        };
        let peer = PeerId(sender.into());
        self.peer = Some(peer.clone());
        Action::Join {
            peer,
            storage: metadata.storage_id.filter(|_| !metadata.is_ephemeral),
            reply: reply.encode(),
        }
    }

    fn before_join(&mut self) -> Action<'static> {
        self.ignored += 1;
        if self.ignored > self.pre_join_frames {
            let detail = "too many messages before a join";
            return Action::Close(Close::because(CloseCode::PolicyViolation, detail));
        }
        Action::Ignore(Ignored::NotJoined)
    }

    fn joined<'a>(&self, message: Message<'a>) -> Action<'a> {
        match message {
            Message::Request { document, data, .. } => Action::Document {
                document,
                request: true,
                data,
            },
            Message::Sync { document, data, .. } => Action::Document {
                document,
                request: false,
                data,
            },
            Message::Ephemeral { ref data, .. } if data.len() > self.ephemeral_bytes => {
                Action::Ignore(Ignored::EphemeralSize)
            }
            // A larger number would reach a JavaScript client as a BigInt, which it does not compare with numbers.
            Message::Ephemeral { count, .. } if count > SAFE_INTEGER => Action::Ignore(Ignored::EphemeralData),
            Message::Ephemeral { ref data, .. } if !is_cbor(data) => Action::Ignore(Ignored::EphemeralData),
            Message::Ephemeral { .. } => Action::Forward(message),
            Message::RemoteSubscriptionChange { add, remove, .. } => Action::Subscribe { add, remove },
            // A stock server ignores these unless it was told to gossip. What a client claims about somebody else's
            // storage cannot be checked, and applications read it as "saved", so nor are they passed on here.
            Message::RemoteHeadsChanged { .. } => Action::Ignore(Ignored::RemoteHeads),
            Message::DocUnavailable { .. } => Action::Ignore(Ignored::Unavailable),
            Message::Leave { .. } => Action::Close(Close::plain(CloseCode::Normal)),
            Message::Peer { .. } | Message::Error { .. } => Action::Ignore(Ignored::ServerMessage),
            Message::Join { .. } | Message::Unknown { .. } => Action::Ignore(Ignored::UnknownType),
        }
    }
}

#[cfg(test)]
mod tests;
