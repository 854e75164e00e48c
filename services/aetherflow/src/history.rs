//! Who wrote what, when, and from where: the log's index by principal, and the book of arrivals in `arrivals` in the data
//! directory.
//!
//! On failure of the book: `/metrics` counts what was not written down; nothing else depends on it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aetherflow_oplog::{LogHandle, StorageError};
use aetherflow_runtime::{config::Invalid, metrics::Metrics};
use aetherflow_schema::{
    documents::{BoxFuture, DocumentError},
    history::{Arrivals, AuthoredPage, AuthoredQuery, EntryHistory, NoArrivals},
};
use aetherflow_session::arrivals::{ArrivalBook, ArrivalOptions};
use anyhow::Context;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use serde::{Deserialize, Serialize};
use tokio::task;

use crate::config::Config;

/// Section `[history]`: for how long it is known where sessions came from. Who wrote what and when is in the log, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryConfig {
    /// Addresses, programs and names of clients are kept for so many days, default 90; 0 writes nothing down.
    pub(crate) keep_days: u64,
    /// So many arrivals are written down in a day at most, default 1,000,000. Worst case: 600 bytes of disk for each, as a rule
    /// 60, for as many days as they are kept.
    pub(crate) arrivals_per_day: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            keep_days: 90,
            arrivals_per_day: 1_000_000,
        }
    }
}

impl HistoryConfig {
    /// Notes what makes no sense.
    pub(crate) fn validate(&self, invalid: &mut Invalid) {
        invalid.unless_within("history.keep_days", self.keep_days, 0, 36_500);
        invalid.unless_within("history.arrivals_per_day", self.arrivals_per_day, 1, 1_000_000_000);
    }
}

/// Where the book is.
pub(crate) fn book_in(data_dir: &Path) -> PathBuf {
    data_dir.join("arrivals")
}

/// Opens the book of arrivals, if one is kept.
///
/// # Errors
/// When it cannot be opened.
pub(crate) async fn open(config: &Config, metrics: &Metrics) -> anyhow::Result<Arc<dyn Arrivals>> {
    const DAY: Duration = Duration::from_secs(86_400);
    let HistoryConfig {
        keep_days,
        arrivals_per_day,
    } = config.history;
    if keep_days == 0 {
        return Ok(Arc::new(NoArrivals));
    }
    let options = ArrivalOptions {
        dir: book_in(&config.data_dir),
        keep: DAY * u32::try_from(keep_days).unwrap_or(u32::MAX),
        per_day: arrivals_per_day,
    };
    let dir = options.dir.clone();
    let opened = task::spawn_blocking(move || ArrivalBook::open(options)).await?;
    let book = Arc::new(opened.with_context(|| format!("the book of arrivals in {} cannot be opened", dir.display()))?);
    let figures = BookFigures(book.clone());
    metrics.register("arrivals", |registry| registry.register_collector(Box::new(figures)));
    Ok(book)
}

/// What `/metrics` says of the book, read when it is asked.
struct BookFigures(Arc<ArrivalBook>);

impl std::fmt::Debug for BookFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BookFigures")
    }
}

impl Collector for BookFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (written, dropped) = self.0.figures();
        for (name, help, value) in [
            ("written", "Arrivals of sessions that were written down", written),
            (
                "dropped",
                "Arrivals that were not: too many, or the disk failed",
                dropped,
            ),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// The log's index by principal.
pub(crate) struct LogHistory(pub(crate) LogHandle);

impl EntryHistory for LogHistory {
    fn authored(&self, query: AuthoredQuery) -> BoxFuture<'_, Result<AuthoredPage, DocumentError>> {
        let log = self.0.clone();
        Box::pin(async move {
            let read = task::spawn_blocking(move || log.authored(&query)).await;
            let page = read.unwrap_or_else(|error| Err(StorageError::Unreadable(error.to_string())));
            page.map_err(|error| DocumentError::Unreadable(error.to_string()))
        })
    }
}
