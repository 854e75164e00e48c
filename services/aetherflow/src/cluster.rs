//! Other nodes: from the configuration to the connection over which sessions and presence are shared with them.
//!
//! On failure: a node that cannot reach NATS when it starts does not serve. It says so, tries again for a while, and ends with
//! an error; one that loses NATS later goes on serving, and `/healthz` says what is missing.

use std::{path::PathBuf, time::Duration};

use aetherflow_runtime::{config::Invalid, shutdown::Shutdown};
use aetherflow_session::{
    cluster::{self, Cluster, ClusterOptions},
    store::nats::{NatsOptions, NatsStore},
};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// Between two attempts to reach NATS.
const PAUSE: Duration = Duration::from_secs(1);

/// Section `[cluster]`: other nodes that clients may be connected with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterConfig {
    /// The NATS servers, with JetStream, over which nodes share sessions and presence, such as
    /// `nats://a:4222,nats://b:4222`; default none: this node is by itself.
    pub(crate) nats: String,
    /// A file with `user:password` or a token for them, default none.
    pub(crate) credentials: PathBuf,
    /// How many of them keep each session, default 1; 3 where a server may be lost. Counts when the bucket is made.
    pub(crate) replicas: usize,
    /// Sessions of a node that died are gone after so long, in milliseconds, default 120,000. Costs a write for each session
    /// three times as often. Counts when the bucket is made.
    pub(crate) session_lease_ms: u64,
    /// Who is present on a node that died is gone after so long, in milliseconds, default 15,000. Costs a message for each
    /// document on which somebody is present three times as often.
    pub(crate) presence_lease_ms: u64,
    /// How long a node that starts waits for NATS before it gives up, in milliseconds, default 30,000.
    pub(crate) patience_ms: u64,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            nats: String::new(),
            credentials: PathBuf::new(),
            replicas: 1,
            session_lease_ms: 120_000,
            presence_lease_ms: 15_000,
            patience_ms: 30_000,
        }
    }
}

/// A node's place among the others.
pub(crate) struct Membership {
    pub(crate) cluster: Cluster,
    pub(crate) store: NatsStore,
}

impl ClusterConfig {
    /// Notes what makes no sense.
    pub(crate) fn validate(&self, invalid: &mut Invalid) {
        let are_servers = self.nats.is_empty() || cluster::servers(&self.nats).is_ok();
        let what = "is no list of servers, such as nats://a:4222,nats://b:4222";
        invalid.unless(are_servers, "cluster.nats", what);
        invalid.unless_within("cluster.replicas", self.replicas, 1, 5);
        invalid.unless_within("cluster.session_lease_ms", self.session_lease_ms, 1000, 86_400_000);
        invalid.unless_within("cluster.presence_lease_ms", self.presence_lease_ms, 300, 3_600_000);
        invalid.unless_within("cluster.patience_ms", self.patience_ms, 0, 3_600_000);
    }

    pub(crate) fn presence_lease(&self) -> Duration {
        Duration::from_millis(self.presence_lease_ms)
    }

    /// Takes this node's place among the others, as `name`; `None` when it is by itself, or is told to stop.
    ///
    /// # Errors
    /// When NATS is not there in time, or does not do what it should.
    pub(crate) async fn join(&self, name: String, shutdown: &Shutdown) -> anyhow::Result<Option<Membership>> {
        if self.nats.is_empty() {
            return Ok(None);
        }
        let options = ClusterOptions {
            servers: self.nats.clone(),
            credentials: Some(self.credentials.clone()).filter(|file| !file.as_os_str().is_empty()),
            name,
        };
        let deadline = Instant::now() + Duration::from_millis(self.patience_ms);
        loop {
            let error = match self.try_join(&options).await {
                Ok(membership) => return Ok(Some(membership)),
                Err((error, true)) if Instant::now() < deadline => error,
                Err((error, _)) => return Err(error.context("section `cluster`")),
            };
            tracing::warn!(
                error = format!("{error:#}"),
                "not serving yet: this node waits for NATS"
            );
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = shutdown.triggered() => return Ok(None),
            }
        }
    }

    /// One attempt; with an error, whether another may succeed.
    async fn try_join(&self, options: &ClusterOptions) -> Result<Membership, (anyhow::Error, bool)> {
        let cluster = Cluster::connect(options).await.map_err(|error| {
            let may_pass = error.may_pass();
            (error.into(), may_pass)
        })?;
        let bucket = NatsOptions {
            lease: Duration::from_millis(self.session_lease_ms),
            replicas: self.replicas,
            ..NatsOptions::default()
        };
        let opened = cluster.store(bucket).await.context("the bucket of sessions");
        let store = opened.map_err(|error| (error, true))?;
        Ok(Membership { cluster, store })
    }
}
