//! A document that is kept in sync.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    locks::Fencing,
};
use automerge::{Automerge, transaction::Transaction};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    driver::{Command, Edit, Waiter},
    error::{ChangeError, LoadError},
    gate::Gate,
    lock,
    presence::{Everybody, Presence},
    receipt::{Committed, Receipt, Tier},
    replica::Replica,
    session::{NewChange, Refusal},
};

/// How far a document is in sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentState {
    /// There is something of it: from the server, now or earlier, or from the offline store.
    pub loaded: bool,
    /// The server does not let it be followed. Edits are submitted all the same.
    pub refusal: Option<Refusal>,
}

/// What the handles of a document and the driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: DocumentId,
    pub(crate) replica: Mutex<Replica>,
    /// Counts what changed.
    pub(crate) version: watch::Sender<u64>,
    pub(crate) state: watch::Sender<DocumentState>,
    pub(crate) presence: watch::Sender<Everybody>,
    pub(crate) closed: AtomicBool,
    pub(crate) client: Arc<Common>,
}

/// What all documents of a client share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) closed: AtomicBool,
    /// A document or a lock has no handle any more.
    pub(crate) dropped: Arc<Notify>,
    pub(crate) keeps: bool,
    pub(crate) patience: Duration,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.client.dropped.notify_one();
    }
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.client.closed.load(Ordering::Acquire)
    }

    /// Waits for a place in the driver's queue.
    pub(crate) async fn command(&self, command: Command) -> Result<(), Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        self.client.commands.send(command).await.map_err(|_| Closed)
    }

    pub(crate) fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

/// It is closed.
pub(crate) struct Closed;

/// A handle of a document. Cheap to clone; when the last one is dropped the document is followed no longer, while what was
/// changed is still submitted.
#[derive(Debug, Clone)]
pub struct Document {
    pub(crate) shared: Arc<Shared>,
}

impl Document {
    /// Its id.
    pub fn id(&self) -> &DocumentId {
        &self.shared.id
    }

    /// Reads it. Nothing else happens to the document meanwhile, so be short.
    pub fn with<T>(&self, read: impl FnOnce(&Automerge) -> T) -> T {
        read(lock(&self.shared.replica).document())
    }

    /// Changes it: applies the edit at once and submits it. Waits only while too many edits have no receipt. What the edit
    /// does is one change; if it fails, nothing has happened. Cancelling has no effect once the edit has run.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change<T, E>(
        &self,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<Receipt<T>, ChangeError<E>> {
        self.change_if(None, || true, edit).await
    }

    /// The same, under the lock with this token, if it is still held.
    pub(crate) async fn change_if<T, E>(
        &self,
        fencing: Option<Fencing>,
        is_held: impl Fn() -> bool,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<Receipt<T>, ChangeError<E>> {
        let shared = &self.shared;
        if shared.is_closed() {
            return Err(ChangeError::Closed);
        }
        let patience = shared.client.patience;
        let mut ticket = shared.client.gate.enter(patience).await.ok_or(ChangeError::Full)?;
        // A place in the queue first, so that changes are queued in the order in which they are made.
        let place = timeout(patience, shared.client.commands.reserve()).await;
        let place = place.map_err(|_| ChangeError::Full)?.map_err(|_| ChangeError::Closed)?;
        let (outcome, answer) = oneshot::channel();
        let mut replica = lock(&shared.replica);
        if shared.is_closed() {
            return Err(ChangeError::Closed);
        }
        if !is_held() {
            return Err(ChangeError::LockLost);
        }
        let edited = replica.edit(now(), edit).map_err(ChangeError::Edit)?;
        let mut receipt = Receipt {
            value: edited.value,
            hash: None,
            outcome: answer,
            kept: None,
        };
        let Some(change) = edited.change else {
            let (offset, tier) = (Offset::ZERO, Tier::Durable);
            let _ = outcome.send(Ok(Committed { offset, tier }));
            return Ok(receipt);
        };
        receipt.hash = Some(change.hash);
        ticket.weigh(change.bytes.len());
        let kept = shared.client.keeps.then(|| {
            let (tell, kept) = oneshot::channel();
            receipt.kept = Some(kept);
            tell
        });
        place.send(Command::Edit(Edit {
            document: shared.id.clone(),
            change: NewChange { fencing, ..change },
            waiter: Waiter {
                outcome,
                _ticket: ticket,
            },
            kept,
        }));
        drop(replica);
        shared.touch();
        Ok(receipt)
    }

    /// Rises whenever the document changes, here or elsewhere. What changes while nobody looks is seen as one change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// The heads of what is here.
    pub fn heads(&self) -> Vec<ChangeHash> {
        lock(&self.shared.replica).heads()
    }

    /// How far it is in sync, and again whenever that changes.
    pub fn state(&self) -> watch::Receiver<DocumentState> {
        self.shared.state.subscribe()
    }

    /// Waits until there is something of the document: what the server has of it (perhaps nothing), or, at once, what the
    /// offline store has.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn loaded(&self, within: Duration) -> Result<(), LoadError> {
        let mut state = self.shared.state.subscribe();
        let waiting = state.wait_for(|state| state.loaded || state.refusal.is_some() || self.shared.is_closed());
        let state = match timeout(within, waiting).await {
            Err(_) => return Err(LoadError::Late),
            Ok(Err(_)) => return Err(LoadError::Closed),
            Ok(Ok(state)) => state.clone(),
        };
        match state.refusal {
            _ if state.loaded => Ok(()),
            Some(refusal) => Err(LoadError::Refused(refusal)),
            None => Err(LoadError::Closed),
        }
    }

    /// Who else is here.
    pub fn presence(&self) -> Presence {
        Presence {
            shared: self.shared.clone(),
        }
    }

    /// Follows the document no longer, whatever other handles there are; what was changed is still submitted.
    pub async fn close(self) {
        let command = Command::Close(self.shared.id.clone());
        let _ = self.shared.command(command).await;
        self.shared.closed.store(true, Ordering::Release);
    }
}

/// Seconds since 1970, as automerge has it.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}
