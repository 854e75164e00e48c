//! One followed document: from what the log tells to frames in the connection's queue.
//!
//! Invariants: after it was ended, or its end was said, nothing more of it is queued; what it brings is checked against the
//! access policy each time, so that a permission that is taken back ends it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use aetherflow_schema::{
    access::Operation,
    document_log::{FollowSink, Offered, Told},
    documents::BoxFuture,
    id::{ConnectionId, DocumentId, Offset, SessionId},
    native::{RequestId, Start, encode, wire},
    presence::{PresenceEvent, PresenceWatcher},
};
use bytes::Bytes;

use super::voice::Voice;
use crate::{audience::Reviewed, lock, metrics::native::Said, websocket::Frame};

/// See the [module](self).
pub(super) struct Subscription {
    voice: Voice,
    document: DocumentId,
    request: RequestId,
    ended: AtomicBool,
    /// The newest offset that was queued for the client, or that it said it had; 0 when there is none.
    cursor: AtomicU64,
    /// Held while something is queued, so that nothing is after the end.
    speaking: Mutex<()>,
}

impl Subscription {
    pub(super) fn new(voice: Voice, document: DocumentId, request: RequestId, start: &Start) -> Self {
        let has = match start {
            Start::After(offset) => offset.0,
            Start::Snapshot | Start::AfterHeads(_) => 0,
        };
        Self {
            cursor: AtomicU64::new(has),
            voice,
            document,
            request,
            ended: AtomicBool::new(false),
            speaking: Mutex::default(),
        }
    }

    /// The client does not want it any more.
    pub(super) fn end(&self) {
        let _speaking = lock(&self.speaking);
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Up to where the client was told.
    pub(super) fn cursor(&self) -> Option<Offset> {
        let cursor = self.cursor.load(Ordering::Relaxed);
        (cursor != 0).then_some(Offset(cursor))
    }

    fn queue(&self, kind: Said, payload: Bytes) -> Offered {
        let bytes = payload.len();
        let frame = Frame::binary(payload).about(Some(&self.document));
        let offered = self.voice.outbound.offer(frame);
        if offered == Offered::Taken {
            self.voice.shared.metrics.native.said(kind, bytes);
        }
        offered
    }

    /// Queues what brings the client up to an offset. If the client takes nothing so long, that is said, and the end of it.
    fn tell(&self, up_to: Option<Offset>, kind: Said, payload: Bytes) -> Offered {
        if let Some(why) = self.voice.too_long(payload.len()) {
            self.ended.store(true, Ordering::Relaxed);
            let reject = wire::Reject::never(self.request, wire::RejectCode::TooLarge, why);
            self.voice.reject(Some(&self.document), reject);
            return Offered::Gone;
        }
        let offered = self.queue(kind, payload);
        if let (Offered::Taken, Some(offset)) = (offered, up_to) {
            self.cursor.store(offset.0, Ordering::Relaxed);
        }
        offered
    }

    /// Whether the client may still read the document; if not, that is said.
    fn is_allowed(&self) -> bool {
        match self.voice.grant(Operation::Read, &self.document) {
            Ok(_) => true,
            Err(denied) => {
                self.ended.store(true, Ordering::Relaxed);
                self.voice.forbid(&self.document, self.request, &denied);
                false
            }
        }
    }
}

impl FollowSink for Subscription {
    fn offer(&self, told: Told) -> Offered {
        let _speaking = lock(&self.speaking);
        if self.has_ended() || !self.is_allowed() {
            return Offered::Gone;
        }
        match told {
            Told::Snapshot(snapshot) => {
                let offset = snapshot.offset;
                let frame = wire::Snapshot::of(&self.document, snapshot);
                self.tell(Some(offset), Said::Snapshot, encode(&wire::ServerFrame::from(frame)))
            }
            // Of the log smaller parts can be had.
            Told::Ops(ops) if ops.is_longer(self.longest()) => Offered::Full,
            Told::Ops(ops) => {
                let last = ops.entries().last().map(|entry| entry.offset);
                self.tell(last, Said::Ops, ops.frame())
            }
            Told::Failed(error) => {
                self.ended.store(true, Ordering::Relaxed);
                let reject = wire::Reject::of(self.request, &error);
                self.voice.reject(Some(&self.document), reject);
                Offered::Gone
            }
        }
    }

    fn longest(&self) -> usize {
        self.voice.outbound.longest()
    }

    fn room(&self, bytes: usize) -> BoxFuture<'_, bool> {
        let patience = self.voice.shared.options.timeouts.stalled();
        Box::pin(self.voice.outbound.room(bytes, patience))
    }
}

impl Reviewed for Subscription {
    fn review(&self) {
        let _speaking = lock(&self.speaking);
        if !self.has_ended() && !self.is_allowed() {
            self.voice.shared.metrics.cut_off.inc();
        }
    }
}

impl PresenceWatcher for Subscription {
    fn connection(&self) -> ConnectionId {
        self.voice.outbound.id()
    }

    fn session(&self) -> SessionId {
        self.voice.who.session()
    }

    fn hear(&self, event: &Arc<PresenceEvent>) {
        let _speaking = lock(&self.speaking);
        if self.has_ended() || !self.is_allowed() {
            return;
        }
        let event = event.frame();
        let bytes = event.len();
        let metrics = &self.voice.shared.metrics.native;
        let frame = Frame::binary(event).about(Some(&self.document));
        // A state that is lost is said again, or over before long; a client that takes none so long goes without.
        if bytes <= self.longest() && self.voice.outbound.push_unless_half_full(frame) {
            metrics.said(Said::PresenceEvent, bytes);
        } else {
            metrics.presence_dropped.inc();
        }
    }
}
