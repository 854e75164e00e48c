//! A gateway under test.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aetherflow_gateway::{
    Gateway, GatewayOptions, NativeService, Parts,
    admin::{Admin, AdminError, PartitionStatus, Reloaded, Verification},
    assets::{Asset, Assets},
    options::{HttpOptions, Limits, Timeouts},
};
use aetherflow_runtime::{
    health::Health,
    metrics::Metrics,
    shutdown::{Shutdown, ShutdownOptions},
};
use aetherflow_schema::{
    access::{
        Access, AccessWatcher, Anybody, Authenticator, Identity, NoPermissions, Operation, Throttle, Unthrottled,
    },
    documents::BoxFuture,
    id::{DocumentId, PartitionId},
    sessions::NodeId,
};
use aetherflow_session::{
    Clock, SessionOptions, SessionService,
    locks::LocalLocks,
    presence::{PresenceOptions, PresenceService},
    store::memory::MemoryStore,
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{book::Book, ledger::Ledger, recorder::Recorder};

/// The longest that anything in these tests may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The name of the store behind the gateway.
pub(crate) const STORE: Uuid = Uuid::from_u128(0x5702e);

/// Waits for a condition, or fails.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(DEADLINE, wait).await.is_ok(), "waited in vain: {what}");
}

/// A document's name.
pub(crate) fn document(n: u128) -> DocumentId {
    DocumentId::from_uuid(Uuid::from_u128(n))
}

/// What is allowed: everything, but for what a test forbids.
#[derive(Default)]
pub(crate) struct Policy {
    pub(crate) read_only: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// Everybody administers everything.
    pub(crate) administered: AtomicBool,
}

impl Access for Policy {
    fn allows(&self, _: &Identity, operation: Operation, _: &DocumentId) -> Result<(), &'static str> {
        if self.closed.load(Ordering::Relaxed) {
            return Err("it is closed");
        }
        let reads = matches!(operation, Operation::Read | Operation::Presence);
        if self.read_only.load(Ordering::Relaxed) && !reads {
            return Err("it is for reading only");
        }
        Ok(())
    }

    fn allows_everywhere(&self, _: &Identity, _: Operation) -> Result<(), &'static str> {
        let administered = self.administered.load(Ordering::Relaxed);
        administered.then_some(()).ok_or("not you")
    }
}

/// Who is let in, and how much they may do: anybody, and all they like.
pub(crate) struct Door {
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) throttle: Arc<dyn Throttle>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            authenticator: Arc::new(Anybody),
            throttle: Arc::new(Unthrottled),
        }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    pub(crate) peer: String,
    pub(crate) documents: Arc<Recorder>,
    pub(crate) ledger: Ledger,
    pub(crate) native: NativeService,
    pub(crate) policy: Arc<Policy>,
    /// Hears of revocations.
    pub(crate) watcher: Arc<dyn AccessWatcher>,
    pub(crate) sessions: Arc<SessionService>,
    pub(crate) presence: Arc<PresenceService>,
    pub(crate) book: Arc<Book>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) stopped: tokio::task::JoinHandle<usize>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut GatewayOptions)) -> Self {
        Self::behind(Door::default(), configure).await
    }

    pub(crate) async fn behind(door: Door, configure: impl FnOnce(&mut GatewayOptions)) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut options = GatewayOptions {
            listen: any,
            admin_listen: any,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            http: HttpOptions::default(),
        };
        configure(&mut options);
        let documents = Arc::new(Recorder::default());
        let ledger = Ledger::default();
        let policy = Arc::new(Policy::default());
        let health = Health::default();
        let metrics = Metrics::default();
        let node = NodeId::named("test").unwrap();
        let store = Arc::new(MemoryStore::default());
        let clock = Clock::new();
        let presence = Arc::new(PresenceService::start(PresenceOptions::new(node.clone()), clock));
        let locks = Arc::new(LocalLocks::start(clock));
        let session_options = SessionOptions::new(node);
        let sessions = SessionService::start(session_options, clock, store, vec![presence.clone(), locks.clone()]);
        let sessions = Arc::new(sessions.await.unwrap());
        let shutdown = Shutdown::new(&ShutdownOptions { drain_ms: 10_000 });
        let book = Arc::new(Book::default());
        let gateway = Gateway::start(Parts {
            options,
            documents: documents.clone(),
            log: Arc::new(ledger.clone()),
            access: policy.clone(),
            authenticator: door.authenticator,
            permissions: Arc::new(NoPermissions),
            throttle: door.throttle,
            sessions: sessions.clone(),
            presence: presence.clone(),
            locks,
            history: book.clone(),
            arrivals: book.clone(),
            admin: Arc::new(Operator),
            assets: Arc::new(Page),
            health: health.clone(),
            metrics: metrics.clone(),
            tls: None,
            shutdown: shutdown.clone(),
            store: STORE,
        })
        .await
        .unwrap();
        gateway.ready();
        Self {
            address: gateway.address(),
            admin_address: gateway.admin_address(),
            peer: gateway.peer().to_string(),
            documents,
            ledger,
            policy,
            watcher: gateway.watcher().clone(),
            sessions,
            presence,
            book,
            health,
            metrics,
            shutdown,
            native: gateway.native(),
            stopped: tokio::spawn(gateway.stopped()),
        }
    }

    /// The value of a metric, 0 while there is none.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| {
            let value = line.strip_prefix("aetherflow_gateway_")?.strip_prefix(name)?;
            value.strip_prefix(' ')
        });
        line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

struct Operator;

impl Admin for Operator {
    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionStatus>, AdminError>> {
        let partition = PartitionStatus {
            partition: PartitionId(0),
            state: "active".to_owned(),
            reason: None,
            committed: 12,
            chain: "00".to_owned(),
        };
        Box::pin(async { Ok(vec![partition]) })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async { Err(AdminError("the disk is still full".to_owned())) })
    }

    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, AdminError>> {
        Box::pin(async { Err(AdminError("line 3 makes no sense".to_owned())) })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verification, AdminError>> {
        let verification = Verification {
            ok: true,
            entries: 12,
            partitions: 1,
            problems: vec![],
        };
        Box::pin(async { Ok(verification) })
    }
}

struct Page;

impl Assets for Page {
    fn asset(&self, path: &str, _: Option<&str>) -> Option<Asset> {
        (path == "/").then_some(Asset {
            body: b"<!doctype html>",
            content_encoding: None,
            content_type: "text/html; charset=utf-8",
            etag: "W/\"page\"",
            cache_control: "no-cache",
        })
    }
}
