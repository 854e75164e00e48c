//! The registry behind `/metrics`. Each crate registers its metrics, all of which are defined in its one `metrics.rs`.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use prometheus_client::{encoding::text, registry::Registry};

use crate::lock;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry of metrics. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Registers metrics whose names start with `aetherflow_<service>_`.
    pub fn register<T>(&self, service: &str, register: impl FnOnce(&mut Registry) -> T) -> T {
        self.register_as(&format!("aetherflow_{service}"), register)
    }

    /// Registers metrics whose names start with `<prefix>_`: those of a part that has a name of its own.
    pub fn register_as<T>(&self, prefix: &str, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(lock(&self.registry).sub_registry_with_prefix(prefix))
    }

    /// Everything, in the OpenMetrics text format, which Prometheus reads.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &lock(&self.registry)) {
            Ok(()) => out,
            Err(fmt::Error) => {
                tracing::error!("a metric cannot be encoded");
                "# EOF\n".to_owned()
            }
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_registered_metric_is_found_under_its_service() {
        let metrics = Metrics::default();
        let counter = metrics.clone().register("gateway", |registry| {
            let counter: Counter = Counter::default();
            registry.register("frames", "Frames", counter.clone());
            counter
        });
        counter.inc_by(3);
        let text = metrics.encode();
        assert!(text.contains("aetherflow_gateway_frames_total 3"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
