//! Starting and stopping a gateway.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};

use aetherflow_runtime::{health::Health, metrics::Metrics, shutdown::Shutdown};
use aetherflow_schema::{
    access::{Access, AccessWatcher, Authenticator, Permissions, Throttle},
    close::CloseCode,
    document_log::DocumentLog,
    documents::Documents,
    history::{Arrivals, EntryHistory},
    id::{PeerId, StorageId},
    locks::DocumentLocks,
    sessions::Sessions,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::AbortHandle,
};
use uuid::Uuid;

use crate::{
    admin::Admin,
    assets::Assets,
    close::Close,
    ephemeral::Ephemera,
    error::StartError,
    http,
    listener::{self, Admission, Service},
    metrics::GatewayMetrics,
    native::carrier::{self, Carrier},
    options::GatewayOptions,
    peers::Peers,
    repo_session::Identity,
    shared::{Cutter, Shared},
};

/// Connections that the system completes before they are accepted.
const BACKLOG: u32 = 4096;

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
        let shared = Arc::new(shared(parts));
        let cutter: Arc<dyn AccessWatcher> = Arc::new(Cutter(Arc::downgrade(&shared)));
        shared.access.watch(cutter.clone());
        let service = Service {
            shared: shared.clone(),
            router: http::public(shared.clone()),
            websocket: true,
        };
        let admin = Service {
            shared: shared.clone(),
            router: http::private(shared.clone()),
            websocket: false,
        };
        let limits = &shared.options.limits;
        let (admission, admin_admission) = (Admission::new(limits), Admission::trusting(limits));
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
        rooms: Arc::default(),
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
    let bind = || -> io::Result<_> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections of the process before may linger; without this the address would be taken for a minute.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind().map_err(|source| StartError::Listen { address, what, source })
}
