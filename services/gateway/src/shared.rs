//! What all connections of a gateway have in common.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aetherflow_runtime::{health::Health, metrics::Metrics, shutdown::Shutdown};
use aetherflow_schema::{
    access::{Access, Author, Principal},
    document_log::DocumentLog,
    documents::Documents,
    id::{ConnectionId, SessionId},
};
use uuid::Uuid;

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

    /// Whoever is at the other end, in a session of its own.
    pub(crate) fn anonymous_author(&self) -> Author {
        Author {
            principal: Principal::anonymous(),
            session: SessionId(Uuid::now_v7()),
        }
    }
}
