//! Reading the data directory of a server that is stopped.

use std::sync::Arc;

use aetherflow_log_store::{OpenError, RocksStore, StoreOptions};
use aetherflow_oplog::LogHandle;
use aetherflow_schema::history::{Arrival, Arrivals, Authored, AuthoredQuery, HISTORY_PAGE, NoArrivals};
use aetherflow_session::arrivals::ArrivalBook;
use anyhow::Context;

use super::{Row, Whence, complain};
use crate::{config::Config, history::book_in};

pub(super) async fn read(config: &Config, query: AuthoredQuery, limit: usize) -> anyhow::Result<(Vec<Row>, bool)> {
    let dir = config.data_dir.join("log");
    anyhow::ensure!(dir.join("rocksdb").is_dir(), "there is no log in {}", dir.display());
    let options = StoreOptions {
        cache_bytes: config.log.cache_bytes,
        ..StoreOptions::new(&dir)
    };
    let store = RocksStore::open(options).map_err(|error| match error {
        OpenError::InUse(..) => anyhow::anyhow!("a server has {} open: ask it, with --url", dir.display()),
        error => error.into(),
    })?;
    let log = LogHandle::start(Arc::new(store), config.log.handle())?;
    let book = book_in(&config.data_dir);
    let arrivals: Arc<dyn Arrivals> = match book.is_dir() {
        true => Arc::new(ArrivalBook::read_only(book).context("where sessions came from")?),
        false => Arc::new(NoArrivals),
    };
    let read = pages(&log, &*arrivals, query, limit).await;
    log.close();
    read
}

async fn pages(
    log: &LogHandle,
    arrivals: &dyn Arrivals,
    mut query: AuthoredQuery,
    limit: usize,
) -> anyhow::Result<(Vec<Row>, bool)> {
    let mut rows = Vec::new();
    loop {
        query.limit = HISTORY_PAGE.min(limit - rows.len());
        let page = log.authored(&query)?;
        let times = page.entries.iter().map(|entry| (entry.session, time(entry)));
        let found = arrivals.find(times.collect()).await?;
        rows.extend(
            page.entries
                .iter()
                .zip(found)
                .map(|(entry, arrival)| row(entry, arrival)),
        );
        query.after = page.next;
        if page.next.is_none() || rows.len() >= limit {
            complain(&page.unreadable.iter().map(|partition| partition.0).collect::<Vec<_>>());
            return Ok((rows, page.next.is_some()));
        }
    }
}

fn time(entry: &Authored) -> u64 {
    entry.position.committed_us / 1000
}

fn row(entry: &Authored, arrival: Option<Arrival>) -> Row {
    Row {
        time: time(entry),
        document_id: entry.document.to_string(),
        offset: entry.position.offset.0,
        kind: entry.kind.name().to_owned(),
        bytes: entry.bytes,
        session: entry.session.to_string(),
        via: arrival.as_ref().map(|arrival| arrival.via.name().to_owned()),
        whence: arrival.map(|arrival| Whence {
            address: arrival.address.ip().to_string(),
            port: arrival.address.port(),
            client: arrival.client,
            agent: arrival.agent,
        }),
    }
}
