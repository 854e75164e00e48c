//! What an operator may ask of the log, which the gateway serves and does not know.

use aetherflow_schema::{documents::BoxFuture, id::PartitionId};
use serde::Serialize;

/// One partition of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// Which.
    pub partition: PartitionId,
    /// `active`, `failsafe` or `quarantined`.
    pub state: String,
    /// Why, when it is not active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The highest committed offset.
    pub committed: u64,
    /// The hash that stands for everything up to there, in hexadecimal.
    pub chain: String,
}

/// What reading the whole log found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether every frame fits its chain.
    pub ok: bool,
    /// Entries that were read.
    pub entries: u64,
    /// Partitions that were read.
    pub partitions: u64,
    /// What does not fit, in words.
    pub problems: Vec<String>,
}

/// What came of reading the configuration again: keys, with the sections they are in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Reloaded {
    /// Changed, and in force.
    pub applied: Vec<String>,
    /// Changed, and not in force before a restart.
    pub restart: Vec<String>,
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AdminError(pub String);

/// What an operator may ask.
pub trait Admin: Send + Sync + 'static {
    /// The state of every partition, in order.
    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionStatus>, AdminError>>;

    /// Leaves failsafe, after its cause was removed.
    fn resume(&self) -> BoxFuture<'_, Result<(), AdminError>>;

    /// Reads the configuration again. When it is no good nothing is changed.
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, AdminError>>;

    /// Reads the whole log and checks it. May take minutes.
    fn verify(&self) -> BoxFuture<'_, Result<Verification, AdminError>>;
}
