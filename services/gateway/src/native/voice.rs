//! Saying something to one client, and asking what it may do: what all that is done on its behalf has in common.

use std::sync::Arc;

use aetherflow_schema::{
    access::{Denied, Grant, Operation},
    id::DocumentId,
    native::{RequestId, encode, wire},
};

use crate::{caller::Who, metrics::native::Said, outbound::Outbound, shared::Shared, websocket::Frame};

/// A way to speak to the client.
#[derive(Clone)]
pub(super) struct Voice {
    pub(super) shared: Arc<Shared>,
    pub(super) outbound: Arc<Outbound>,
    pub(super) who: Arc<Who>,
}

impl Voice {
    /// Queues a frame; `false` when the connection ends.
    pub(super) fn say(&self, document: Option<&DocumentId>, frame: impl Into<wire::ServerFrame>) -> bool {
        let frame: wire::ServerFrame = frame.into();
        let Some(kind) = frame.kind.as_ref().map(Said::from) else {
            return true;
        };
        let payload = encode(&frame);
        let bytes = payload.len();
        let queued = self.outbound.push_frame(Frame::binary(payload).about(document));
        if queued {
            self.shared.metrics.native.said(kind, bytes);
        }
        queued
    }

    /// Why the client is not sent a payload of so many bytes, if it takes none so long.
    pub(super) fn too_long(&self, bytes: usize) -> Option<String> {
        let limit = self.outbound.longest();
        (bytes > limit).then(|| format!("the document needs a frame of {bytes} bytes; the client takes {limit}"))
    }

    /// Rejects a request.
    pub(super) fn reject(&self, document: Option<&DocumentId>, reject: wire::Reject) {
        self.shared.metrics.native.rejected(reject.code());
        self.say(document, reject);
    }

    /// Asks the access policy.
    pub(super) fn grant(&self, operation: Operation, document: &DocumentId) -> Result<Grant, Denied> {
        Grant::check(&*self.shared.access, &self.who.caller(), operation, document)
    }

    /// The answer to a request that the policy did not allow.
    pub(super) fn forbid(&self, document: &DocumentId, request: RequestId, denied: &Denied) {
        tracing::debug!(connection = %self.outbound.id(), error = %denied, "refused");
        let reject = wire::Reject::never(request, wire::RejectCode::Forbidden, denied.reason);
        self.reject(Some(document), reject);
    }
}
