//! The state after a failed write: no more writes, reads go on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aetherflow_log_core::StorageError;

/// Why the store takes no writes; nothing while it does.
#[derive(Default)]
pub(crate) struct Failsafe(Mutex<Option<Arc<str>>>);

impl Failsafe {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write failed. The first reason stays.
    pub(crate) fn enter(&self, reason: String) -> StorageError {
        tracing::error!(%reason, "a write failed: the store takes no writes until it is resumed");
        StorageError::Failsafe(self.lock().get_or_insert(reason.into()).clone())
    }

    /// Leaving it failed, for this reason now.
    pub(crate) fn stay(&self, reason: String) -> StorageError {
        let reason: Arc<str> = reason.into();
        *self.lock() = Some(reason.clone());
        StorageError::Failsafe(reason)
    }

    /// The store was opened anew and judged again.
    pub(crate) fn leave(&self) {
        *self.lock() = None;
    }

    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.lock().clone()
    }

    /// An error unless writes are taken.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.reason()
            .map_or(Ok(()), |reason| Err(StorageError::Failsafe(reason)))
    }
}
