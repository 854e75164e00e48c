//! From a configuration to a running server, and to its end.
//!
//! The order is that of the layers: log, documents, sessions, gateway and gRPC. The end comes in the opposite order: the gateway stops
//! accepting and lets connections finish, then sessions are stored, and documents and log closed.

use std::{net::SocketAddr, sync::Arc};

use aetherflow_gateway::{Gateway, Parts};
use aetherflow_runtime::{
    health::Health,
    logs::LogFilter,
    metrics::Metrics,
    process::{ProcessFigures, raise_open_files},
    shutdown::Shutdown,
    tls::{Tls, TlsFigures},
};
use aetherflow_schema::access::{AccessWatcher, Throttle};
use aetherflow_session::grpc::Guard;

use crate::{
    access::{self, Door},
    backend,
    config::{Config, Sources},
    console::Console,
    greeting::Greeting,
    grpc,
    history::{self, LogHistory},
    quantum::{self, Listening},
    reload::{self, Reloader, Reloads, Subjects},
    sessions::{self, SessionKeeper},
};

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Open to everybody, and saying so.
    Dev,
    /// Not open to everybody, unless told to be.
    Serve,
}

impl Mode {
    /// What follows from it for the configuration.
    pub(crate) fn adjust(self, config: &mut Config) {
        if self == Self::Dev {
            config.http.welcome_this_machine();
        }
    }
}

/// Runs a server until it is told to stop. `sources` are where the configuration was read from.
pub(crate) async fn run(mut config: Config, mode: Mode, sources: Sources, filter: LogFilter) -> anyhow::Result<()> {
    mode.adjust(&mut config);
    let hangups = reload::hangups(mode)?;
    let door = access::open(&config, mode)?;
    let tls = Tls::open(&config.tls)?;
    match raise_open_files() {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
    }
    let shutdown = Shutdown::new(&config.shutdown);
    shutdown.on_signals()?;
    let health = Health::default();
    let metrics = Metrics::default();
    metrics.register("process", |registry| {
        registry.register_collector(Box::new(ProcessFigures::default()));
    });

    follow_certificates(tls.as_ref(), &metrics);
    let (reloads, requests) = Reloads::channel();
    let backend = backend::open(&config, &health, &metrics, reloads).await?;
    let rights = access::rights(&door, &config, &backend).await;
    let keeper = sessions::start(&config, backend.store, &health, &metrics, &shutdown).await?;
    let throttle = rights.throttle.clone();
    let gateway = Gateway::start(Parts {
        options: config.gateway(),
        documents: backend.documents.clone(),
        log: backend.entries.clone(),
        access: rights.access,
        authenticator: door.gatekeeper.clone(),
        permissions: rights.permissions,
        throttle: rights.throttle,
        sessions: keeper.sessions(),
        presence: keeper.presence(),
        locks: keeper.locks(),
        history: Arc::new(LogHistory(backend.log())),
        arrivals: history::open(&config, &metrics).await?,
        admin: backend.admin.clone(),
        assets: Arc::new(Console),
        health,
        metrics: metrics.clone(),
        tls: tls.clone(),
        shutdown: shutdown.clone(),
        store: backend.store,
    })
    .await?;
    access::follow(&door, gateway.watcher());
    let quantum = listen_quantum(&config, &gateway, &metrics, &shutdown)?;
    let reloader = Reloader {
        sources,
        mode,
        config: config.clone(),
        subjects: Subjects {
            filter,
            tls: tls.clone(),
            rates: rights.rates,
            documents: rights.documents,
            gateway: gateway.settings(),
        },
    };
    tokio::spawn(reloader.run(hangups, requests, shutdown.clone()));
    let guard = config.grpc.enabled.then(|| guard(&door, throttle));
    let grpc = listen_grpc(&config, guard, tls, &keeper, &metrics, &shutdown)?;
    gateway.ready();
    announce(&config, &door, &gateway, quantum.as_ref(), grpc);

    let unfinished = gateway.stopped().await;
    if unfinished > 0 {
        tracing::warn!(connections = unfinished, "did not finish in time");
    }
    keeper.close().await;
    backend.close().await?;
    tracing::info!("stopped");
    Ok(())
}

fn follow_certificates(tls: Option<&Arc<Tls>>, metrics: &Metrics) {
    if let Some(tls) = tls {
        let figures = TlsFigures(tls.clone());
        metrics.register("tls", |registry| registry.register_collector(Box::new(figures)));
        tokio::spawn(Tls::follow(Arc::downgrade(tls)));
    }
}

fn listen_quantum(
    config: &Config,
    gateway: &Gateway,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Listening>> {
    if !config.quantum.enabled {
        return Ok(None);
    }
    let (address, native) = (gateway.address(), gateway.native());
    quantum::start(config, address, native, metrics, shutdown).map(Some)
}

/// Who may call what over gRPC; a revoked key ends what was begun with it.
fn guard(door: &Door, throttle: Arc<dyn Throttle>) -> Arc<Guard> {
    let guard = Arc::new(Guard::new(door.gatekeeper.clone(), throttle, door.is_open));
    let watcher: Arc<dyn AccessWatcher> = guard.clone();
    door.gatekeeper.watch(&watcher);
    guard
}

fn listen_grpc(
    config: &Config,
    guard: Option<Arc<Guard>>,
    tls: Option<Arc<Tls>>,
    keeper: &SessionKeeper,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(guard) = guard else { return Ok(None) };
    grpc::start(&config.grpc, keeper.service(), guard, tls, metrics, shutdown).map(Some)
}

fn announce(config: &Config, door: &Door, gateway: &Gateway, quantum: Option<&Listening>, grpc: Option<SocketAddr>) {
    tracing::info!(
        address = %gateway.address(),
        admin_address = %gateway.admin_address(),
        peer = %gateway.peer(),
        data_dir = %config.data_dir.display(),
        "serving"
    );
    if let Some(quantum) = quantum {
        tracing::info!(address = %quantum.address, fingerprint = %quantum.fingerprint, "serving Quantum");
    }
    if let Some(address) = grpc {
        tracing::info!(%address, "serving gRPC");
    }
    if door.is_open {
        tracing::warn!("open to everybody: whoever reaches this server can read and change everything");
    }
    if let Some(token) = &door.development_token {
        let greeting = Greeting {
            address: gateway.address(),
            admin_address: gateway.admin_address(),
            data_dir: &config.data_dir,
            quantum,
            grpc,
            tls: config.tls.is_on(),
            token,
        };
        greeting.print();
    }
}
