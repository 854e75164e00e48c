//! Logs: tracing events on standard error.
//!
//! Field names, the same everywhere: `connection`, `peer`, `session`, `principal`, `document`, `partition`, `offset`,
//! `address`, `code`, `reason`, `error`. Levels: `error` = somebody must act, `warn` = healed by itself, `info` =
//! lifecycle, `debug` = connections, `trace` = edits.

use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::config::Invalid;

/// Section `[logs]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOptions {
    /// What is logged, in the syntax of tracing's `EnvFilter`, such as `info,aetherflow_gateway=debug`. Default `info`.
    /// Worst case: `trace` writes some lines for every edit and costs most of the throughput.
    pub filter: String,
    /// `auto` (default: text, coloured on a terminal), `text`, or `json` (an object per line). JSON costs about twice
    /// as much per line.
    pub format: Format,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text, coloured on a terminal.
    Auto,
    /// Text without colours.
    Text,
    /// One JSON object.
    Json,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: Format::Auto,
        }
    }
}

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Something in this process has done so already.
    #[error("logs were set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// The filter makes no sense.
    #[error("`logs.filter` is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Nothing logs any more.
    #[error("the filter cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

/// What is logged, to be changed while the process runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Logs what these options say from now on. Their format is not looked at.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn set(&self, options: &LogOptions) -> Result<(), LogError> {
        Ok(self.0.reload(options.env_filter()?)?)
    }
}

impl LogOptions {
    /// Notes what makes no sense.
    pub fn validate(&self, invalid: &mut Invalid) {
        if let Err(error) = self.env_filter() {
            invalid.unless(false, "logs.filter", error.to_string());
        }
    }

    /// Automerge is kept silent: it opens a span for each sync message and formats its whole change graph into it, which
    /// took more than half of the processor time on long documents.
    fn env_filter(&self) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
        EnvFilter::try_new(format!("{},automerge=off", self.filter))
    }

    /// Makes this process log. Once only.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn install(&self) -> Result<LogFilter, LogError> {
        let (filter, handle) = reload::Layer::new(self.env_filter()?);
        let registry = tracing_subscriber::registry().with(filter);
        let lines = fmt::layer().with_writer(io::stderr);
        match self.format {
            Format::Auto => registry.with(lines.with_ansi(io::stderr().is_terminal())).try_init()?,
            Format::Text => registry.with(lines.with_ansi(false)).try_init()?,
            Format::Json => registry
                .with(lines.json().flatten_event(true).with_current_span(true))
                .try_init()?,
        }
        Ok(LogFilter(handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_makes_no_sense_is_named() {
        let mut invalid = Invalid::default();
        LogOptions::default().validate(&mut invalid);
        assert_eq!(invalid.clone().into_result(), Ok(()));
        let options = LogOptions {
            filter: "aetherflow=loud".to_owned(),
            ..LogOptions::default()
        };
        options.validate(&mut invalid);
        assert!(invalid.to_string().contains("`logs.filter`"));
    }
}
