//! Reading the configuration again while the server runs: at SIGHUP, and when the admin port is asked to.
//!
//! **Owns** what is in force. **Inputs**: the same file, environment and flags as at the start. **Effects**: the values of
//! [`LIVE`] reach those who keep to them, and the certificates are read again. **Invariants**: one reading after the other; a
//! configuration that is no good changes nothing; what changed and is not live is named each time until the restart.

use std::sync::Arc;

use aetherflow_access::{DocumentAccess, RateLimits};
use aetherflow_gateway::{GatewaySettings, admin::Reloaded};
use aetherflow_runtime::{
    config::{ConfigError, differences},
    logs::{LogError, LogFilter},
    shutdown::Shutdown,
    tls::{Tls, TlsError},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    config::{self, Config, Sources},
    wire::Mode,
};

/// What needs no restart.
const LIVE: [&str; 10] = [
    "access.document_bytes",
    "access.document_changes",
    "access.documents_per_principal",
    "access.rates",
    "http.allowed_origins",
    "http.cross_origin_reads",
    "limits.connections",
    "limits.connections_per_address",
    "limits.count_loopback",
    "logs.filter",
];

/// Requests of the admin port that may wait.
const WAITING: usize = 4;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The configuration is no good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate or key is no good.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The logs cannot be told.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// Nobody reads it any more.
    #[error("the server is stopping")]
    Stopping,
}

type Request = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// Where it is asked for.
#[derive(Clone)]
pub(crate) struct Reloads(mpsc::Sender<Request>);

impl Reloads {
    /// Those who ask, and what they ask.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Has the configuration read again: what came of it.
    pub(crate) async fn ask(&self) -> Result<Reloaded, ReloadError> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).await.map_err(|_| ReloadError::Stopping)?;
        receiver.await.map_err(|_| ReloadError::Stopping)?
    }
}

/// Who keeps to what can change.
pub(crate) struct Subjects {
    pub(crate) filter: LogFilter,
    pub(crate) tls: Option<Arc<Tls>>,
    /// None where everybody may do everything.
    pub(crate) rates: Option<Arc<RateLimits>>,
    pub(crate) documents: Option<DocumentAccess>,
    pub(crate) gateway: GatewaySettings,
}

/// See the [module](self).
pub(crate) struct Reloader {
    pub(crate) sources: Sources,
    pub(crate) mode: Mode,
    /// What is in force.
    pub(crate) config: Config,
    pub(crate) subjects: Subjects,
}

/// SIGHUP, where it means that: with `aetherflow dev` it is the end of a terminal, and then of the server.
pub(crate) fn hangups(mode: Mode) -> anyhow::Result<Option<Signal>> {
    match mode {
        Mode::Dev => Ok(None),
        Mode::Serve => Ok(Some(signal(SignalKind::hangup())?)),
    }
}

impl Reloader {
    /// Reads it again whenever that is asked for, until the shutdown.
    pub(crate) async fn run(
        mut self,
        mut hangups: Option<Signal>,
        mut requests: mpsc::Receiver<Request>,
        shutdown: Shutdown,
    ) {
        let hangup = async |signal: &mut Option<Signal>| match signal {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        };
        loop {
            let asked = tokio::select! {
                () = shutdown.triggered() => return,
                request = requests.recv() => request,
                _ = hangup(&mut hangups) => None,
            };
            // Files are small, and this is rare.
            let result = self.reload();
            match &result {
                Ok(reloaded) => report(reloaded),
                Err(error) => {
                    tracing::error!(%error, "the configuration was not read again, nothing has changed");
                }
            }
            if let Some(asked) = asked {
                // Whoever asked may have gone.
                let _ = asked.send(result);
            }
        }
    }

    fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let mut new = config::load(&self.sources, std::env::vars())?;
        self.mode.adjust(&mut new);
        let changed = differences(&self.config, &new)?;
        let is_live = |key: &String| {
            LIVE.iter().any(|live| {
                let below = key.strip_prefix(live);
                below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
            })
        };
        let (applied, restart) = changed.into_iter().partition(is_live);
        // What can fail comes first.
        if let Some(tls) = &self.subjects.tls {
            tls.reload()?;
        }
        self.subjects.filter.set(&new.logs)?;
        self.apply(new);
        Ok(Reloaded { applied, restart })
    }

    fn apply(&mut self, new: Config) {
        let Self { config, subjects, .. } = self;
        config.logs.filter = new.logs.filter;
        config.access.document_bytes = new.access.document_bytes;
        config.access.document_changes = new.access.document_changes;
        config.access.documents_per_principal = new.access.documents_per_principal;
        config.access.rates = new.access.rates;
        config.http = new.http;
        config.limits.connections = new.limits.connections;
        config.limits.connections_per_address = new.limits.connections_per_address;
        config.limits.count_loopback = new.limits.count_loopback;
        if let Some(rates) = &subjects.rates {
            rates.set(config.access.rates, config.limits.count_loopback);
        }
        if let Some(documents) = &subjects.documents {
            documents.set_quotas(&config.access);
        }
        subjects.gateway.set_http(config.http.clone());
        subjects.gateway.set_connections(&config.limits);
    }
}

fn report(reloaded: &Reloaded) {
    tracing::info!(applied = ?reloaded.applied, "read the configuration again");
    if !reloaded.restart.is_empty() {
        tracing::warn!(keys = ?reloaded.restart, "changed in the configuration, and not in force before a restart");
    }
}
