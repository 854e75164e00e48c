//! Replicas on a connection that comes back by itself, as a stock client has them; or as a client of the native protocol
//! does.
//!
//! Owns: the connection and when to connect again. Reading and writing are two halves, so that neither holds up the
//! other; what is written is generated only when the socket has taken what came before, so that a client that edits
//! faster than it can send puts more into each message instead of queueing. As in a stock client, what the server says is
//! answered at once, and edits are sent at most every [`ClientOptions::edit_interval`].
//!
//! Invariant: messages of one document are sent in the order in which they were generated.

mod native;
mod options;
mod repo;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aetherflow_schema::id::DocumentId;
use automerge::AutoCommit;
use bytes::Bytes;
use rand::Rng;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use self::native::Requests;
pub use self::options::{ClientOptions, Dialect};
use crate::{link::Link, lock, replica::Replica, wire::WireError};

/// The first pause before connecting again; doubled each time, up to the longest, with jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// Something did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{client}: {what} did not come true within {within:?}; the last connection: {last}")]
pub struct Late {
    /// Who waited.
    pub client: String,
    /// For what.
    pub what: String,
    /// How long.
    pub within: Duration,
    /// How the last connection ended, if it did.
    pub last: String,
}

/// A client.
pub struct Client {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    name: String,
    replicas: Mutex<BTreeMap<DocumentId, Open>>,
    options: ClientOptions,
    /// There may be something to say.
    edited: Notify,
    /// Counts what was heard, and changes of the connection.
    heard: watch::Sender<u64>,
    /// New connections may be made.
    gate: watch::Sender<bool>,
    connected: watch::Sender<bool>,
    /// The connection is to be cut.
    cut: Notify,
    connections: AtomicU64,
    /// How connections ended and what the server complained of, the newest last.
    endings: Mutex<Vec<WireError>>,
    /// Of the native protocol, on this connection.
    requests: Mutex<Requests>,
}

struct Open {
    replica: Replica,
    /// When there may be something to say about it.
    due: Option<Instant>,
    /// When something was said about it last.
    said: Instant,
}

/// What to do for the connection.
enum Next {
    /// To be sent, about this document.
    Frame(DocumentId, Bytes),
    /// Nothing before that time, unless something changes.
    Wait(Option<Instant>),
}

impl Client {
    /// Starts a client called `name` that has these documents open.
    pub fn start(
        name: impl Into<String>,
        options: impl Into<ClientOptions>,
        replicas: impl IntoIterator<Item = (DocumentId, Replica)>,
    ) -> Self {
        let now = Instant::now();
        let replicas = replicas.into_iter().map(|(document, replica)| {
            let open = Open {
                replica,
                due: Some(now),
                said: now,
            };
            (document, open)
        });
        let shared = Arc::new(Shared {
            name: name.into(),
            replicas: Mutex::new(replicas.collect()),
            options: options.into(),
            edited: Notify::new(),
            heard: watch::Sender::new(0),
            gate: watch::Sender::new(true),
            connected: watch::Sender::new(false),
            cut: Notify::new(),
            connections: AtomicU64::new(0),
            endings: Mutex::default(),
            requests: Mutex::default(),
        });
        let task = tokio::spawn(run(shared.clone()));
        Self { shared, task }
    }

    /// A client that has nothing and asks for these documents.
    pub fn reader<'a>(
        name: impl Into<String>,
        options: impl Into<ClientOptions>,
        documents: impl IntoIterator<Item = &'a DocumentId>,
    ) -> Self {
        let empty = documents
            .into_iter()
            .map(|document| (document.clone(), Replica::new(AutoCommit::new())));
        Self::start(name, options, empty)
    }

    /// Its name, which is its peer id too.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Looks at a replica.
    ///
    /// # Panics
    /// When the client does not have the document open.
    pub fn with<R>(&self, document: &DocumentId, look: impl FnOnce(&mut Replica) -> R) -> R {
        let mut replicas = lock(&self.shared.replicas);
        let open = replicas.get_mut(document).expect("the document is open on this client");
        look(&mut open.replica)
    }

    /// Edits a document: one change, sent as soon as the connection takes it.
    ///
    /// # Panics
    /// When the client does not have the document open.
    pub fn edit<R>(&self, document: &DocumentId, edit: impl FnOnce(&mut AutoCommit) -> R) -> R {
        self.edit_all(document, |replica| replica.edit(edit))
    }

    /// Makes several changes before any is sent.
    ///
    /// # Panics
    /// When the client does not have the document open.
    pub fn edit_all<R>(&self, document: &DocumentId, edit: impl FnOnce(&mut Replica) -> R) -> R {
        let result = {
            let mut replicas = lock(&self.shared.replicas);
            let open = replicas.get_mut(document).expect("the document is open on this client");
            let due = open.said + self.shared.options.edit_interval;
            open.due = Some(open.due.map_or(due, |earlier| earlier.min(due)));
            edit(&mut open.replica)
        };
        self.shared.edited.notify_one();
        result
    }

    /// Waits until a replica is as wanted; it is looked at whenever something was heard.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until(
        &self,
        document: &DocumentId,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&mut Replica) -> bool,
    ) -> Result<(), Late> {
        let deadline = Instant::now() + within;
        let mut heard = self.shared.heard.subscribe();
        loop {
            heard.mark_unchanged();
            if self.with(document, &mut wanted) {
                return Ok(());
            }
            if !matches!(timeout_at(deadline, heard.changed()).await, Ok(Ok(()))) {
                return Err(self.late(format!("{what} ({})", document.url()), within));
            }
        }
    }

    /// No new connection is made from now on; the present one goes on as long as it lasts.
    pub fn hold(&self) {
        self.shared.gate.send_replace(false);
    }

    /// Connections are made again.
    pub fn release(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Cuts the present connection, in the middle of whatever is said. Another one is made at once, unless the client is
    /// on [`hold`](Self::hold).
    pub fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    /// Waits until there is a connection, or none.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_connected(&self, wanted: bool, within: Duration) -> Result<(), Late> {
        let mut connected = self.shared.connected.subscribe();
        let deadline = Instant::now() + within;
        match timeout_at(deadline, connected.wait_for(|connected| *connected == wanted)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.late(format!("connected = {wanted}"), within)),
        }
    }

    /// How often it connected.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How the last connection ended, or what the server complained of since.
    pub fn last_ending(&self) -> String {
        lock(&self.shared.endings)
            .last()
            .map_or_else(|| "never ended".to_owned(), ToString::to_string)
    }

    /// Ends the client and returns its replicas.
    pub async fn stop(self) -> BTreeMap<DocumentId, Replica> {
        self.task.abort();
        // It was aborted, so this is no news.
        let _ = self.task.await;
        let replicas = std::mem::take(&mut *lock(&self.shared.replicas));
        replicas
            .into_iter()
            .map(|(document, open)| (document, open.replica))
            .collect()
    }

    fn late(&self, what: String, within: Duration) -> Late {
        Late {
            client: self.shared.name.clone(),
            what,
            within,
            last: self.last_ending(),
        }
    }
}

async fn run(shared: Arc<Shared>) {
    let mut gate = shared.gate.subscribe();
    let mut pause = PAUSE_FIRST;
    while gate.wait_for(|open| *open).await.is_ok() {
        let before = shared.connections.load(Ordering::Relaxed);
        let ending = serve(&shared).await;
        lock(&shared.endings).push(ending);
        shared.connected.send_replace(false);
        shared.heard.send_modify(|count| *count += 1);
        if shared.connections.load(Ordering::Relaxed) > before {
            pause = PAUSE_FIRST;
        }
        let jitter = rand::rng().random_range(0.5..1.0);
        sleep(pause.mul_f64(jitter)).await;
        pause = (pause * 2).min(PAUSE_LONGEST);
    }
}

/// One connection, to its end.
async fn serve(shared: &Shared) -> WireError {
    match connect(shared).await {
        Ok((link, server)) => {
            shared.connections.fetch_add(1, Ordering::Relaxed);
            shared.connected.send_replace(true);
            exchange(shared, link, &server).await
        }
        Err(error) => error,
    }
}

/// Connects and introduces itself; the server's name, where it has one.
async fn connect(shared: &Shared) -> Result<(Link, String), WireError> {
    let connected = match shared.options.dialect {
        Dialect::Repo => repo::connect(shared).await?,
        Dialect::Native(transport) => native::connect(shared, transport).await?,
    };
    for open in lock(&shared.replicas).values_mut() {
        open.replica.reconnect();
        open.due = Some(Instant::now());
    }
    Ok(connected)
}

async fn exchange(shared: &Shared, link: Link, server: &str) -> WireError {
    let (mut sender, mut receiver) = link.split();
    let write = async {
        loop {
            match shared.next(server) {
                Next::Frame(document, frame) => {
                    if let Err(error) = sender.send(&document, frame).await {
                        return error;
                    }
                }
                Next::Wait(Some(due)) => {
                    // Whether it was notified or the time came, there may be something to say.
                    let _ = timeout_at(due, shared.edited.notified()).await;
                }
                Next::Wait(None) => shared.edited.notified().await,
            }
        }
    };
    let read = async {
        loop {
            let heard = receiver.receive().await.and_then(|frame| shared.hear(&frame));
            if let Err(error) = heard {
                return error;
            }
        }
    };
    tokio::pin!(write, read);
    tokio::select! {
        () = shared.cut.notified() => WireError::Cut,
        error = &mut read => error,
        // What was sent to this client before its own sending failed is still heard.
        error = &mut write => match tokio::time::timeout(Duration::from_secs(1), read).await {
            Ok(ending) => ending,
            Err(_) => error,
        },
    }
}

impl Shared {
    /// The next frame to send, if there is anything to say about any document by now.
    fn next(&self, server: &str) -> Next {
        let now = Instant::now();
        let mut replicas = lock(&self.replicas);
        for (document, open) in replicas.iter_mut() {
            if open.due.is_none_or(|due| due > now) {
                continue;
            }
            let saying = match self.options.dialect {
                Dialect::Repo => repo::say(&self.name, server, document, &mut open.replica),
                Dialect::Native(_) => lock(&self.requests).say(document, &mut open.replica),
            };
            let Some(frame) = saying else {
                open.due = None;
                continue;
            };
            open.said = now;
            return Next::Frame(document.clone(), frame);
        }
        Next::Wait(replicas.values().filter_map(|open| open.due).min())
    }

    fn hear(&self, frame: &Bytes) -> Result<(), WireError> {
        match self.options.dialect {
            Dialect::Repo => self.hear_repo(frame),
            Dialect::Native(_) => self.hear_native(frame),
        }
    }

    fn on_document<R>(&self, document: &DocumentId, hear: impl FnOnce(&mut Replica) -> R) -> Option<R> {
        let result = lock(&self.replicas).get_mut(document).map(|open| {
            open.due = Some(Instant::now());
            hear(&mut open.replica)
        });
        self.edited.notify_one();
        self.heard.send_modify(|count| *count += 1);
        result
    }
}
