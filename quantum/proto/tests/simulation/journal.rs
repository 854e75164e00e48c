//! Compares what one end sent with what the other received.

use std::{collections::BTreeMap, time::Duration};

use quantum_proto::{ChannelId, Delivery, Time};

use crate::app::{App, Kind, Record};

/// What one direction of a connection carried.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Of each message, in the order of sending: what, and how long it took.
    pub(crate) latencies: Vec<(Record, Duration)>,
    /// Longest time without a delivery while one was due.
    pub(crate) stall: Duration,
    /// Most bytes of messages that were accepted and not yet delivered.
    pub(crate) peak_outstanding: usize,
}

impl Journal {
    /// Everything that was sent arrived once, whole, in order.
    ///
    /// # Errors
    /// What was not so.
    pub(crate) fn complete(sender: &App, receiver: &App) -> Result<Self, String> {
        let mut arrivals: BTreeMap<_, Record> =
            receiver.received.iter().map(|record| (record.key(), *record)).collect();
        let mut latencies = Vec::with_capacity(sender.sent.len());
        let mut missing = Vec::new();
        for sent in &sender.sent {
            match arrivals.remove(&sent.key()) {
                None => missing.push(*sent),
                Some(arrival) if arrival.len != sent.len => return Err(format!("{sent:?} arrived as {arrival:?}")),
                Some(arrival) => latencies.push((*sent, arrival.at.since(sent.at))),
            }
        }
        if let Some(fault) = sender.faults.first().or(receiver.faults.first()) {
            return Err(fault.clone());
        }
        if let Some(first) = missing.first() {
            return Err(format!(
                "{} of {} did not arrive, first {first:?}",
                missing.len(),
                sender.sent.len()
            ));
        }
        if let Some((_, extra)) = arrivals.first_key_value() {
            return Err(format!("arrived, but was never sent: {extra:?}"));
        }
        let (stall, peak_outstanding) = timeline(&sender.sent, &receiver.received);
        Ok(Self {
            latencies,
            stall,
            peak_outstanding,
        })
    }

    /// Latencies of one channel's messages, sorted.
    pub(crate) fn of(&self, channel: ChannelId) -> Vec<Duration> {
        let mut of_channel: Vec<_> = self
            .latencies
            .iter()
            .filter(|(record, _)| record.channel == channel)
            .map(|(_, latency)| *latency)
            .collect();
        of_channel.sort_unstable();
        of_channel
    }
}

/// The value below which this part of the sorted ones lies.
pub(crate) fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let index = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied().unwrap_or_default()
}

/// Bytes of a kind's messages received between two times.
pub(crate) fn bytes_between(receiver: &App, kind: Kind, from: Time, to: Time) -> usize {
    let counts = |record: &&Record| record.channel == kind.channel && (from..to).contains(&record.at);
    receiver.received.iter().filter(counts).map(|record| record.len).sum()
}

/// The longest stall, and the most bytes outstanding.
fn timeline(sent: &[Record], received: &[Record]) -> (Duration, usize) {
    // A delivery at the same time as a hand-over comes after it.
    let mut events: Vec<(Time, bool, usize)> = sent.iter().map(|record| (record.at, false, record.len)).collect();
    events.extend(received.iter().map(|record| (record.at, true, record.len)));
    events.sort_unstable();
    let (mut messages, mut bytes, mut peak) = (0, 0, 0);
    let (mut since, mut stall) = (Time::ZERO, Duration::ZERO);
    for (at, delivered, len) in events {
        if delivered {
            stall = stall.max(at.since(since));
            (messages, bytes, since) = (messages - 1, bytes - len, at);
        } else {
            if messages == 0 {
                since = at;
            }
            (messages, bytes) = (messages + 1, bytes + len);
            peak = peak.max(bytes);
        }
    }
    (stall, peak)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantum_proto::Side;

    fn record(number: u64, at_ms: u64) -> Record {
        let at = Time::from_nanos(at_ms * 1_000_000);
        Record {
            channel: ChannelId(3),
            delivery: Delivery::Ordered,
            number,
            len: 10,
            at,
        }
    }

    fn apps(sent: &[Record], received: &[Record]) -> (App, App) {
        let (mut sender, mut receiver) = (App::new(1, Side::Client), App::new(1, Side::Server));
        sender.sent = sent.to_vec();
        receiver.received = received.to_vec();
        (sender, receiver)
    }

    #[test]
    fn stalls_and_outstanding_bytes_are_found() {
        let (sender, receiver) = apps(
            &[record(0, 0), record(1, 5), record(2, 500)],
            &[record(0, 10), record(1, 110), record(2, 520)],
        );
        let journal = Journal::complete(&sender, &receiver).unwrap();
        assert_eq!(journal.stall, Duration::from_millis(100));
        assert_eq!(journal.peak_outstanding, 20);
        let sorted = journal.of(ChannelId(3));
        assert_eq!(quantile(&sorted, 0.5), Duration::from_millis(20));
        assert_eq!(quantile(&sorted, 1.0), Duration::from_millis(105));
        assert!(journal.of(ChannelId(4)).is_empty());
    }

    #[test]
    fn what_is_missing_or_invented_is_found() {
        let (sender, receiver) = apps(&[record(0, 0), record(1, 5)], &[record(0, 10)]);
        assert!(
            Journal::complete(&sender, &receiver)
                .unwrap_err()
                .contains("did not arrive")
        );
        let (sender, receiver) = apps(&[record(0, 0)], &[record(0, 10), record(1, 10)]);
        assert!(
            Journal::complete(&sender, &receiver)
                .unwrap_err()
                .contains("never sent")
        );
        let (sender, mut receiver) = apps(&[], &[]);
        receiver.faults.push("damaged".to_owned());
        assert_eq!(Journal::complete(&sender, &receiver).unwrap_err(), "damaged");
    }
}
