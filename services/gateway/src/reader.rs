//! One peer of one document: what it is told, as long as it may read.
//!
//! **Invariant**: nothing of a document's content is queued for a peer that may not read it at that moment, whatever it was
//! allowed when it opened the document; once it was cut off it hears no more, until it opens the document again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aetherflow_schema::{
    access::Operation,
    documents::{PeerFrame, PeerSink},
    id::{ConnectionId, DocumentId, StorageId},
};
use bytes::Bytes;

use crate::{audience::Reviewed, caller::Who, outbound::Outbound, shared::Shared};

/// See the [module](self).
pub(crate) struct Reader {
    shared: Arc<Shared>,
    outbound: Arc<Outbound>,
    who: Arc<Who>,
    document: DocumentId,
    cut: AtomicBool,
}

impl Reader {
    /// Of this document, on this connection.
    pub(crate) fn new(shared: Arc<Shared>, outbound: Arc<Outbound>, who: Arc<Who>, document: DocumentId) -> Self {
        Self {
            shared,
            outbound,
            who,
            document,
            cut: AtomicBool::new(false),
        }
    }

    /// Whether it hears no more.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Cuts it off if it may read no longer; whether it may.
    fn may_read(&self) -> bool {
        if self.is_cut() {
            return false;
        }
        let access = &self.shared.access;
        match access.allows(&self.who.identity(), Operation::Read, &self.document) {
            Ok(()) => true,
            Err(reason) => {
                if !self.cut.swap(true, Ordering::Relaxed) {
                    let document = &self.document;
                    tracing::debug!(connection = %self.outbound.id(), doc = %document, reason, "cut off");
                    self.shared.metrics.cut_off.inc();
                    let document = document.clone();
                    self.outbound.deliver(PeerFrame::Unavailable {
                        document: document.clone(),
                    });
                    let reason = reason.to_owned();
                    self.outbound.deliver(PeerFrame::Refused { document, reason });
                }
                false
            }
        }
    }
}

/// What passes ephemeral messages to somebody.
pub(crate) trait Listener: Reviewed {
    /// On which connection.
    fn connection(&self) -> ConnectionId;

    /// Under which name.
    fn peer(&self) -> &str;

    /// Queues a message.
    fn hear(&self, frame: Bytes);
}

impl Listener for Reader {
    fn connection(&self) -> ConnectionId {
        self.outbound.id()
    }

    fn peer(&self) -> &str {
        self.outbound.peer()
    }

    fn hear(&self, frame: Bytes) {
        if self.may_read() {
            self.outbound.push_ephemeral(frame);
        }
    }
}

impl Reviewed for Reader {
    fn review(&self) {
        self.may_read();
    }
}

impl PeerSink for Reader {
    fn deliver(&self, frame: PeerFrame) -> bool {
        match frame {
            PeerFrame::Sync { .. } | PeerFrame::RemoteHeads { .. } => self.may_read() && self.outbound.deliver(frame),
            PeerFrame::Unavailable { .. }
            | PeerFrame::Refused { .. }
            | PeerFrame::Lost { .. }
            | PeerFrame::Malformed { .. } => self.outbound.deliver(frame),
        }
    }

    fn is_open(&self) -> bool {
        !self.is_cut() && self.outbound.is_open()
    }

    fn wants_heads_of(&self, storage: &StorageId) -> bool {
        self.outbound.wants_heads_of(storage)
    }
}
