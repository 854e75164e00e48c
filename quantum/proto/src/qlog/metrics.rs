//! What a record tells of the path: only what changed since the one before.

use std::time::Duration;

use super::json::Object;

/// How the path is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    pub(crate) min_rtt: Duration,
    pub(crate) smoothed_rtt: Duration,
    pub(crate) latest_rtt: Duration,
    pub(crate) rtt_variance: Duration,
    /// Bytes.
    pub(crate) congestion_window: u64,
    /// Bytes.
    pub(crate) bytes_in_flight: u64,
    /// Bytes per second.
    pub(crate) pacing_rate: u64,
}

/// Adds what differs.
pub(super) fn write(data: &mut Object<'_>, before: &Metrics, now: &Metrics) {
    let durations = [
        ("min_rtt", before.min_rtt, now.min_rtt),
        ("smoothed_rtt", before.smoothed_rtt, now.smoothed_rtt),
        ("latest_rtt", before.latest_rtt, now.latest_rtt),
        ("rtt_variance", before.rtt_variance, now.rtt_variance),
    ];
    for (key, _, now) in durations.into_iter().filter(|(_, before, now)| before != now) {
        data.millis(key, now);
    }
    let bits = |bytes: u64| bytes.saturating_mul(8);
    let numbers = [
        ("congestion_window", before.congestion_window, now.congestion_window),
        ("bytes_in_flight", before.bytes_in_flight, now.bytes_in_flight),
        ("pacing_rate", bits(before.pacing_rate), bits(now.pacing_rate)),
    ];
    for (key, _, now) in numbers.into_iter().filter(|(_, before, now)| before != now) {
        data.number(key, now);
    }
}
