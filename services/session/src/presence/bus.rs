//! How nodes hear one another.

use std::sync::Arc;

use aetherflow_schema::id::DocumentId;
use bytes::Bytes;

/// Carries messages about documents to all other nodes that listen. Calls never block.
///
/// Anything may be lost. What one node publishes about a document is not put in another order by this end, and a message
/// published after `subscribe` is not sent before the subscription is.
pub trait PresenceBus: Send + Sync + 'static {
    /// Hear what others say of a document.
    fn subscribe(&self, document: &DocumentId);

    /// Hear it no longer.
    fn unsubscribe(&self, document: &DocumentId);

    /// Tell the others.
    fn publish(&self, document: &DocumentId, message: Bytes);
}

/// Where a bus puts what it hears.
pub type Hearing = Arc<dyn Fn(Bytes) + Send + Sync>;
