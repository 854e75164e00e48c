//! The gateway's metrics; those of the native protocol are in `native`.

pub(crate) mod native;

use std::{fmt, time::Duration};

use aetherflow_runtime::metrics::Metrics;
use aetherflow_schema::close::CloseCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use self::native::NativeMetrics;

/// What a frame is, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Join,
    Peer,
    Error,
    Sync,
    Request,
    Unavailable,
    Ephemeral,
    Subscription,
    RemoteHeads,
    Other,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Join,
        Self::Peer,
        Self::Error,
        Self::Sync,
        Self::Request,
        Self::Unavailable,
        Self::Ephemeral,
        Self::Subscription,
        Self::RemoteHeads,
        Self::Other,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Peer => "peer",
            Self::Error => "error",
            Self::Sync => "sync",
            Self::Request => "request",
            Self::Unavailable => "doc-unavailable",
            Self::Ephemeral => "ephemeral",
            Self::Subscription => "remote-subscription-change",
            Self::RemoteHeads => "remote-heads-changed",
            Self::Other => "other",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CloseLabel {
    code: u16,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Ignored,
}

/// Why something a client sent had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ignored {
    /// It had not joined yet.
    NotJoined,
    /// It spoke in somebody else's name.
    WrongSender,
    /// A message that only a server sends.
    ServerMessage,
    /// An unknown type.
    UnknownType,
    /// What other storages hold, as a client claims it.
    RemoteHeads,
    /// The client has not got a document.
    Unavailable,
    /// An ephemeral message that is too long.
    EphemeralSize,
    /// An ephemeral message whose data is not CBOR.
    EphemeralData,
    /// An ephemeral message to a document that its author may not read.
    EphemeralAccess,
    /// More subscriptions than a connection may have.
    Subscriptions,
}

impl EncodeLabelValue for Ignored {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::NotJoined => "not joined",
            Self::WrongSender => "wrong sender",
            Self::ServerMessage => "server message",
            Self::UnknownType => "unknown type",
            Self::RemoteHeads => "remote heads",
            Self::Unavailable => "unavailable",
            Self::EphemeralSize => "ephemeral size",
            Self::EphemeralData => "ephemeral data",
            Self::EphemeralAccess => "ephemeral access",
            Self::Subscriptions => "subscriptions",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

/// Frames and bytes in one direction.
struct Flow {
    frames: [Counter; Kind::ALL.len()],
    bytes: Counter,
}

impl Flow {
    fn register(registry: &mut Registry, direction: &str) -> Self {
        let family = Family::<KindLabel, Counter>::default();
        let bytes = Counter::default();
        registry.register(
            format!("frames_{direction}"),
            "WebSocket messages of the automerge-repo protocol",
            family.clone(),
        );
        registry.register(
            format!("bytes_{direction}"),
            "Bytes of WebSocket messages",
            bytes.clone(),
        );
        Self {
            frames: Kind::ALL.map(|kind| family.get_or_create_owned(&KindLabel { kind: kind.name() })),
            bytes,
        }
    }

    fn count(&self, kind: Kind, bytes: usize) {
        self.frames[kind as usize].inc();
        self.bytes.inc_by(bytes as u64);
    }
}

/// All of them.
pub(crate) struct GatewayMetrics {
    pub(crate) connections: Gauge,
    pub(crate) websockets: Gauge,
    pub(crate) joined: Counter,
    pub(crate) refused_connections: Counter,
    pub(crate) unauthenticated: Counter,
    pub(crate) throttled: Counter,
    pub(crate) cut_off: Counter,
    pub(crate) open_documents: Gauge,
    pub(crate) socket_writes: Counter,
    pub(crate) ephemera_forwarded: Counter,
    pub(crate) ephemera_dropped: Counter,
    pub(crate) document_wait: Histogram,
    received: Flow,
    sent: Flow,
    closes: Family<CloseLabel, Counter>,
    ignored: Family<ReasonLabel, Counter>,
    requests: Family<RequestLabel, Counter>,
    request_seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
    pub(crate) native: NativeMetrics,
}

/// From 0.1 ms to 105 s.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 11))
}

impl GatewayMetrics {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        metrics.register("gateway", Self::register)
    }

    fn register(registry: &mut Registry) -> Self {
        let all = Self {
            connections: Gauge::default(),
            websockets: Gauge::default(),
            joined: Counter::default(),
            refused_connections: Counter::default(),
            unauthenticated: Counter::default(),
            throttled: Counter::default(),
            cut_off: Counter::default(),
            open_documents: Gauge::default(),
            socket_writes: Counter::default(),
            ephemera_forwarded: Counter::default(),
            ephemera_dropped: Counter::default(),
            document_wait: latency(),
            received: Flow::register(registry, "received"),
            sent: Flow::register(registry, "sent"),
            closes: Family::default(),
            ignored: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latency),
            native: NativeMetrics::register(registry),
        };
        registry.register(
            "connections",
            "Connections of the public listener",
            all.connections.clone(),
        );
        registry.register("websockets", "WebSocket connections", all.websockets.clone());
        registry.register("joined", "Peers that joined", all.joined.clone());
        registry.register(
            "refused_connections",
            "Connections refused for their number",
            all.refused_connections.clone(),
        );
        registry.register(
            "unauthenticated",
            "Tokens and keys that were not good, or missing",
            all.unauthenticated.clone(),
        );
        registry.register(
            "throttled",
            "Requests refused, and connections paused, for doing too much",
            all.throttled.clone(),
        );
        registry.register(
            "cut_off",
            "Open documents taken from clients that may read them no longer",
            all.cut_off.clone(),
        );
        registry.register(
            "open_documents",
            "Documents open on connections",
            all.open_documents.clone(),
        );
        registry.register("socket_writes", "Batches written to sockets", all.socket_writes.clone());
        registry.register(
            "ephemera_forwarded",
            "Ephemeral messages queued for a peer",
            all.ephemera_forwarded.clone(),
        );
        registry.register(
            "ephemera_dropped",
            "Ephemeral messages dropped before a queue that was half full",
            all.ephemera_dropped.clone(),
        );
        registry.register(
            "document_wait_seconds",
            "From handing a frame to its document to its acceptance",
            all.document_wait.clone(),
        );
        registry.register(
            "closes",
            "WebSocket connections closed by the server",
            all.closes.clone(),
        );
        registry.register("ignored", "What clients sent without effect", all.ignored.clone());
        registry.register("http_requests", "HTTP requests", all.requests.clone());
        registry.register(
            "http_request_seconds",
            "Duration of HTTP requests",
            all.request_seconds.clone(),
        );
        all
    }

    /// Counts a message from a client.
    pub(crate) fn received(&self, kind: Kind, bytes: usize) {
        self.received.count(kind, bytes);
    }

    /// Counts a message queued for a client.
    pub(crate) fn sent(&self, kind: Kind, bytes: usize) {
        self.sent.count(kind, bytes);
    }

    /// Counts a close by the server.
    pub(crate) fn closed(&self, code: CloseCode) {
        let label = CloseLabel {
            code: code.code(),
            reason: code.reason(),
        };
        self.closes.get_or_create(&label).inc();
    }

    /// Counts what had no effect.
    pub(crate) fn ignored(&self, reason: Ignored) {
        self.ignored.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts an HTTP request. `route` is the pattern, never the path.
    pub(crate) fn request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let label = RequestLabel {
            method,
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&label).inc();
        let label = RouteLabel {
            route: route.to_owned(),
        };
        self.request_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_counts_for_itself() {
        assert!(Kind::ALL.iter().enumerate().all(|(i, kind)| *kind as usize == i));
        let registry = Metrics::default();
        let metrics = GatewayMetrics::new(&registry);
        metrics.received(Kind::Sync, 10);
        metrics.closed(CloseCode::SlowReader);
        metrics.ignored(Ignored::WrongSender);
        metrics.request("GET", "/v1/documents/{id}", 200, Duration::from_millis(3));
        let text = registry.encode();
        for line in [
            "aetherflow_gateway_frames_received_total{kind=\"sync\"} 1",
            "aetherflow_gateway_bytes_received_total 10",
            "aetherflow_gateway_closes_total{code=\"4005\",reason=\"reading too slowly\"} 1",
            "aetherflow_gateway_ignored_total{reason=\"wrong sender\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
