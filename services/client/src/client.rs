//! The client: one connection at a time to one server, for any number of documents.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aetherflow_schema::id::DocumentId;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::{
    address::Address,
    document::{Common, Document},
    driver::{Command, Driver},
    error::{CloseError, ConnectError, OpenError},
    gate::Gate,
    options::{self, Options},
    status::{Link, Status},
    store::Store,
    transport,
};

/// Commands that wait for the driver.
const QUEUE: usize = 1024;
/// Longer than this nobody waits for a client to close.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// A connection to a server, kept up for as long as this lives, with documents. Cheap to clone. When the last clone and the
/// last [`Document`] is dropped it ends at once; [`Self::close`] waits for receipts.
#[derive(Debug, Clone)]
pub struct Client {
    common: Arc<Common>,
    status: watch::Receiver<Status>,
}

impl Client {
    /// Begins to connect, and returns at once, whether the server can be reached or not. Edits that an earlier client has
    /// left in the offline store are submitted. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(address: &str, options: Options) -> Result<Self, ConnectError> {
        let address: Address = address.parse()?;
        let tuning = options.tuning()?;
        let transport = transport::new(&address, &options)?;
        let salvage = options.salvage;
        let (status, status_of) = watch::channel(Status {
            link: Link::Connecting,
            unsettled: 0,
            store_failure: None,
        });
        let (store, leftover) = match options.store.clone() {
            None => (None, Vec::new()),
            Some(path) => {
                let failing = status.clone();
                let on_failure = Box::new(move |error: &str| {
                    failing.send_modify(|status| status.store_failure = Some(error.to_owned()));
                });
                let opening = tokio::task::spawn_blocking(move || Store::open(&path, salvage, on_failure));
                let (store, leftover) = opening
                    .await
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
                (Some(store), leftover)
            }
        };
        let (commands, queue) = mpsc::channel(QUEUE);
        let common = Arc::new(Common {
            commands,
            gate: Gate::new(options.unacknowledged_changes, options.unacknowledged_bytes),
            closed: false.into(),
            dropped: Arc::default(),
            keeps: store.is_some(),
            patience: options.timeouts.edit,
        });
        let driver = Driver::new(&common, queue, transport, tuning, options.timeouts, store, status);
        tokio::spawn(driver.run(leftover));
        Ok(Self {
            common,
            status: status_of,
        })
    }

    /// Opens a document, which need not exist: it is made by the first edit. Returns at once with what the offline store
    /// has of it, perhaps nothing; see [`Document::loaded`]. Opened again it is the same.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(&self, document: &DocumentId) -> Result<Document, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Open {
            document: document.clone(),
            common: self.common.clone(),
            reply,
        })
        .await
        .map_err(|()| OpenError::Closed)?;
        answer.await.unwrap_or(Err(OpenError::Closed))
    }

    /// Opens a document by its text: `automerge:...`, or what follows that.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_url(&self, url: &str) -> Result<Document, OpenError> {
        self.open(&url.parse()?).await
    }

    /// Opens a new document, with an id that nobody has.
    ///
    /// # Errors
    /// The client is closed.
    pub async fn create(&self) -> Result<Document, OpenError> {
        self.open(&DocumentId::from_uuid(Uuid::new_v4())).await
    }

    /// How the client is doing, and again whenever that changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Goes on with another token, also when the server has sent the client away because of the last one.
    ///
    /// # Errors
    /// The token is too long. A closed client takes any.
    pub async fn set_token(&self, token: String) -> Result<(), ConnectError> {
        options::check_token(&token)?;
        let _ = self.send(Command::Token(token)).await;
        Ok(())
    }

    /// Tries to connect now, although it is not time, or although the server does not want this client.
    pub async fn reconnect(&self) {
        let _ = self.send(Command::Reconnect).await;
    }

    /// Ends the client: takes no more edits, waits until all have their receipts, so long at most, and closes the
    /// connection and the store. What has no receipt by then is kept in the offline store, if there is one.
    ///
    /// # Errors
    /// See [`CloseError`].
    pub async fn close(self, within: Duration) -> Result<(), CloseError> {
        let deadline = Instant::now() + within.min(LONGEST);
        let is_first = !self.common.closed.swap(true, Ordering::AcqRel);
        let (reply, answer) = oneshot::channel();
        let closing = Command::Shutdown { deadline, reply };
        if self.common.commands.send(closing).await.is_err() {
            return if is_first { Err(CloseError::Ended) } else { Ok(()) };
        }
        answer.await.unwrap_or(Err(CloseError::Ended))
    }

    async fn send(&self, command: Command) -> Result<(), ()> {
        if self.common.closed.load(Ordering::Acquire) {
            return Err(());
        }
        self.common.commands.send(command).await.map_err(|_| ())
    }
}
