//! From a configuration to a running server, and to its end.
//!
//! The order is that of the layers: log, documents, sessions, gateway. The end comes in the opposite order: the gateway stops
//! accepting and lets connections finish, then sessions are stored, and documents and log closed.

use std::sync::Arc;

use aetherflow_gateway::{Gateway, Parts};
use aetherflow_runtime::{
    health::Health,
    metrics::Metrics,
    process::{ProcessFigures, raise_open_files},
    shutdown::Shutdown,
};

use crate::{
    access::{self, Door},
    backend,
    config::Config,
    console::Console,
    greeting::Greeting,
    history::{self, LogHistory},
    quantum::{self, Listening},
    sessions,
};

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Without authentication, and saying so.
    Dev,
    /// Not without authentication, unless told to.
    Serve,
}

/// Runs a server until it is told to stop.
pub(crate) async fn run(mut config: Config, mode: Mode) -> anyhow::Result<()> {
    if mode == Mode::Dev {
        config.http.welcome_this_machine();
    }
    let door = access::open(&config, mode)?;
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

    let backend = backend::open(&config, &health, &metrics).await?;
    let rights = access::rights(&door, &config, &backend).await;
    let keeper = sessions::start(&config, backend.store, &health, &metrics).await?;
    let gateway = Gateway::start(Parts {
        options: config.gateway(),
        documents: backend.documents.clone(),
        log: backend.entries.clone(),
        access: rights.access,
        authenticator: door.gatekeeper.clone(),
        permissions: rights.permissions,
        throttle: rights.throttle,
        sessions: keeper.sessions(),
        locks: keeper.locks(),
        history: Arc::new(LogHistory(backend.log())),
        arrivals: history::open(&config, &metrics).await?,
        admin: backend.admin.clone(),
        assets: Arc::new(Console),
        health,
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
        store: backend.store,
    })
    .await?;
    access::follow(&door, gateway.watcher());
    let quantum = listen_quantum(&config, &gateway, &metrics, &shutdown)?;
    gateway.ready();
    announce(&config, &door, &gateway, quantum.as_ref());

    let unfinished = gateway.stopped().await;
    if unfinished > 0 {
        tracing::warn!(connections = unfinished, "did not finish in time");
    }
    keeper.close().await;
    backend.close().await?;
    tracing::info!("stopped");
    Ok(())
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
    quantum::start(&config.quantum, address, &config.data_dir, native, metrics, shutdown).map(Some)
}

fn announce(config: &Config, door: &Door, gateway: &Gateway, quantum: Option<&Listening>) {
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
    if door.is_open {
        tracing::warn!("no authentication: whoever reaches this server can read and change everything");
    }
    if let Some(token) = &door.development_token {
        let greeting = Greeting {
            address: gateway.address(),
            admin_address: gateway.admin_address(),
            data_dir: &config.data_dir,
            quantum,
            token,
        };
        greeting.print();
    }
}
