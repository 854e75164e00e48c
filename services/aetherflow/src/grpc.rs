//! The gRPC service: listens, and hands connections to the session service.
//!
//! Owns the port. **Invariants**: there are never more connections than configured; nobody calls without the gatekeeper
//! having been asked (`aetherflow_session::grpc::Guard`).

use std::{net::SocketAddr, sync::Arc};

use aetherflow_runtime::{
    config::Invalid,
    listen::{accept, listen},
    metrics::Metrics,
    shutdown::Shutdown,
    tls::{Speech, Stream, Tls},
};
use aetherflow_session::{
    SessionService,
    grpc::{self, Connection, Guard},
};
use anyhow::Context;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};

/// Connections that were accepted and are not served yet.
const WAITING: usize = 16;

/// Section `[grpc]`: the session service, for other servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrpcOptions {
    /// Whether it is served, default true.
    pub(crate) enabled: bool,
    /// Where, default `127.0.0.1:7401`; port 0 asks for a free one.
    pub(crate) listen: SocketAddr,
    /// Connections at the same time, default 1,000. More are closed unseen. Worst case: 256 calls of 256 KiB each.
    pub(crate) connections: usize,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            connections: 1_000,
        }
    }
}

impl GrpcOptions {
    /// Notes what makes no sense. `others` are addresses that are taken.
    pub(crate) fn validate(&self, others: [SocketAddr; 2], invalid: &mut Invalid) {
        invalid.unless_within("grpc.connections", self.connections, 1, 1_000_000);
        let taken = self.enabled && self.listen.port() != 0 && others.contains(&self.listen);
        invalid.unless(!taken, "grpc.listen", "is the same as `listen` or `admin_listen`");
    }
}

/// Serves until the shutdown, which then waits for calls that are under way: where.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) fn start(
    options: &GrpcOptions,
    sessions: Arc<SessionService>,
    guard: Arc<Guard>,
    tls: Option<Arc<Tls>>,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> anyhow::Result<SocketAddr> {
    let listening = listen(options.listen);
    let (listener, address) =
        listening.with_context(|| format!("gRPC cannot listen on {} (`grpc.listen`)", options.listen))?;
    let permits = Arc::new(Semaphore::new(options.connections));
    let figures = GrpcFigures {
        guard: guard.clone(),
        permits: permits.clone(),
        connections: options.connections,
    };
    metrics.register("grpc", |registry| registry.register_collector(Box::new(figures)));
    let (connections, accepted) = mpsc::channel(WAITING);
    let security = tls.map(|tls| (tls, guard.clone()));
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            () = stop.triggered() => {}
            () = admit(listener, security, permits, connections) => {}
        }
    });
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let stopped = async { stop.triggered().await };
        if let Err(error) = grpc::serve(accepted, sessions, guard, stopped).await {
            tracing::error!(%error, "gRPC is served no longer");
        }
    });
    Ok(address)
}

/// Accepts for as long as connections are wanted.
async fn admit(
    listener: TcpListener,
    security: Option<(Arc<Tls>, Arc<Guard>)>,
    permits: Arc<Semaphore>,
    connections: mpsc::Sender<Connection<Stream>>,
) {
    loop {
        let (stream, peer) = accept(&listener).await;
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            tracing::debug!(%peer, "refused a gRPC connection, there are too many");
            continue;
        };
        let (security, connections) = (security.clone(), connections.clone());
        tokio::spawn(async move {
            let io = tokio::select! {
                io = secure(security, stream, peer) => io,
                () = connections.closed() => None,
            };
            if let Some(io) = io {
                // One that is wanted no longer is closed.
                let _ = connections.send(Connection { io, peer, permit }).await;
            }
        });
    }
}

/// Makes it a connection with TLS, if it should be one.
async fn secure(security: Option<(Arc<Tls>, Arc<Guard>)>, stream: TcpStream, peer: SocketAddr) -> Option<Stream> {
    let Some((tls, guard)) = security else {
        return Some(Stream::Plain(stream));
    };
    // A handshake costs a signature, so it is asked about like a call.
    if !guard.allows_arrival(peer.ip()) {
        return None;
    }
    match tls.accept(stream, Speech::Http2).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%peer, %error, "no TLS handshake for gRPC");
            None
        }
    }
}

/// What `/metrics` says of gRPC, read when it is asked.
struct GrpcFigures {
    guard: Arc<Guard>,
    permits: Arc<Semaphore>,
    connections: usize,
}

impl std::fmt::Debug for GrpcFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GrpcFigures")
    }
}

impl Collector for GrpcFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let open = self.connections.saturating_sub(self.permits.available_permits());
        let open = ConstGauge::new(i64::try_from(open).unwrap_or(i64::MAX));
        open.encode(encoder.encode_descriptor("connections", "Open gRPC connections", None, open.metric_type())?)?;
        let figures = self.guard.figures();
        let counters = [
            ("calls", "Calls, health aside", figures.calls),
            (
                "unauthenticated",
                "Calls without a token that is good",
                figures.unauthenticated,
            ),
            (
                "throttled",
                "Calls that were too many of their caller",
                figures.throttled,
            ),
            ("denied", "Calls for what the caller may not do", figures.denied),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
