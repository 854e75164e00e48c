//! What all connections of a gateway have in common.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use aetherflow_runtime::{health::Health, metrics::Metrics, shutdown::Shutdown};
use aetherflow_schema::{
    access::{Access, AccessWatcher, Authenticator, Permissions, Throttle},
    document_log::DocumentLog,
    documents::Documents,
    history::{Arrivals, EntryHistory},
    id::{ConnectionId, DocumentId},
    locks::DocumentLocks,
    sessions::Sessions,
};

use crate::{
    admin::Admin, assets::Assets, ephemeral::Ephemera, metrics::GatewayMetrics, native::Rooms, options::GatewayOptions,
    outbound::Outbound, peers::Peers, repo_session::Identity,
};

/// A gateway's insides.
pub(crate) struct Shared {
    pub(crate) options: GatewayOptions,
    pub(crate) identity: Identity,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) log: Arc<dyn DocumentLog>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) permissions: Arc<dyn Permissions>,
    pub(crate) throttle: Arc<dyn Throttle>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) locks: Arc<dyn DocumentLocks>,
    pub(crate) history: Arc<dyn EntryHistory>,
    pub(crate) arrivals: Arc<dyn Arrivals>,
    pub(crate) admin: Arc<dyn Admin>,
    pub(crate) assets: Arc<dyn Assets>,
    pub(crate) health: Health,
    pub(crate) registry: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Arc<GatewayMetrics>,
    pub(crate) peers: Peers,
    pub(crate) ephemera: Ephemera,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) connections: AtomicU64,
}

impl Shared {
    /// A new connection's number.
    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// The queue of a new connection, which is told when the server stops.
    pub(crate) fn new_outbound(&self) -> Arc<Outbound> {
        let outbound = Arc::new(Outbound::new(
            self.next_connection(),
            self.identity.peer.clone(),
            self.options.limits.queue_bytes,
            self.metrics.clone(),
        ));
        self.peers.add(&outbound);
        outbound
    }
}

/// Hears what is allowed no longer, and cuts it.
pub(crate) struct Cutter(pub(crate) Weak<Shared>);

impl AccessWatcher for Cutter {
    fn document_changed(&self, document: &DocumentId) {
        if let Some(shared) = self.0.upgrade() {
            shared.ephemera.review(document);
            shared.rooms.review(document);
        }
    }

    fn credential_revoked(&self, credential: &str) {
        if let Some(shared) = self.0.upgrade() {
            shared.peers.revoke(credential);
        }
    }
}
