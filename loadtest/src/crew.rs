//! Several writers on several documents, all of them editing all of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aetherflow_schema::id::DocumentId;
use automerge::AutomergeError;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use uuid::Uuid;

use crate::{
    audit::{self, Claims, Violation},
    client::{Client, ClientOptions, Dialect, Late},
    edits,
    native::Transport,
    replica::Replica,
    server::{Server, ServerError},
    wire::Endpoint,
};

/// How long replicas may take to become equal once nobody edits any more.
const CONVERGE: Duration = Duration::from_secs(30);

/// How much is written.
#[derive(Debug, Clone)]
pub struct CrewOptions {
    /// Documents.
    pub documents: usize,
    /// Writers, each editing every document.
    pub writers: usize,
    /// How many of them speak the native protocol: over Quantum and over WebSocket by turns, Quantum first.
    pub native: usize,
    /// The longest pause of a writer between two edits; the mean is half of it.
    pub pause: Duration,
}

/// The writers. Every second one sends as a stock client does, ten times a second; the others send each edit at once,
/// as faster clients may.
pub struct Crew {
    documents: Vec<DocumentId>,
    clients: Vec<Arc<Client>>,
    working: watch::Sender<bool>,
    edits: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts them; they edit at once.
    ///
    /// # Errors
    /// When automerge refuses the documents' first content.
    pub fn start(
        endpoint: impl Into<Endpoint>,
        options: &CrewOptions,
        rng: &mut StdRng,
    ) -> Result<Self, AutomergeError> {
        let endpoint = endpoint.into();
        let documents: Vec<_> = (0..options.documents)
            .map(|_| DocumentId::from_uuid(Uuid::from_bytes(rng.random())))
            .collect();
        let working = watch::Sender::new(true);
        let edits = Arc::new(AtomicU64::new(0));
        let mut clients = Vec::new();
        let mut tasks = Vec::new();
        for writer in 0..options.writers {
            let replicas = documents
                .iter()
                .map(|document| Ok((document.clone(), Replica::new(edits::base()?))))
                .collect::<Result<Vec<_>, AutomergeError>>()?;
            let name = format!("writer-{writer}-{:016x}", rng.random::<u64>());
            let mut client_options = ClientOptions::from(endpoint);
            if writer % 2 == 1 {
                client_options.edit_interval = Duration::ZERO;
            }
            if writer + options.native >= options.writers {
                let transport = match (options.writers - writer) % 2 {
                    1 => Transport::Quantum,
                    _ => Transport::WebSocket,
                };
                client_options.dialect = Dialect::Native(transport);
            }
            let client = Arc::new(Client::start(name, client_options, replicas));
            clients.push(client.clone());
            let rng = StdRng::from_rng(rng);
            let task = write(
                client,
                documents.clone(),
                options.pause,
                rng,
                working.subscribe(),
                edits.clone(),
            );
            tasks.push(tokio::spawn(task));
        }
        Ok(Self {
            documents,
            clients,
            working,
            edits,
            tasks,
        })
    }

    /// What is edited.
    pub fn documents(&self) -> &[DocumentId] {
        &self.documents
    }

    /// Who edits.
    pub fn clients(&self) -> &[Arc<Client>] {
        &self.clients
    }

    /// Edits made so far.
    pub fn edits(&self) -> u64 {
        self.edits.load(Ordering::Relaxed)
    }

    /// Lets them edit, or not.
    pub fn work(&self, working: bool) {
        self.working.send_replace(working);
    }

    /// Connections that break are not replaced until [`Crew::release`].
    pub fn hold(&self) {
        self.clients.iter().for_each(|client| client.hold());
    }

    /// Connections are made again.
    pub fn release(&self) {
        self.clients.iter().for_each(|client| client.release());
    }

    /// Waits until all are connected, or none.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_connected(&self, wanted: bool, within: Duration) -> Result<(), Late> {
        for client in &self.clients {
            client.until_connected(wanted, within).await?;
        }
        Ok(())
    }

    /// Waits until everything that each client has edited so far is acknowledged to it.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_saved(&self, within: Duration) -> Result<(), Late> {
        for client in &self.clients {
            for document in &self.documents {
                let heads = client.with(document, Replica::heads);
                let saved = |replica: &mut Replica| heads.iter().all(|head| replica.acknowledged().contains(head));
                client
                    .until(document, "everything is acknowledged", within, saved)
                    .await?;
            }
        }
        Ok(())
    }

    /// What was acknowledged to any of them.
    pub fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        for client in &self.clients {
            for document in &self.documents {
                client.with(document, |replica| {
                    claims.add(document, replica.acknowledged());
                    claims.add(document, replica.advertised_unseen());
                    claims.add_places(document, replica.places());
                });
            }
        }
        claims
    }

    /// Stops editing and waits until all replicas of each document, and that of a reader who comes only now, are equal:
    /// same heads, same content.
    pub async fn converge(&self, endpoint: impl Into<Endpoint>) -> Vec<Violation> {
        self.work(false);
        let name = format!("late-{:016x}", rand::random::<u64>());
        let reader = Arc::new(Client::reader(name, endpoint.into(), &self.documents));
        let mut all = self.clients.clone();
        all.push(reader.clone());
        let mut violations = Vec::new();
        for document in &self.documents {
            if let Err(reason) = agree(&all, document).await {
                violations.push(Violation::Diverged {
                    document: document.clone(),
                    reason,
                });
            }
        }
        violations
    }

    /// Stops editing, and judges what came of it: all that was promised is there, replicas are equal, and the log verifies.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn conclude(&self, server: &Server) -> Result<Vec<Violation>, ServerError> {
        let mut violations = self.converge(server.address()).await;
        violations.extend(audit::audit(server, &self.claims()).await?);
        violations.extend(audit::verify(server).await?);
        Ok(violations)
    }

    /// Ends them.
    pub fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Waits until every client has the union of what all have, and compares.
async fn agree(clients: &[Arc<Client>], document: &DocumentId) -> Result<(), String> {
    let mut union = Vec::new();
    for client in clients {
        union.extend(client.with(document, Replica::heads));
    }
    for client in clients {
        let complete = |replica: &mut Replica| replica.is_in_sync() && union.iter().all(|head| replica.has(head));
        let waited = client
            .until(document, "everybody has everything", CONVERGE, complete)
            .await;
        waited.map_err(|late| late.to_string())?;
    }
    let state = |client: &Client| client.with(document, |replica| (replica.heads(), replica.content()));
    let Some((first, others)) = clients.split_first() else {
        return Ok(());
    };
    let (heads, content) = state(first);
    for other in others {
        let (other_heads, other_content) = state(other);
        if heads != other_heads {
            return Err(format!(
                "{} has heads {heads:?}, {} {other_heads:?}",
                first.name(),
                other.name()
            ));
        }
        if content != other_content {
            return Err(format!(
                "{} and {} have equal heads and different content",
                first.name(),
                other.name()
            ));
        }
    }
    Ok(())
}

async fn write(
    client: Arc<Client>,
    documents: Vec<DocumentId>,
    pause: Duration,
    mut rng: StdRng,
    mut working: watch::Receiver<bool>,
    edits: Arc<AtomicU64>,
) {
    loop {
        // Kept while editing, so that nobody edits after work was called off.
        match working.wait_for(|working| *working).await {
            Ok(_working) => {
                if let Some(document) = documents.choose(&mut rng)
                    && client
                        .edit(document, |content| edits::random(content, &mut rng))
                        .is_ok()
                {
                    edits.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(_) => return,
        }
        // A writer's pace: here time itself is the matter.
        sleep(pause.mul_f64(rng.random())).await;
    }
}
