//! Limits and figures of this process.

use std::{fs, time::SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

/// Raises the limit on open files to what the system allows, and says what it is now. A connection is a file, and many
/// systems allow 1,024 unless asked.
///
/// # Errors
/// When the system does not let itself be asked.
pub fn raise_open_files() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Resident memory, open files and start time, read whenever metrics are.
#[derive(Debug)]
pub struct ProcessFigures {
    started: f64,
}

impl Default for ProcessFigures {
    fn default() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            started: since_epoch.map(|d| d.as_secs_f64()).unwrap_or_default(),
        }
    }
}

impl Collector for ProcessFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = [
            ("resident_memory_bytes", "Resident memory", resident_bytes()),
            ("open_files", "Open file descriptors", open_files()),
            ("start_time_seconds", "Start, seconds since 1970", Some(self.started)),
        ];
        for (name, help, value) in figures {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// `None` where there is no `/proc`.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<f64>()
        .ok()
        .map(|kb| kb * 1024.0)
}

fn open_files() -> Option<f64> {
    fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn figures_of_the_process_are_among_the_metrics() {
        let metrics = Metrics::default();
        metrics.register("process", |registry| {
            registry.register_collector(Box::new(ProcessFigures::default()));
        });
        let text = metrics.encode();
        assert!(text.contains("aetherflow_process_start_time_seconds"), "{text}");
        #[cfg(target_os = "linux")]
        assert!(text.contains("aetherflow_process_resident_memory_bytes"), "{text}");
    }
}
