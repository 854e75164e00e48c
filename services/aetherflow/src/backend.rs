//! Log and documents: what stands behind the gateway.

use std::sync::Arc;

use aetherflow_gateway::admin::{Admin, AdminError, PartitionStatus, Reloaded, Verification};
use aetherflow_log_store::{RocksStore, StoreOptions};
use aetherflow_oplog::LogHandle;
use aetherflow_runtime::{health::Health, metrics::Metrics};
use aetherflow_schema::{
    document_log::DocumentLog,
    documents::{BoxFuture, Documents},
    id::StorageId,
};
use aetherflow_statesync::{Statesync, StatesyncOptions};
use anyhow::Context;
use uuid::Uuid;

use crate::{config::Config, figures::Figures, reload::Reloads};

/// An open log and the documents in it.
pub(crate) struct Backend {
    /// For clients.
    pub(crate) documents: Arc<dyn Documents>,
    /// For clients of the native protocol.
    pub(crate) entries: Arc<dyn DocumentLog>,
    /// For operators.
    pub(crate) admin: Arc<dyn Admin>,
    /// The name of the store.
    pub(crate) store: Uuid,
    log: LogHandle,
}

impl Backend {
    /// The log, for those who read it themselves.
    pub(crate) fn log(&self) -> LogHandle {
        self.log.clone()
    }
}

/// Opens the log in `config.data_dir`, creating it if there is none, and starts to materialize documents from it.
/// What may go wrong with them later is registered with `health`.
pub(crate) async fn open(
    config: &Config,
    health: &Health,
    metrics: &Metrics,
    reloads: Reloads,
) -> anyhow::Result<Backend> {
    if !config.log.fsync {
        tracing::error!("log.fsync is off: what is acknowledged is LOST when the power fails; this is for tests only");
    }
    let options = StoreOptions {
        partitions: config.log.partitions,
        cache_bytes: config.log.cache_bytes,
        fsync: config.log.fsync,
        ..StoreOptions::new(config.data_dir.join("log"))
    };
    let store = tokio::task::spawn_blocking(move || RocksStore::open(options))
        .await?
        .with_context(|| format!("the log in {} cannot be opened", config.data_dir.display()))?;
    let id = store.id();
    let log = LogHandle::start(Arc::new(store), config.log.handle())?;
    let server = StorageId(Arc::from(id.to_string()));
    let statesync = Statesync::new(
        log.clone(),
        StatesyncOptions {
            idle: config.documents.idle(),
            memory_bytes: config.documents.memory_bytes,
            apply_budget: config.documents.apply_budget(),
            ..StatesyncOptions::new(server)
        },
    );
    register_health(health, &log);
    let figures = Figures::new(log.clone(), statesync.clone());
    metrics.register("log", |registry| registry.register_collector(Box::new(figures)));
    Ok(Backend {
        documents: Arc::new(statesync.clone()),
        entries: Arc::new(statesync.clone()),
        admin: Arc::new(Operator {
            log: log.clone(),
            statesync,
            reloads,
        }),
        store: id,
        log,
    })
}

fn register_health(health: &Health, log: &LogHandle) {
    let failsafe = log.clone();
    health.register("log", move || match failsafe.failsafe() {
        None => Ok(()),
        Some(reason) => Err(format!("failsafe, no edits are taken: {reason}")),
    });
    let partitions = log.clone();
    health.register("partitions", move || {
        let damaged: Vec<String> = partitions
            .status()
            .into_iter()
            .filter_map(|status| {
                Some(format!(
                    "partition {} is quarantined, {}",
                    status.partition,
                    status.state.err()?
                ))
            })
            .collect();
        if damaged.is_empty() {
            Ok(())
        } else {
            Err(damaged.join("; "))
        }
    });
}

impl Backend {
    /// Stops after the last connection has ended: what was appended is durable when this returns.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let log = self.log;
        tokio::task::spawn_blocking(move || log.close()).await?;
        Ok(())
    }
}

struct Operator {
    log: LogHandle,
    statesync: Statesync,
    reloads: Reloads,
}

impl Admin for Operator {
    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionStatus>, AdminError>> {
        let failsafe = self.log.failsafe();
        let partitions = self.log.status().into_iter().map(|status| match status.state {
            Ok(tail) => PartitionStatus {
                partition: status.partition,
                state: if failsafe.is_some() { "failsafe" } else { "active" }.to_owned(),
                reason: failsafe.as_deref().map(str::to_owned),
                committed: tail.offset.0,
                chain: tail.chain.to_string(),
            },
            Err(damage) => PartitionStatus {
                partition: status.partition,
                state: "quarantined".to_owned(),
                reason: Some(damage.to_string()),
                committed: damage.offset.0.saturating_sub(1),
                chain: String::new(),
            },
        });
        Box::pin(std::future::ready(Ok(partitions.collect())))
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async {
            self.log.resume().await.map_err(|error| AdminError(error.to_string()))?;
            self.statesync.resumed().await;
            tracing::info!("the log takes writes again");
            Ok(())
        })
    }

    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, AdminError>> {
        Box::pin(async {
            let reloaded = self.reloads.ask().await;
            reloaded.map_err(|error| AdminError(error.to_string()))
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verification, AdminError>> {
        Box::pin(async {
            let log = self.log.clone();
            let verified = tokio::task::spawn_blocking(move || log.verify(&mut |_| {}))
                .await
                .map_err(|error| AdminError(error.to_string()))?
                .map_err(|error| AdminError(error.to_string()))?;
            Ok(Verification {
                ok: verified.damage.is_empty(),
                entries: verified.entries,
                partitions: u64::from(self.log.partitions()),
                problems: verified
                    .damage
                    .iter()
                    .map(|(partition, damage)| format!("partition {partition}: {damage}"))
                    .collect(),
            })
        })
    }
}
