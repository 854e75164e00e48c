//! Who is connected: from the configuration to the session service that the gateway asks, and to its end.
//!
//! Sessions are kept in `sessions` in the data directory, for when clients come back after the server was started again; in
//! a cluster in NATS, for when they come back to whichever node.
//! On failure: when nothing can be stored, clients get sessions that cannot be resumed, and `/readyz` says so.

use std::{sync::Arc, time::Duration};

use aetherflow_runtime::{config::Invalid, health::Health, metrics::Metrics, shutdown::Shutdown};
use aetherflow_schema::{
    locks::DocumentLocks,
    presence::Presence,
    sessions::{NodeId, SessionState, Sessions},
};
use aetherflow_session::{
    Clock, SessionOptions, SessionService,
    cluster::Cluster,
    locks::LocalLocks,
    presence::{PresenceOptions, PresenceService},
    store::{
        SessionStore,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use anyhow::Context;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{cluster::Membership, config::Config};

/// The longest that the end of the process waits for sessions to be stored.
const PATIENCE: Duration = Duration::from_secs(5);

/// Section `[sessions]`: who is connected, and who may come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionConfig {
    /// A client of which nothing is heard for so long is idle, in milliseconds, default 60,000.
    pub(crate) idle_ms: u64,
    /// One of which nothing is heard for so long is gone, and its connection closed, in milliseconds, default 600,000. More
    /// than twice `timeouts.keepalive_ms`: answers to pings count.
    pub(crate) expire_ms: u64,
    /// A native client may come back and go on with its session for so long after its connection broke, in milliseconds,
    /// default 120,000. Costs about a kilobyte of memory and of disk for each client that does not.
    pub(crate) resume_window_ms: u64,
    /// How many sessions there may be, with and without a connection, default 1,000,000. Clients beyond that are sent away.
    /// Worst case: a kilobyte each.
    pub(crate) max: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            idle_ms: 60_000,
            expire_ms: 600_000,
            resume_window_ms: 120_000,
            max: 1_000_000,
        }
    }
}

impl SessionConfig {
    /// Notes what makes no sense. `keepalive_ms` is for how long nothing may be heard of a client that is there.
    pub(crate) fn validate(&self, keepalive_ms: u64, invalid: &mut Invalid) {
        const DAY_MS: u64 = 86_400_000;
        invalid.unless_within("sessions.idle_ms", self.idle_ms, 1, DAY_MS);
        invalid.unless_within("sessions.expire_ms", self.expire_ms, 1, 30 * DAY_MS);
        invalid.unless_within("sessions.resume_window_ms", self.resume_window_ms, 1, DAY_MS);
        invalid.unless_within("sessions.max", self.max, 1, 100_000_000);
        invalid.unless(
            self.expire_ms > self.idle_ms,
            "sessions.expire_ms",
            "is not longer than `sessions.idle_ms`",
        );
        invalid.unless(
            self.expire_ms > keepalive_ms.saturating_mul(2),
            "sessions.expire_ms",
            "is not longer than twice `timeouts.keepalive_ms`: clients that are there would be taken for gone",
        );
    }

    fn options(&self, node: NodeId, join: Duration) -> SessionOptions {
        let defaults = SessionOptions::new(node);
        SessionOptions {
            // The gateway closes those that say nothing; this is for what it misses.
            introduce_within: defaults.introduce_within.max(2 * join),
            idle_after: Duration::from_millis(self.idle_ms),
            expire_after: Duration::from_millis(self.expire_ms),
            resume_window: Duration::from_millis(self.resume_window_ms),
            sessions_max: self.max,
            ..defaults
        }
    }
}

/// The sessions of this process, who is present where, and who holds which lock.
pub(crate) struct SessionKeeper {
    sessions: Arc<SessionService>,
    presence: Arc<PresenceService>,
    locks: Arc<LocalLocks>,
    cluster: Option<Cluster>,
}

impl SessionKeeper {
    /// For the gateway.
    pub(crate) fn sessions(&self) -> Arc<dyn Sessions> {
        self.sessions.clone()
    }

    /// For the gateway.
    pub(crate) fn presence(&self) -> Arc<dyn Presence> {
        self.presence.clone()
    }

    /// For the gateway: locks that end with their sessions.
    pub(crate) fn locks(&self) -> Arc<dyn DocumentLocks> {
        self.locks.clone()
    }

    /// For other servers.
    pub(crate) fn service(&self) -> Arc<SessionService> {
        self.sessions.clone()
    }

    /// Stops after the last connection has ended: clients may come back to what is stored when this returns.
    pub(crate) async fn close(self) {
        if !self.sessions.stop(PATIENCE).await {
            tracing::error!("some sessions were not stored in time; their clients get new ones");
        }
        if let Some(cluster) = &self.cluster {
            cluster.flush(PATIENCE).await;
        }
    }
}

/// Reads the sessions in the data directory, or those of the cluster, and begins. `server` is the name of the log's store.
///
/// # Errors
/// When the sessions cannot be opened.
pub(crate) async fn start(
    config: &Config,
    server: Uuid,
    health: &Health,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> anyhow::Result<SessionKeeper> {
    let node = NodeId::named(&server.to_string()).context("a name for this node")?;
    let options = config
        .sessions
        .options(node, Duration::from_millis(config.timeouts.join_ms));
    options.validate().context("section `sessions`")?;
    let (store, cluster): (Arc<dyn SessionStore>, _) = match config.cluster.join(server.to_string(), shutdown).await? {
        Some(Membership { cluster, store }) => {
            tracing::info!(node = %options.node, "sessions and presence are shared with other nodes");
            let connection = cluster.clone();
            health.register("cluster", move || connection.check());
            (Arc::new(store), Some(cluster))
        }
        None => (open(config, health).await?, None),
    };
    let clock = Clock::new();
    let presence = PresenceService::start(
        PresenceOptions {
            node: options.node.clone(),
            lease: config.cluster.presence_lease(),
        },
        clock,
    );
    if let Some(cluster) = &cluster {
        presence.connect(|hear| cluster.bus(hear));
    }
    let presence = Arc::new(presence);
    let locks = Arc::new(LocalLocks::start(clock));
    let sessions = SessionService::start(options, clock, store, vec![presence.clone(), locks.clone()]).await;
    let sessions = Arc::new(sessions.context("the sessions cannot be read")?);
    let figures = SessionFigures(sessions.clone());
    metrics.register("sessions", |registry| registry.register_collector(Box::new(figures)));
    Ok(SessionKeeper {
        sessions,
        presence,
        locks,
        cluster,
    })
}

/// The sessions in the data directory.
async fn open(config: &Config, health: &Health) -> anyhow::Result<Arc<EmbeddedStore>> {
    let dir = config.data_dir.join("sessions");
    let options = EmbeddedOptions {
        dir: dir.clone(),
        fsync: config.log.fsync,
    };
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(options)).await?;
    let store = opened.with_context(|| format!("the sessions in {} cannot be opened", dir.display()))?;
    let store = Arc::new(store);
    let failsafe = store.clone();
    health.register("sessions", move || match failsafe.failsafe() {
        None => Ok(()),
        Some(reason) => Err(format!("not stored, clients cannot resume: {reason}")),
    });
    Ok(store)
}

/// What `/metrics` says of sessions, read when it is asked.
struct SessionFigures(Arc<SessionService>);

impl std::fmt::Debug for SessionFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionFigures")
    }
}

impl Collector for SessionFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let statistics = self.0.statistics();
        let mut open = encoder.encode_descriptor("open", "Sessions, by their state", None, MetricType::Gauge)?;
        // Those that are closed are not kept.
        let kept = SessionState::ALL.into_iter().zip(statistics.in_state);
        for (state, count) in kept.filter(|(state, _)| *state != SessionState::Closed) {
            gauge(count).encode(open.encode_family(&[("state", state.to_string())])?)?;
        }
        let principals = gauge(statistics.principals);
        principals.encode(encoder.encode_descriptor(
            "principals",
            "Principals who have a session",
            None,
            principals.metric_type(),
        )?)?;
        let traffic = statistics.traffic;
        let counters: [(&str, &str, u64); 7] = [
            ("created", "Sessions opened since the start", statistics.opened),
            ("resumed", "Sessions that clients went on with", statistics.resumed),
            (
                "resume_refused",
                "Resume tokens that were not good for anything",
                statistics.resume_refused,
            ),
            ("ended", "Sessions that ended, expired ones included", statistics.ended),
            ("expired", "Sessions that ended without a word", statistics.expired),
            (
                "received_bytes",
                "Bytes from clients, once they have a session",
                traffic.bytes_in,
            ),
            (
                "sent_bytes",
                "Bytes to clients, once they have a session",
                traffic.bytes_out,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
