//! What a peer of the automerge-repo protocol is told: how a document's frames become messages to it, or end its connection.

use aetherflow_schema::{
    close::CloseCode,
    documents::{PeerFrame, PeerSink},
    id::StorageId,
    repo::{Message, RemoteHeads},
};

use super::{Ending, Outbound};
use crate::{close::Close, lock, metrics::Kind};

impl Outbound {
    /// Queues what the server says to this peer.
    pub(crate) fn push_message(&self, message: &Message<'_>) -> bool {
        self.push(kind(message), message.encode())
    }
}

impl PeerSink for Outbound {
    fn deliver(&self, frame: PeerFrame) -> bool {
        let sender = (&*self.server.0).into();
        let target = self.peer().into();
        match frame {
            PeerFrame::Sync { document, message } => self.push_message(&Message::Sync {
                sender,
                target,
                document,
                data: message,
            }),
            PeerFrame::Unavailable { document } => self.push_message(&Message::DocUnavailable {
                sender,
                target,
                document,
            }),
            PeerFrame::RemoteHeads {
                document,
                storage,
                heads,
                timestamp_ms,
            } => self.push_message(&Message::RemoteHeadsChanged {
                sender,
                target,
                document,
                new_heads: vec![(
                    storage,
                    RemoteHeads {
                        heads: heads.to_vec(),
                        timestamp_ms: timestamp_ms as f64,
                    },
                )],
            }),
            PeerFrame::Refused { document, reason } => {
                let text = format!("edits of {} were refused and are not saved: {reason}", document.url());
                self.push_message(&Message::Error {
                    sender,
                    target,
                    message: text.into(),
                })
            }
            PeerFrame::Lost { document, reason } => {
                let detail = format!("{reason} ({document})");
                self.end(Ending::Now(Close::because(CloseCode::TryAgainLater, detail)));
                false
            }
            PeerFrame::Malformed { document, reason } => {
                let detail = format!("{reason} ({document})");
                self.end(Ending::Now(Close::because(CloseCode::MalformedMessage, detail)));
                false
            }
        }
    }

    fn is_open(&self) -> bool {
        let state = lock(&self.state);
        !state.over && state.ending.is_none()
    }

    fn wants_heads_of(&self, storage: &StorageId) -> bool {
        lock(&self.state).subscriptions.contains(storage)
    }
}

/// What a message is, for counting.
pub(crate) fn kind(message: &Message<'_>) -> Kind {
    match message {
        Message::Join { .. } => Kind::Join,
        Message::Peer { .. } => Kind::Peer,
        Message::Error { .. } => Kind::Error,
        Message::Sync { .. } => Kind::Sync,
        Message::Request { .. } => Kind::Request,
        Message::DocUnavailable { .. } => Kind::Unavailable,
        Message::Ephemeral { .. } => Kind::Ephemeral,
        Message::RemoteSubscriptionChange { .. } => Kind::Subscription,
        Message::RemoteHeadsChanged { .. } => Kind::RemoteHeads,
        Message::Leave { .. } | Message::Unknown { .. } => Kind::Other,
    }
}
