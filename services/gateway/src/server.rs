//! Starting and stopping a gateway.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
};

use aetherflow_runtime::{health::Health, listen, metrics::Metrics, shutdown::Shutdown, tls::Tls};
use aetherflow_schema::{
    access::{Access, AccessWatcher, Authenticator, Permissions, Throttle},
    close::CloseCode,
    document_log::DocumentLog,
    documents::Documents,
    history::{Arrivals, EntryHistory},
    id::{PeerId, StorageId},
    locks::DocumentLocks,
    presence::Presence,
    sessions::Sessions,
};
use tokio::{net::TcpListener, task::AbortHandle};
use uuid::Uuid;

use crate::{
    admin::Admin,
    assets::Assets,
    audience::Audience,
    close::Close,
    ephemeral::Ephemera,
    error::StartError,
    http,
    listener::{self, Admission, Service},
    metrics::{GatewayMetrics, native::register_present},
    native::carrier::{self, Carrier},
    options::{GatewayOptions, HttpOptions, Limits},
    peers::Peers,
    repo_session::Identity,
    shared::{Cutter, Shared},
};

/// What a gateway is made of.
pub struct Parts {
    /// Validated options.
    pub options: GatewayOptions,
    /// Who materializes documents.
    pub documents: Arc<dyn Documents>,
    /// Who keeps their entries, for clients of the native protocol.
    pub log: Arc<dyn DocumentLog>,
    /// Who decides what is allowed.
    pub access: Arc<dyn Access>,
    /// Who finds out who clients are.
    pub authenticator: Arc<dyn Authenticator>,
    /// Who keeps documents' permissions.
    pub permissions: Arc<dyn Permissions>,
    /// Who says when it is too much.
    pub throttle: Arc<dyn Throttle>,
    /// Who keeps sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Who knows who is present where. It ends with a session what the session began.
    pub presence: Arc<dyn Presence>,
    /// Who keeps the locks of documents.
    pub locks: Arc<dyn DocumentLocks>,
    /// Who knows what somebody wrote.
    pub history: Arc<dyn EntryHistory>,
    /// Who writes down where sessions come from.
    pub arrivals: Arc<dyn Arrivals>,
    /// Who administers the log.
    pub admin: Arc<dyn Admin>,
    /// The console.
    pub assets: Arc<dyn Assets>,
    /// Served at `/healthz` and `/readyz`.
    pub health: Health,
    /// Served at `/metrics`.
    pub metrics: Metrics,
    /// With which certificate WebSocket, HTTP API and console are served, if with any.
    pub tls: Option<Arc<Tls>>,
    /// The end of the process.
    pub shutdown: Shutdown,
    /// The log's store: its name is what clients take as "saved on the server", so it must never change.
    pub store: Uuid,
}

/// A gateway that accepts connections, until [`Shutdown`] is triggered.
pub struct Gateway {
    address: SocketAddr,
    admin_address: SocketAddr,
    peer: PeerId,
    shared: Arc<Shared>,
    admin_task: AbortHandle,
    settings: GatewaySettings,
    cutter: Arc<dyn AccessWatcher>,
}

impl Gateway {
    /// Starts to accept connections. It is not ready before [`ready`](Self::ready).
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let options = &parts.options;
        let (public, address) = listen(options.listen, "listen")?;
        let (private, admin_address) = listen(options.admin_listen, "admin_listen")?;
        let tls = parts.tls.clone();
        let shared = Arc::new(shared(parts));
        register_present(&shared.registry, shared.presence.clone());
        let cutter: Arc<dyn AccessWatcher> = Arc::new(Cutter(Arc::downgrade(&shared)));
        shared.access.watch(cutter.clone());
        let service = Service {
            shared: shared.clone(),
            router: http::public(shared.clone()),
            websocket: true,
            tls,
        };
        let admin = Service {
            shared: shared.clone(),
            router: http::private(shared.clone()),
            websocket: false,
            tls: None,
        };
        let limits = &shared.options.limits;
        let admissions = [Admission::new(limits), Admission::trusting(limits)].map(Arc::new);
        let [admission, admin_admission] = admissions.clone();
        let shutdown = shared.shutdown.clone();
        let stop = {
            let shutdown = shutdown.clone();
            async move { shutdown.triggered().await }
        };
        shutdown.spawn(listener::run(public, service, admission, stop));
        let admin_task = tokio::spawn(listener::run(private, admin, admin_admission, std::future::pending()));
        shutdown.spawn(stop_connections(shared.clone()));
        Ok(Self {
            address,
            admin_address,
            peer: shared.identity.peer.clone(),
            settings: GatewaySettings {
                shared: shared.clone(),
                admissions,
            },
            shared,
            admin_task: admin_task.abort_handle(),
            cutter,
        })
    }

    /// Everything else is up, too: from now on `/readyz` says so, until the shutdown.
    pub fn ready(&self) {
        if !self.shared.shutdown.is_triggered() {
            self.shared.health.set_ready(true);
        }
    }

    /// Where WebSocket, HTTP API and console are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics, health and administration are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// What can be changed while it runs.
    pub fn settings(&self) -> GatewaySettings {
        self.settings.clone()
    }

    /// The name under which the gateway speaks to peers.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// What ends connections that are allowed no longer: to be told by whoever revokes keys.
    pub fn watcher(&self) -> &Arc<dyn AccessWatcher> {
        &self.cutter
    }

    /// Serves the native protocol to clients of other transports.
    pub fn native(&self) -> NativeService {
        NativeService {
            shared: self.shared.clone(),
        }
    }

    /// Waits for the shutdown, and then for connections to finish, as long as there is time: how many did not.
    pub async fn stopped(self) -> usize {
        self.shared.shutdown.drained().await;
        self.shared.peers.len()
    }
}

/// What can be changed while a gateway runs. Cheap to clone.
#[derive(Clone)]
pub struct GatewaySettings {
    shared: Arc<Shared>,
    admissions: [Arc<Admission>; 2],
}

impl GatewaySettings {
    /// For connections to come: how many there may be, from where. The other limits are those of the start.
    pub fn set_connections(&self, limits: &Limits) {
        for admission in &self.admissions {
            admission.set(limits);
        }
    }

    /// From now on.
    pub fn set_http(&self, options: HttpOptions) {
        *self.shared.http.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }
}

/// Serves the native protocol on transports that are none of the gateway's own. Cheap to clone.
#[derive(Clone)]
pub struct NativeService {
    shared: Arc<Shared>,
}

impl NativeService {
    /// Serves a connection to its end, in a task for which the end of the process waits. Must be called within a runtime.
    pub fn serve(&self, carrier: impl Carrier) {
        let shared = self.shared.clone();
        let serve = Box::pin(async move { carrier::serve(shared, &carrier).await });
        self.shared.shutdown.spawn(serve);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.admin_task.abort();
    }
}

fn shared(parts: Parts) -> Shared {
    let short = Uuid::new_v4().simple().to_string();
    Shared {
        identity: Identity {
            peer: PeerId(format!("aetherflow-{}", &short[..8]).into()),
            storage: StorageId(parts.store.to_string().into()),
        },
        metrics: Arc::new(GatewayMetrics::new(&parts.metrics)),
        http: RwLock::new(Arc::new(parts.options.http.clone())),
        options: parts.options,
        documents: parts.documents,
        log: parts.log,
        access: parts.access,
        authenticator: parts.authenticator,
        permissions: parts.permissions,
        throttle: parts.throttle,
        sessions: parts.sessions,
        locks: parts.locks,
        history: parts.history,
        arrivals: parts.arrivals,
        admin: parts.admin,
        assets: parts.assets,
        health: parts.health,
        registry: parts.metrics,
        shutdown: parts.shutdown,
        peers: Peers::default(),
        ephemera: Ephemera::default(),
        followers: Audience::default(),
        presence: parts.presence,
        connections: AtomicU64::new(1),
    }
}

/// Tells every connection when the end has begun.
async fn stop_connections(shared: Arc<Shared>) {
    shared.shutdown.triggered().await;
    shared.health.set_ready(false);
    tracing::info!(connections = shared.peers.len(), "no longer accepting connections");
    shared.peers.stop(&Close::plain(CloseCode::GoingAway));
}

fn listen(address: SocketAddr, what: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    listen::listen(address).map_err(|source| StartError::Listen { address, what, source })
}
