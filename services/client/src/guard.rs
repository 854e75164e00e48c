//! A document's lock, as an application holds it.
//!
//! Owns: what a guard shows of its lock. Invariants: a guard that is gone has its lock given back, after what was changed through it
//! has its outcome; what is changed through a guard is stored while its lock is held, or not at all.

use std::{ops::Deref, sync::Arc, time::Duration};

use aetherflow_schema::locks::{Fencing, LOCK_TTL_MAX};
use automerge::transaction::Transaction;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use crate::{
    document::Document,
    driver::Command,
    error::{ChangeError, LockError, LockLost},
    receipt::Receipt,
};

/// How a lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockOptions {
    /// How long to wait for whoever else has it. With zero it is asked for once. Default 30 s.
    pub wait: Duration,
    /// For how long it holds, a second to an hour, after this client has vanished. It is renewed three times as often, which is
    /// what a lock costs; one that cannot be renewed is lost after this. Default 30 s.
    pub ttl: Duration,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(30),
            ttl: Duration::from_secs(30),
        }
    }
}

/// How a lock is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LockState {
    /// It was asked for.
    Asked,
    /// For certain until then.
    Held { fencing: Fencing, until: Instant },
    /// It will not be had.
    Failed(LockError),
    /// It was given back, or lost.
    Over(Result<(), LockLost>),
}

/// As long as this lives somebody wants the lock.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) dropped: Arc<Notify>,
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.dropped.notify_one();
    }
}

/// A document's lock. Renewed as long as this lives, given back when it is dropped or by [`Self::release`]. Gives the document,
/// too; only what is changed by [`Self::change`] is bound to the lock.
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct LockGuard {
    document: Document,
    fencing: Fencing,
    state: watch::Receiver<LockState>,
    wish: Arc<Wish>,
}

impl Document {
    /// Takes the document's lock: waits until nobody else has it, in this client or elsewhere. It keeps nobody from editing who
    /// does not ask for it. For those who may write the document. Cancelling gives it back.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use aetherflow_client::{Document, LockOptions, automerge::{ROOT, transaction::Transactable}};
    ///
    /// async fn bill(invoice: &Document) -> Result<(), Box<dyn std::error::Error>> {
    ///     let wait = Duration::from_secs(5);
    ///     let guard = invoice.lock(LockOptions { wait, ..LockOptions::default() }).await?;
    ///     let receipt = guard.change(|tx| tx.put(ROOT, "state", "billed")).await?;
    ///     receipt.await?; // stored while the lock was held; or an error, and taken back
    ///     guard.release().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`LockError`].
    pub async fn lock(&self, options: LockOptions) -> Result<LockGuard, LockError> {
        let LockOptions { wait, ttl } = options;
        if ttl < Duration::from_secs(1) || ttl > LOCK_TTL_MAX {
            return Err(LockError::Ttl);
        }
        let wish = Arc::new(Wish {
            dropped: self.shared.client.dropped.clone(),
        });
        let (state, mut told) = watch::channel(LockState::Asked);
        let command = Command::Lock {
            document: self.id().clone(),
            ttl,
            wait: wait.min(LONGEST),
            wish: Arc::downgrade(&wish),
            state,
        };
        self.shared.command(command).await.map_err(|_| LockError::Closed)?;
        let state = match told.wait_for(|state| *state != LockState::Asked).await {
            Ok(state) => state.clone(),
            Err(_) => return Err(LockError::Closed),
        };
        match state {
            LockState::Held { fencing, .. } => Ok(LockGuard {
                document: self.clone(),
                fencing,
                state: told,
                wish,
            }),
            LockState::Failed(error) => Err(error),
            // So soon.
            LockState::Over(_) | LockState::Asked => Err(LockError::Late),
        }
    }
}

/// Longer than this nobody waits.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

impl LockGuard {
    /// Its fencing token: greater than those of all who had the lock before. To be passed on to whatever acts outside of the
    /// document, which is to refuse smaller ones.
    pub fn fencing(&self) -> u64 {
        self.fencing.0
    }

    /// Changes the document as [`Document::change`] does, under this lock: the server stores the edit while the lock is held, or
    /// refuses it ([`RejectCode::StaleFencing`](crate::RejectCode::StaleFencing)), however late it arrives. What is refused is taken
    /// out of the document, with all that was made on top of it.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change<T, E>(
        &self,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<Receipt<T>, ChangeError<E>> {
        let is_held = || self.is_held();
        self.document.change_if(Some(self.fencing), is_held, edit).await
    }

    /// Whether the lock is held, as far as is known here: not after its time, by this machine's clock. An edit is bound to it all
    /// the same.
    pub fn is_held(&self) -> bool {
        let LockState::Held { until, .. } = *self.state.borrow() else {
            return false;
        };
        Instant::now() < until && self.state.has_changed().is_ok()
    }

    /// Waits until the lock is lost, and says why.
    pub async fn lost(&self) -> LockLost {
        let mut state = self.state.clone();
        loop {
            let until = match &*state.borrow_and_update() {
                LockState::Held { until, .. } => *until,
                LockState::Over(Err(lost)) => return lost.clone(),
                // Only who has no guard any more gives it back, and a guard has had its lock.
                LockState::Over(Ok(())) | LockState::Asked | LockState::Failed(_) => return LockLost::NotHeld,
            };
            match timeout_at(until, state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return LockLost::Closed,
                // Whether the client has heard of it or not.
                Err(_) => return LockLost::Expired,
            }
        }
    }

    /// Gives the lock back, once everything that was changed under it has its receipt or was refused, and waits until the server
    /// has it. It is renewed meanwhile, or the server would refuse those edits: where that is impossible this ends with the time of
    /// the lock. Whoever waits no longer may stop. Dropping the guard does the same without waiting.
    ///
    /// # Errors
    /// It was lost before, so that others may have had it meanwhile.
    pub async fn release(self) -> Result<(), LockLost> {
        let Self { state, wish, .. } = self;
        drop(wish);
        over(state).await
    }
}

async fn over(mut state: watch::Receiver<LockState>) -> Result<(), LockLost> {
    let over = |state: &LockState| matches!(state, LockState::Over(_));
    match state.wait_for(over).await.as_deref() {
        Ok(LockState::Over(result)) => result.clone(),
        _ => Err(LockLost::Closed),
    }
}

/// The document, to be read. What is changed there is not bound to the lock.
impl Deref for LockGuard {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.document
    }
}
