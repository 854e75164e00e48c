//! Timers, writing, and following the store: one task each.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::inner::Inner;
use crate::store::{StoreError, StoreEvent};

/// What is done at most while nobody else gets the registry: about half a millisecond.
const SLICE: usize = 256;

/// Reads what is stored, and starts the tasks.
pub(super) async fn start(inner: &Arc<Inner>) -> Result<JoinSet<()>, StoreError> {
    let mut events = inner.within(inner.store.watch()).await?;
    let shared = inner.store.lease().is_some();
    loop {
        match inner.within(async { Ok(events.recv().await) }).await? {
            Some(StoreEvent::Put(copy)) => inner.change(|registry, now_ms, effects| {
                // Nobody else serves the sessions of an embedded store, nor those of a node of this name.
                if !shared || copy.record.node == inner.node {
                    registry.recover(now_ms, copy.record, copy.revision);
                } else {
                    registry.on_stored(now_ms, copy.record, copy.revision, effects);
                }
            }),
            Some(StoreEvent::Deleted(..)) => {}
            Some(StoreEvent::Current) => break,
            None => return Err(StoreError::Unreachable("reading the store broke off".to_owned())),
        }
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_time(inner.clone()));
    tasks.spawn(inner.clone().write());
    if shared {
        tasks.spawn(follow(inner.clone(), events));
    }
    Ok(tasks)
}

/// Does what is due when it is, in slices.
async fn keep_time(inner: Arc<Inner>) {
    loop {
        let next_ms = inner.expire(SLICE);
        inner.alarm.wait(&inner.clock, next_ms).await;
    }
}

/// Hears what other nodes do to the store.
async fn follow(inner: Arc<Inner>, mut events: mpsc::Receiver<StoreEvent>) {
    loop {
        while let Some(event) = events.recv().await {
            inner.change(|registry, now_ms, effects| match event {
                StoreEvent::Put(copy) => registry.on_stored(now_ms, copy.record, copy.revision, effects),
                StoreEvent::Deleted(id, revision) => registry.on_forgotten(id, revision, effects),
                StoreEvent::Current => {}
            });
        }
        // What was deleted meanwhile and not seen vanishes by its lease.
        tracing::warn!("the store of sessions is not heard any more; it is asked again");
        loop {
            sleep(Duration::from_secs(1)).await;
            match inner.within(inner.store.watch()).await {
                Ok(again) => {
                    events = again;
                    break;
                }
                Err(error) => tracing::warn!(%error, "the store of sessions cannot be followed"),
            }
        }
    }
}
