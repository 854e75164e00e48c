//! Sessions in a JetStream key-value bucket, for all nodes of a cluster.
//!
//! A key is the session's id, its value the record, its revision the stream's sequence number: compare-and-swap is the
//! server's. A record that is not stored again within the bucket's `max_age` vanishes by itself, which is how the sessions
//! of a node that died go away. What JetStream acknowledges survives what the bucket's replicas survive; it syncs its files
//! every two minutes unless told otherwise, so that a power cut of all of them may cost clients their sessions, which is to
//! say a new session and no edit.

use std::{fmt::Display, time::Duration};

use aetherflow_schema::{documents::BoxFuture, id::SessionId, sessions::record::SessionRecord};
use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self,
        kv::{self, CreateErrorKind, Operation, UpdateErrorKind},
        stream,
    },
};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Revision, SessionStore, StoreError, StoreEvent, Versioned};

/// Keys with this prefix are no sessions: a watcher writes one to see itself come by, and then has seen all before it.
const MARKER: &str = "watch.";

/// Events that wait for a watcher before the next are read.
const WAITING: usize = 256;

/// What the operator may choose.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// The bucket's name: letters, digits, `-` and `_`.
    pub bucket: String,
    /// Sessions that are not stored again within this vanish; 2 minutes. Each is stored three times as often.
    pub lease: Duration,
    /// Servers that keep a copy; 1 to 5.
    pub replicas: usize,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            bucket: "aetherflow-sessions".to_owned(),
            lease: Duration::from_secs(120),
            replicas: 1,
        }
    }
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct NatsStore {
    client: Client,
    bucket: kv::Store,
    lease: Duration,
}

impl NatsStore {
    /// Opens the bucket, and makes it when it is not there. One that is there keeps its own lease, so that all nodes agree.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, or the bucket that is there keeps things for ever.
    pub async fn open(client: Client, options: NatsOptions) -> Result<Self, StoreError> {
        let context = jetstream::new(client.clone());
        // A bucket is a stream with these settings. The client's own call asks for the account first, in a way that servers
        // before 2.10 do not understand.
        let config = stream::Config {
            name: format!("KV_{}", options.bucket),
            description: Some("sessions of AetherFlow's clients".to_owned()),
            subjects: vec![format!("$KV.{}.>", options.bucket)],
            max_messages_per_subject: 1,
            max_age: options.lease,
            num_replicas: options.replicas,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..stream::Config::default()
        };
        let stream = context.get_or_create_stream(config).await.map_err(unreachable)?;
        let lease = stream.cached_info().config.max_age;
        if lease.is_zero() {
            let why = format!("the bucket {} keeps sessions for ever; delete it", options.bucket);
            return Err(StoreError::Unreachable(why));
        }
        let bucket = context.get_key_value(options.bucket).await.map_err(unreachable)?;
        Ok(Self { client, bucket, lease })
    }

    /// Whoever waits for a connection that is being made again holds up a client; so nobody does.
    fn check(&self) -> Result<(), StoreError> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err(unreachable("NATS is not connected")),
        }
    }

    async fn put(&self, record: SessionRecord, expected: Option<Revision>) -> Result<Revision, StoreError> {
        self.check()?;
        let (key, value) = (key(record.id), record.encode().into());
        let revision = match expected {
            None => self
                .bucket
                .create(key, value)
                .await
                .map_err(|error| match error.kind() {
                    CreateErrorKind::AlreadyExists => StoreError::Exists,
                    _ => unreachable(error),
                })?,
            Some(expected) => self.bucket.update(key, value, expected.0).await.map_err(refused)?,
        };
        Ok(Revision(revision))
    }

    async fn entry(&self, id: SessionId) -> Result<Option<kv::Entry>, StoreError> {
        self.check()?;
        let entry = self.bucket.entry(key(id)).await.map_err(unreachable)?;
        Ok(entry.filter(|entry| entry.operation == Operation::Put))
    }

    async fn remove(&self, id: SessionId, expected: Revision) -> Result<(), StoreError> {
        self.check()?;
        match self.bucket.delete_expect_revision(key(id), Some(expected.0)).await {
            Ok(()) => Ok(()),
            Err(error) => match refused(error) {
                StoreError::Conflict if self.entry(id).await?.is_none() => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn follow(&self) -> Result<mpsc::Receiver<StoreEvent>, StoreError> {
        self.check()?;
        // The newest copy of each session, in the order in which they were stored, and then what comes.
        let watch = self.bucket.watch_with_history(">").await.map_err(unreachable)?;
        let marker = format!("{MARKER}{}", Uuid::new_v4());
        self.bucket.put(&marker, Vec::new().into()).await.map_err(unreachable)?;
        let (events, watcher) = mpsc::channel(WAITING);
        let bucket = self.bucket.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = forward(watch, &bucket, &marker, &events) => {}
                () = events.closed() => {}
            }
        });
        Ok(watcher)
    }
}

/// Hands on what the bucket tells, until the watcher is gone or something may have been missed.
async fn forward(mut watch: kv::Watch, bucket: &kv::Store, marker: &str, events: &mpsc::Sender<StoreEvent>) {
    while let Some(entry) = watch.next().await {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                tracing::warn!(%error, "the bucket of sessions cannot be followed");
                return;
            }
        };
        let event = if entry.key == marker && entry.operation == Operation::Put {
            if let Err(error) = bucket.purge(marker).await {
                // It vanishes by its age.
                tracing::debug!(%error, "a marker was not deleted");
            }
            Some(StoreEvent::Current)
        } else {
            event(&entry)
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

fn event(entry: &kv::Entry) -> Option<StoreEvent> {
    if entry.key.starts_with(MARKER) {
        return None;
    }
    let revision = Revision(entry.revision);
    let Ok(id) = entry.key.parse().map(SessionId) else {
        tracing::warn!(key = %entry.key, "not the key of a session");
        return None;
    };
    match entry.operation {
        Operation::Delete | Operation::Purge => Some(StoreEvent::Deleted(id, revision)),
        Operation::Put => match decode(id, &entry.value) {
            Ok(record) => Some(StoreEvent::Put(Box::new(Versioned { record, revision }))),
            Err(error) => {
                tracing::warn!(%error, "a stored session is passed over");
                None
            }
        },
    }
}

fn decode(id: SessionId, value: &[u8]) -> Result<SessionRecord, StoreError> {
    match SessionRecord::decode(value) {
        Ok(record) if record.id == id => Ok(record),
        Ok(record) => Err(StoreError::Damaged(id, format!("it is session {}", record.id))),
        Err(error) => Err(StoreError::Damaged(id, error.to_string())),
    }
}

fn key(id: SessionId) -> String {
    id.to_string()
}

fn unreachable(error: impl Display) -> StoreError {
    StoreError::Unreachable(error.to_string())
}

fn refused(error: kv::UpdateError) -> StoreError {
    match error.kind() {
        UpdateErrorKind::WrongLastRevision => StoreError::Conflict,
        UpdateErrorKind::InvalidKey | UpdateErrorKind::TimedOut | UpdateErrorKind::Other => unreachable(error),
    }
}

impl SessionStore for NatsStore {
    fn create(&self, record: &SessionRecord) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(self.put(record.clone(), None))
    }

    fn update(&self, record: &SessionRecord, expected: Revision) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(self.put(record.clone(), Some(expected)))
    }

    fn read(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Versioned>, StoreError>> {
        Box::pin(async move {
            let Some(entry) = self.entry(id).await? else {
                return Ok(None);
            };
            let record = decode(id, &entry.value)?;
            let revision = Revision(entry.revision);
            Ok(Some(Versioned { record, revision }))
        })
    }

    fn delete(&self, id: SessionId, expected: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.remove(id, expected))
    }

    fn watch(&self) -> BoxFuture<'_, Result<mpsc::Receiver<StoreEvent>, StoreError>> {
        Box::pin(self.follow())
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }
}
