//! The metrics of the native protocol.

use std::{fmt, sync::Arc};

use aetherflow_runtime::metrics::Metrics;
use aetherflow_schema::{
    native::wire::{RejectCode, client_frame, server_frame},
    presence::Presence,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use super::{KindLabel, latency};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// What a client's frame is, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Heard {
    Hello,
    Submit,
    Subscribe,
    Unsubscribe,
    Fetch,
    Presence,
    Ping,
    AcquireLock,
    ReleaseLock,
    ListLocks,
    /// None of these, or none that makes sense.
    Malformed,
}

impl Heard {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Submit,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Fetch,
        Self::Presence,
        Self::Ping,
        Self::AcquireLock,
        Self::ReleaseLock,
        Self::ListLocks,
        Self::Malformed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Submit => "submit",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Fetch => "fetch",
            Self::Presence => "presence",
            Self::Ping => "ping",
            Self::AcquireLock => "acquire-lock",
            Self::ReleaseLock => "release-lock",
            Self::ListLocks => "list-locks",
            Self::Malformed => "malformed",
        }
    }
}

/// What a frame to a client is, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    Welcome,
    Receipt,
    Reject,
    Snapshot,
    Ops,
    PresenceEvent,
    GoAway,
    Pong,
    LockGranted,
    LockReleased,
    Locks,
}

impl Said {
    const ALL: [Self; 11] = [
        Self::Welcome,
        Self::Receipt,
        Self::Reject,
        Self::Snapshot,
        Self::Ops,
        Self::PresenceEvent,
        Self::GoAway,
        Self::Pong,
        Self::LockGranted,
        Self::LockReleased,
        Self::Locks,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Receipt => "receipt",
            Self::Reject => "reject",
            Self::Snapshot => "snapshot",
            Self::Ops => "ops",
            Self::PresenceEvent => "presence-event",
            Self::GoAway => "go-away",
            Self::Pong => "pong",
            Self::LockGranted => "lock-granted",
            Self::LockReleased => "lock-released",
            Self::Locks => "locks",
        }
    }
}

impl From<&server_frame::Kind> for Said {
    fn from(kind: &server_frame::Kind) -> Self {
        use server_frame::Kind;
        match kind {
            Kind::Welcome(_) => Self::Welcome,
            Kind::Receipt(_) => Self::Receipt,
            Kind::Reject(_) => Self::Reject,
            Kind::Snapshot(_) => Self::Snapshot,
            Kind::Ops(_) => Self::Ops,
            Kind::PresenceEvent(_) => Self::PresenceEvent,
            Kind::GoAway(_) => Self::GoAway,
            Kind::Pong(_) => Self::Pong,
            Kind::LockGranted(_) => Self::LockGranted,
            Kind::LockReleased(_) => Self::LockReleased,
            Kind::Locks(_) => Self::Locks,
        }
    }
}

impl From<&client_frame::Kind> for Heard {
    fn from(kind: &client_frame::Kind) -> Self {
        use client_frame::Kind;
        match kind {
            Kind::Hello(_) => Self::Hello,
            Kind::Submit(_) => Self::Submit,
            Kind::Subscribe(_) => Self::Subscribe,
            Kind::Unsubscribe(_) => Self::Unsubscribe,
            Kind::Fetch(_) => Self::Fetch,
            Kind::Presence(_) => Self::Presence,
            Kind::Ping(_) => Self::Ping,
            Kind::AcquireLock(_) => Self::AcquireLock,
            Kind::ReleaseLock(_) => Self::ReleaseLock,
            Kind::ListLocks(_) => Self::ListLocks,
        }
    }
}

/// How many sessions are present, counted when it is asked.
struct Present(Arc<dyn Presence>);

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Present")
    }
}

impl Collector for Present {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let count = ConstGauge::new(i64::try_from(self.0.count()).unwrap_or(i64::MAX));
        let help = "Sessions present on documents";
        count.encode(encoder.encode_descriptor("native_present", help, None, count.metric_type())?)
    }
}

/// Has `/metrics` say how many sessions are present.
pub(crate) fn register_present(metrics: &Metrics, presence: Arc<dyn Presence>) {
    metrics.register("gateway", |registry| {
        registry.register_collector(Box::new(Present(presence)));
    });
}

/// All of them.
pub(crate) struct NativeMetrics {
    pub(crate) connections: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) presence_dropped: Counter,
    /// From a submission to its receipt.
    pub(crate) receipt_wait: Histogram,
    heard: [Counter; Heard::ALL.len()],
    heard_bytes: Counter,
    said: [Counter; Said::ALL.len()],
    said_bytes: Counter,
    rejects: Family<CodeLabel, Counter>,
}

impl NativeMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("native");
        let heard = Family::<KindLabel, Counter>::default();
        let said = Family::<KindLabel, Counter>::default();
        let all = Self {
            connections: Gauge::default(),
            subscriptions: Gauge::default(),
            presence_dropped: Counter::default(),
            receipt_wait: latency(),
            heard: Heard::ALL.map(|kind| heard.get_or_create_owned(&KindLabel { kind: kind.name() })),
            heard_bytes: Counter::default(),
            said: Said::ALL.map(|kind| said.get_or_create_owned(&KindLabel { kind: kind.name() })),
            said_bytes: Counter::default(),
            rejects: Family::default(),
        };
        let connections = "Connections of the native protocol, over any transport";
        registry.register("connections", connections, all.connections.clone());
        registry.register("subscriptions", "Documents followed", all.subscriptions.clone());
        let dropped = "Presence events dropped before a queue that was half full, or a client that takes none so long";
        registry.register("presence_dropped", dropped, all.presence_dropped.clone());
        let wait = "From a submission to its receipt";
        registry.register("receipt_wait_seconds", wait, all.receipt_wait.clone());
        registry.register("frames_received", "Frames from clients", heard);
        registry.register("bytes_received", "Bytes of those", all.heard_bytes.clone());
        registry.register("frames_sent", "Frames queued for clients", said);
        registry.register("bytes_sent", "Bytes of those", all.said_bytes.clone());
        registry.register("rejects", "Requests that were not carried out", all.rejects.clone());
        all
    }

    /// Counts a frame from a client.
    pub(crate) fn heard(&self, kind: Heard, bytes: usize) {
        self.heard[kind as usize].inc();
        self.heard_bytes.inc_by(bytes as u64);
    }

    /// Counts a frame queued for a client.
    pub(crate) fn said(&self, kind: Said, bytes: usize) {
        self.said[kind as usize].inc();
        self.said_bytes.inc_by(bytes as u64);
    }

    /// Counts a request that was not carried out.
    pub(crate) fn rejected(&self, code: RejectCode) {
        let code = code.as_str_name();
        let code = code.strip_prefix("REJECT_CODE_").unwrap_or(code);
        self.rejects.get_or_create(&CodeLabel { code }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_counts_for_itself() {
        assert!(Heard::ALL.iter().enumerate().all(|(i, kind)| *kind as usize == i));
        assert!(Said::ALL.iter().enumerate().all(|(i, kind)| *kind as usize == i));
    }
}
