//! What became of an edit.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use aetherflow_schema::{
    id::{ChangeHash, Offset},
    native::wire,
};
use tokio::sync::oneshot;

use crate::error::{KeepError, SubmitError};

/// How safely something is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// On disk, synced, on one machine.
    Durable,
    /// On disk, synced, on as many machines as the cluster demands.
    Replicated,
}

impl From<wire::Tier> for Tier {
    fn from(tier: wire::Tier) -> Self {
        match tier {
            wire::Tier::Replicated => Self::Replicated,
            // A receipt means this much at least.
            wire::Tier::Durable | wire::Tier::Unspecified => Self::Durable,
        }
    }
}

/// Where an edit is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log of the document's partition; zero, which is no place, for an edit that changed nothing.
    pub offset: Offset,
    /// How safely it is stored.
    pub tier: Tier,
}

/// Stands for one edit: a future of what became of it. It may be dropped; the edit is submitted all the same.
///
/// Receipts of a document come in the order of its edits, so one says that everything before it is stored, too. Not so that of an
/// edit which changed nothing ([`Self::hash`] is `None`): nothing of it can be lost, so it comes at once, whether there is a server
/// or not, with [`Offset::ZERO`], and says nothing of others.
#[derive(Debug)]
#[must_use = "an edit is stored only when its receipt says so; drop it where that does not matter"]
pub struct Receipt<T = ()> {
    /// What the edit returned.
    pub value: T,
    pub(crate) hash: Option<ChangeHash>,
    pub(crate) outcome: oneshot::Receiver<Result<Committed, SubmitError>>,
    pub(crate) kept: Option<oneshot::Receiver<Result<(), KeepError>>>,
}

impl<T> Receipt<T> {
    /// The hash of the change; `None` when the edit changed nothing.
    pub fn hash(&self) -> Option<ChangeHash> {
        self.hash
    }

    /// Waits until the edit is on this machine's disk, so that it survives a crash even while there is no server. This
    /// takes milliseconds.
    ///
    /// # Errors
    /// There is no offline store, or it failed.
    pub async fn kept(&mut self) -> Result<(), KeepError> {
        if self.hash.is_none() {
            return Ok(());
        }
        match self.kept.take() {
            None => Err(KeepError::NoStore),
            Some(kept) => kept.await.unwrap_or(Err(KeepError::Closed)),
        }
    }
}

/// The value is never pinned.
impl<T> Unpin for Receipt<T> {}

impl<T> Future for Receipt<T> {
    type Output = Result<Committed, SubmitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(context)
            .map(|outcome| outcome.unwrap_or(Err(SubmitError::Closed)))
    }
}
