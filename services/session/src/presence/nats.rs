//! Nodes hear one another over NATS core subjects: one for each document, so that a node gets only what it asked for.
//!
//! Owns: a task that publishes and subscribes, and one for each subscription. Invariants: changes of what is wanted go
//! before what is published after them; both queues are bounded: of documents there is at most one entry each, and what is
//! published into a full queue is lost, as it may be on the way.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use aetherflow_schema::id::DocumentId;
use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::{Notify, mpsc},
    task::{AbortHandle, JoinHandle, JoinSet},
};

use super::bus::{Hearing, PresenceBus};

/// Messages that may wait to be published: at worst 64 MiB.
const WAITING: usize = 4096;

/// See the [module](self).
pub struct NatsPresenceBus {
    wanted: Arc<Wanted>,
    messages: mpsc::Sender<(DocumentId, Bytes)>,
    task: JoinHandle<()>,
}

/// Changes of what is wanted that the task has not seen yet.
#[derive(Default)]
struct Wanted {
    changes: Mutex<BTreeMap<DocumentId, bool>>,
    some: Notify,
}

impl Wanted {
    fn change(&self, document: &DocumentId, wanted: bool) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.insert(document.clone(), wanted);
        drop(changes);
        self.some.notify_one();
    }

    fn take(&self) -> BTreeMap<DocumentId, bool> {
        mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl NatsPresenceBus {
    /// Begins; messages go to `hear`. The client's own messages should not come back to it (`no_echo`), though they do no
    /// harm. Must be called within a runtime.
    pub fn start(client: Client, hear: Hearing) -> Self {
        let wanted = Arc::new(Wanted::default());
        let (messages, queue) = mpsc::channel(WAITING);
        let speaker = Speaker {
            client,
            hear,
            tasks: JoinSet::new(),
            subscriptions: HashMap::new(),
        };
        let task = tokio::spawn(speaker.run(wanted.clone(), queue));
        Self { wanted, messages, task }
    }

    /// What a document's subject is called: documents' ids are of many lengths and hold bytes that subjects may not.
    pub fn subject(document: &DocumentId) -> String {
        let hash = blake3::hash(document.as_bytes()).to_hex();
        format!("aetherflow.presence.{}", &hash[..32])
    }
}

impl Drop for NatsPresenceBus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PresenceBus for NatsPresenceBus {
    fn subscribe(&self, document: &DocumentId) {
        self.wanted.change(document, true);
    }

    fn unsubscribe(&self, document: &DocumentId) {
        self.wanted.change(document, false);
    }

    fn publish(&self, document: &DocumentId, message: Bytes) {
        if self.messages.try_send((document.clone(), message)).is_err() {
            tracing::debug!(%document, "a message about presence is lost: too many are waiting");
        }
    }
}

/// The task.
struct Speaker {
    client: Client,
    hear: Hearing,
    tasks: JoinSet<()>,
    subscriptions: HashMap<DocumentId, AbortHandle>,
}

impl Speaker {
    async fn run(mut self, wanted: Arc<Wanted>, mut queue: mpsc::Receiver<(DocumentId, Bytes)>) {
        loop {
            let message = tokio::select! {
                message = queue.recv() => match message {
                    Some(message) => Some(message),
                    None => return,
                },
                () = wanted.some.notified() => None,
            };
            for (document, wanted) in wanted.take() {
                self.want(document, wanted).await;
            }
            // Those that ended are not kept.
            while self.tasks.try_join_next().is_some() {}
            if let Some((document, message)) = message
                && let Err(error) = self.client.publish(NatsPresenceBus::subject(&document), message).await
            {
                tracing::warn!(%document, %error, "a message about presence is lost");
            }
        }
    }

    async fn want(&mut self, document: DocumentId, wanted: bool) {
        if let Some(earlier) = self.subscriptions.remove(&document) {
            if wanted {
                self.subscriptions.insert(document, earlier);
                return;
            }
            earlier.abort();
        }
        if !wanted {
            return;
        }
        match self.client.subscribe(NatsPresenceBus::subject(&document)).await {
            Ok(mut messages) => {
                let hear = self.hear.clone();
                let task = async move {
                    while let Some(message) = messages.next().await {
                        hear(message.payload);
                    }
                };
                self.subscriptions.insert(document, self.tasks.spawn(task));
            }
            // The client keeps subscriptions over reconnects; this is a client that was closed.
            Err(error) => tracing::warn!(%document, %error, "other nodes are not heard"),
        }
    }
}
