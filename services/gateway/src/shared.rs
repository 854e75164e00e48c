//! What all connections of a gateway have in common.

use std::sync::{
    Arc, PoisonError, RwLock, Weak,
    atomic::{AtomicU64, Ordering},
};

use aetherflow_runtime::{health::Health, metrics::Metrics, shutdown::Shutdown};
use aetherflow_schema::{
    access::{Access, AccessWatcher, Authenticator, Identity as CallerIdentity, Operation, Permissions, Throttle},
    document_log::DocumentLog,
    documents::Documents,
    history::{Arrivals, EntryHistory},
    id::{ConnectionId, DocumentId},
    locks::DocumentLocks,
    presence::Presence,
    sessions::Sessions,
};

use crate::{
    admin::Admin,
    assets::Assets,
    audience::{Audience, Reviewed},
    ephemeral::Ephemera,
    metrics::GatewayMetrics,
    options::{GatewayOptions, HttpOptions},
    outbound::Outbound,
    peers::Peers,
    repo_session::Identity,
};

/// A gateway's insides.
pub(crate) struct Shared {
    /// As at the start.
    pub(crate) options: GatewayOptions,
    /// Section `[http]`, which may change.
    pub(crate) http: RwLock<Arc<HttpOptions>>,
    pub(crate) identity: Identity,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) log: Arc<dyn DocumentLog>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) permissions: Arc<dyn Permissions>,
    pub(crate) throttle: Arc<dyn Throttle>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) presence: Arc<dyn Presence>,
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
    /// Who is told of documents that they opened in another protocol than automerge-repo's.
    pub(crate) followers: Audience<dyn Reviewed>,
    pub(crate) connections: AtomicU64,
}

impl Shared {
    /// A new connection's number.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Who may use this server from a browser, at present.
    pub(crate) fn http_options(&self) -> Arc<HttpOptions> {
        self.http.read().unwrap_or_else(PoisonError::into_inner).clone()
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
            shared.followers.review(document);
            let may_stay =
                |identity: &CallerIdentity| shared.access.allows(identity, Operation::Presence, document).is_ok();
            shared.presence.review(document, &may_stay);
        }
    }

    fn credential_revoked(&self, credential: &str) {
        if let Some(shared) = self.0.upgrade() {
            shared.peers.revoke(credential);
            shared.presence.revoke(credential);
        }
    }
}
