//! What the application asks the driver for.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use aetherflow_schema::id::DocumentId;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::{
    document::{Common, Document},
    error::{CloseError, OpenError, SubmitError},
    gate::Ticket,
    guard::{LockState, Wish},
    receipt::Committed,
    session::NewChange,
    store::Kept,
};

/// Who waits for the outcome of an edit.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) outcome: oneshot::Sender<Result<Committed, SubmitError>>,
    pub(crate) _ticket: Ticket,
}

/// The application has changed a document.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) document: DocumentId,
    pub(crate) change: NewChange,
    pub(crate) waiter: Waiter,
    pub(crate) kept: Option<Kept>,
}

/// What the application wants.
#[derive(Debug)]
pub(crate) enum Command {
    Open {
        document: DocumentId,
        common: Arc<Common>,
        reply: oneshot::Sender<Result<Document, OpenError>>,
    },
    Close(DocumentId),
    Edit(Edit),
    Presence {
        document: DocumentId,
        mine: Option<(Bytes, Duration)>,
    },
    /// Answered by what `state` comes to.
    Lock {
        document: DocumentId,
        ttl: Duration,
        wait: Duration,
        /// Given back when it is gone.
        wish: Weak<Wish>,
        state: watch::Sender<LockState>,
    },
    Token(String),
    Reconnect,
    Shutdown {
        deadline: Instant,
        reply: oneshot::Sender<Result<(), CloseError>>,
    },
}
