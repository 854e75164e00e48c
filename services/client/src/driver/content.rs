//! Work on a replica: what is long is done by a thread for that, so that nobody else on the runtime waits for it.

use std::sync::Arc;

use aetherflow_schema::{
    id::{ChangeHash, Offset},
    native::wire::Entry,
};
use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::{
    document::Shared,
    lock,
    replica::{self, Applied, Merged, Part, Replica, ReplicaError},
};

/// So many bytes take a millisecond or more.
const LONG: usize = 64 << 10;

async fn run<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ReplicaError> + Send + 'static,
) -> Result<T, ReplicaError> {
    if bytes < LONG {
        return work();
    }
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|failed| Err(ReplicaError::Panicked(failed.to_string())))
}

/// The replica, and the changes that were taken out of it.
pub(super) async fn restore(parts: Vec<Part>) -> Result<(Replica, Vec<ChangeHash>), ReplicaError> {
    let length = |part: &Part| match part {
        Part::Chunks(chunks) => chunks.len(),
        Part::Refused(_) => 0,
    };
    run(parts.iter().map(length).sum(), move || Replica::restore(&parts)).await
}

pub(super) async fn apply(shared: Arc<Shared>, entries: Vec<Entry>) -> Result<Applied, ReplicaError> {
    let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
    run(bytes, move || lock(&shared.replica).apply(&entries)).await
}

/// Which of these changes the entries have. Those of which automerge cannot tell have none.
pub(super) async fn search(entries: Vec<Entry>, asked: Vec<ChangeHash>) -> Vec<(ChangeHash, Offset)> {
    let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
    let found = run(bytes, move || Ok(replica::search(&entries, &asked))).await;
    found.unwrap_or_else(|error| {
        tracing::error!(%error, "a document's history cannot be searched");
        Vec::new()
    })
}

pub(super) async fn merge(
    shared: Arc<Shared>,
    bytes: Bytes,
    heads: Vec<ChangeHash>,
    asked: Vec<ChangeHash>,
) -> Result<Merged, ReplicaError> {
    run(bytes.len(), move || lock(&shared.replica).merge(&bytes, &heads, &asked)).await
}

/// Nobody knows how long that takes.
pub(super) async fn revert(shared: Arc<Shared>, hashes: Vec<ChangeHash>) -> Result<(), ReplicaError> {
    run(LONG, move || lock(&shared.replica).revert(&hashes)).await
}

/// The whole document; `None` when automerge cannot save it, so that it has to stay in the store as it is.
pub(super) async fn save(shared: Arc<Shared>) -> Option<Bytes> {
    run(LONG, move || lock(&shared.replica).save())
        .await
        .ok()
        .map(Bytes::from)
}
