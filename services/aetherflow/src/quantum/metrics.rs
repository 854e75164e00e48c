//! What `/metrics` says of Quantum, read when it is asked: the names are in `quantum/README.md`.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use quantum::{Endpoint, Stats};

/// Of the values that connections have at present, the parts that are shown.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("1", 1.0)];

/// See the [module](self).
#[derive(Debug)]
pub(super) struct QuantumFigures(pub(super) Endpoint);

impl Collector for QuantumFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let survey = self.0.survey();
        counters(&mut encoder, &survey.total())?;
        let endpoint = self.0.stats();
        for (name, help, value) in [
            (
                "endpoint_ignored",
                "Datagrams that are no packet, or of no connection",
                endpoint.ignored,
            ),
            ("endpoint_accepted", "Connections accepted", endpoint.accepted),
            (
                "endpoint_retries",
                "Clients asked to prove their address first",
                endpoint.retries,
            ),
            (
                "endpoint_refused",
                "First packets that were refused or did not open",
                endpoint.refused,
            ),
            (
                "endpoint_stateless_resets",
                "Packets of connections that are not known any more, answered so",
                endpoint.resets,
            ),
        ] {
            counter(&mut encoder, name, help, value)?;
        }
        standing(&mut encoder, &survey.connections)
    }
}

fn counters(encoder: &mut DescriptorEncoder<'_>, total: &Stats) -> Result<(), fmt::Error> {
    for (name, help, value) in [
        ("packets_sent", "Packets sent", total.packets_sent),
        (
            "packets_received",
            "Packets opened, duplicates not included",
            total.packets_received,
        ),
        ("bytes_sent", "UDP payload sent", total.bytes_sent),
        ("bytes_received", "UDP payload received", total.bytes_received),
        ("udp_datagrams_sent", "UDP datagrams sent", total.datagrams_sent),
        (
            "packets_duplicate",
            "Packets that arrived twice",
            total.packets_duplicate,
        ),
        (
            "packets_rejected",
            "Packets that did not open: forged, damaged or without keys",
            total.packets_rejected,
        ),
        ("packets_lost", "Packets declared lost", total.packets_lost),
        (
            "packets_spurious",
            "Packets declared lost that arrived later",
            total.packets_spurious,
        ),
        ("retransmission_timeouts", "Retransmission timeouts", total.timeouts),
        ("probes", "Probes sent because nothing was heard", total.probes),
        ("parity_packets_sent", "Parity packets sent", total.parity_sent),
        (
            "repeated_bytes",
            "Bytes of messages repeated in later packets",
            total.repeated_bytes,
        ),
        (
            "packets_repaired_by_peer",
            "Lost packets that the other end repaired",
            total.repaired_by_peer,
        ),
        (
            "packets_repaired",
            "Lost packets that were repaired here",
            total.repaired,
        ),
        (
            "messages_sent",
            "Messages taken from the application",
            total.messages_sent,
        ),
        (
            "messages_received",
            "Messages given to the application",
            total.messages_received,
        ),
        (
            "message_bytes_sent",
            "Bytes of messages sent, retransmissions not included",
            total.message_bytes_sent,
        ),
        (
            "message_bytes_received",
            "Bytes of messages delivered",
            total.message_bytes_received,
        ),
        (
            "parity_blocks_contradictory",
            "Parity blocks that contradicted themselves and were dropped",
            total.blocks_contradictory,
        ),
    ] {
        counter(encoder, name, help, value)?;
    }
    Ok(())
}

/// How the connections stand that exist.
fn standing(encoder: &mut DescriptorEncoder<'_>, connections: &[Stats]) -> Result<(), fmt::Error> {
    let mut states: BTreeMap<&str, i64> = BTreeMap::new();
    for connection in connections {
        *states.entry(connection.state).or_default() += 1;
    }
    let help = "Connections, by what congestion control is doing";
    let mut family = encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
    for (state, count) in states {
        let gauge = ConstGauge::new(count);
        gauge.encode(family.encode_family(&[("bbr_state", state)])?)?;
    }
    let in_flight: u64 = connections.iter().map(|connection| connection.in_flight).sum();
    let gauge = ConstGauge::new(i64::try_from(in_flight).unwrap_or(i64::MAX));
    let help = "Bytes sent and not acknowledged, of all connections";
    gauge.encode(encoder.encode_descriptor("bytes_in_flight", help, None, MetricType::Gauge)?)?;
    let mut spread = |name: &str, help: &str, value: fn(&Stats) -> f64| {
        quantiles(encoder, name, help, connections.iter().map(value).collect())
    };
    spread("rtt_seconds", "Smoothed round trip", |stats| stats.rtt.as_secs_f64())?;
    spread("rtt_min_seconds", "Smallest round trip of late", |stats| {
        stats.rtt_min.as_secs_f64()
    })?;
    spread("congestion_window_bytes", "Bytes that may be in flight", |stats| {
        stats.congestion_window as f64
    })?;
    spread("pacing_rate_bytes_per_second", "Pacing rate", |stats| {
        stats.pacing_rate as f64
    })?;
    spread("mtu_bytes", "UDP payload of a full datagram", |stats| {
        f64::from(stats.mtu)
    })?;
    spread("loss_ratio", "Part of the packets lost of late", |stats| stats.loss)?;
    spread(
        "loss_burst_packets",
        "Packets in a row that are lost, on average",
        |stats| stats.burst,
    )
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn quantiles(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    mut values: Vec<f64>,
) -> Result<(), fmt::Error> {
    values.sort_unstable_by(f64::total_cmp);
    let help = format!("{help}, over the connections that exist");
    let mut family = encoder.encode_descriptor(name, &help, None, MetricType::Gauge)?;
    for (label, quantile) in QUANTILES {
        let rank = (values.len() as f64 * quantile).ceil() as usize;
        if let Some(value) = values.get(rank.saturating_sub(1)) {
            let gauge = ConstGauge::new(*value);
            gauge.encode(family.encode_family(&[("quantile", label)])?)?;
        }
    }
    Ok(())
}
