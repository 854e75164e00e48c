//! What `/metrics` says of log and documents, read when it is asked.

use aetherflow_oplog::LogHandle;
use aetherflow_statesync::Statesync;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct Figures {
    log: LogHandle,
    statesync: Statesync,
}

impl Figures {
    pub(crate) fn new(log: LogHandle, statesync: Statesync) -> Self {
        Self { log, statesync }
    }
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.log.status();
        let committed: u64 = status
            .iter()
            .filter_map(|p| p.state.as_ref().ok())
            .map(|tail| tail.offset.0)
            .sum();
        let quarantined = status.iter().filter(|p| p.state.is_err()).count();
        let (open, memory) = self.statesync.usage();
        let figures: [(&str, &str, u64); 6] = [
            (
                "committed_entries",
                "Committed entries in all sound partitions",
                committed,
            ),
            (
                "quarantined_partitions",
                "Partitions that serve nothing because they are damaged",
                quarantined as u64,
            ),
            (
                "failsafe",
                "1 while no edits are taken because a write failed",
                u64::from(self.log.failsafe().is_some()),
            ),
            ("open_documents", "Documents with an actor", open as u64),
            (
                "followers",
                "Followers of documents' entries",
                self.statesync.followers() as u64,
            ),
            ("document_bytes", "Memory of materialized documents, about", memory),
        ];
        for (name, help, value) in figures {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
