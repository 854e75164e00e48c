//! What all connections of a gateway have in common.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aetherflow_runtime::{health::Health, metrics::Metrics, shutdown::Shutdown};
use aetherflow_schema::{
    access::{Access, Author, Principal},
    documents::Documents,
    id::{ConnectionId, SessionId},
};
use uuid::Uuid;

use crate::{
    admin::Admin, assets::Assets, ephemeral::Ephemera, metrics::GatewayMetrics, options::GatewayOptions, peers::Peers,
    repo_session::Identity,
};

/// A gateway's insides.
pub(crate) struct Shared {
    pub(crate) options: GatewayOptions,
    pub(crate) identity: Identity,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) admin: Arc<dyn Admin>,
    pub(crate) assets: Arc<dyn Assets>,
    pub(crate) health: Health,
    pub(crate) registry: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Arc<GatewayMetrics>,
    pub(crate) peers: Peers,
    pub(crate) ephemera: Ephemera,
    pub(crate) connections: AtomicU64,
}

impl Shared {
    /// A new connection's number.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Whoever is at the other end, in a session of its own.
    pub(crate) fn anonymous_author(&self) -> Author {
        Author {
            principal: Principal::anonymous(),
            session: SessionId(Uuid::now_v7()),
        }
    }
}
