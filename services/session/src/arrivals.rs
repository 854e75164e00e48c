//! The book of arrivals: where sessions were, in a RocksDB of its own, for a limited time.
//!
//! **Owns** the database, and the one thread that writes to it. **Inputs**: arrivals, through a bounded queue. **Invariants**:
//! nobody waits for the book; what was noted is on disk within a second, and survives a crash of the process before that;
//! no row outlives its time by more than an hour; no more than so many rows are made in a day. So its size is bounded.
//! **On failure**: arrivals are not written down, and counted; nothing else suffers.
//!
//! A row's key is the session's id and the time, 8 bytes big-endian; its value is made by [`row`]. Ids are UUIDv7 and begin
//! with the time at which the session was made: what is too old stands together at the beginning.

mod row;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aetherflow_schema::{
    documents::BoxFuture,
    history::{Arrival, Arrivals, ArrivalsError},
    id::SessionId,
};
use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};

/// Arrivals that may wait for the thread: at worst some 600 bytes each.
const WAITING: usize = 4096;

/// Arrivals written at once.
const GROUP: usize = 1024;

/// Within this time what was written is synced.
const SYNC: Duration = Duration::from_secs(1);

/// How often what is too old is removed.
const CLEAN: Duration = Duration::from_secs(3600);

const DAY_MS: u64 = 86_400_000;
const MIB: usize = 1 << 20;

/// What the operator may choose.
#[derive(Debug, Clone)]
pub struct ArrivalOptions {
    /// The directory of the database. It is made when it does not exist.
    pub dir: PathBuf,
    /// For how long rows are kept.
    pub keep: Duration,
    /// Rows made in a day at most.
    pub per_day: u64,
}

/// Why the book was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// RocksDB's reason.
    #[error("the book of arrivals cannot be opened: {0}")]
    Database(#[from] rocksdb::Error),
    /// There is no thread to write with.
    #[error("no thread to write arrivals with: {0}")]
    Thread(#[from] io::Error),
}

/// What became of arrivals, since the start.
#[derive(Debug, Default)]
struct Figures {
    written: AtomicU64,
    dropped: AtomicU64,
}

/// See the [module](self).
pub struct ArrivalBook {
    db: Arc<DB>,
    figures: Arc<Figures>,
    notes: Option<SyncSender<Arrival>>,
    writer: Option<JoinHandle<()>>,
}

impl ArrivalBook {
    /// Opens the database, and begins to write.
    ///
    /// # Errors
    /// When that fails.
    pub fn open(options: ArrivalOptions) -> Result<Self, OpenError> {
        let db = Arc::new(DB::open(&database_options(), &options.dir)?);
        let figures = Arc::new(Figures::default());
        let (notes, queue) = sync_channel(WAITING);
        let writer = Writer {
            db: db.clone(),
            figures: figures.clone(),
            day: 0,
            today: 0,
            options,
        };
        let writer = thread::Builder::new()
            .name("arrivals".to_owned())
            .spawn(move || writer.run(&queue))?;
        Ok(Self {
            db,
            figures,
            notes: Some(notes),
            writer: Some(writer),
        })
    }

    /// Opens the database of a server that is stopped, and writes nothing to it.
    ///
    /// # Errors
    /// When that fails.
    pub fn read_only(dir: PathBuf) -> Result<Self, OpenError> {
        Ok(Self {
            db: Arc::new(DB::open_for_read_only(&Options::default(), dir, false)?),
            figures: Arc::default(),
            notes: None,
            writer: None,
        })
    }

    /// Arrivals written down, and those that were not, since the start.
    pub fn figures(&self) -> (u64, u64) {
        (self.figures.written.load(Relaxed), self.figures.dropped.load(Relaxed))
    }
}

/// What is queued is still written.
impl Drop for ArrivalBook {
    fn drop(&mut self) {
        self.notes = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes arrivals panicked");
        }
    }
}

impl Arrivals for ArrivalBook {
    fn note(&self, arrival: Arrival) {
        let taken = self.notes.as_ref().is_some_and(|notes| notes.try_send(arrival).is_ok());
        if !taken {
            self.figures.dropped.fetch_add(1, Relaxed);
        }
    }

    fn find(&self, sessions: Vec<(SessionId, u64)>) -> BoxFuture<'_, Result<Vec<Option<Arrival>>, ArrivalsError>> {
        let db = self.db.clone();
        Box::pin(async move {
            let look = move || {
                sessions
                    .iter()
                    .map(|(session, at_ms)| find(&db, *session, *at_ms))
                    .collect()
            };
            let found = tokio::task::spawn_blocking(look).await;
            found.unwrap_or_else(|error| Err(ArrivalsError(error.to_string())))
        })
    }
}

/// The last arrival of a session before that time; the first one, where clocks do not agree.
fn find(db: &DB, session: SessionId, at_ms: u64) -> Result<Option<Arrival>, ArrivalsError> {
    let failed = |error: rocksdb::Error| ArrivalsError(error.to_string());
    let mut rows = db.raw_iterator();
    rows.seek_for_prev(row::key(session, at_ms));
    if !rows.key().is_some_and(|key| key.starts_with(session.0.as_bytes())) {
        rows.status().map_err(failed)?;
        rows.seek(row::key(session, 0));
    }
    rows.status().map_err(failed)?;
    let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(session.0.as_bytes())) else {
        return Ok(None);
    };
    let arrival = row::decode(key, value).ok_or_else(|| ArrivalsError("a row is malformed".to_owned()))?;
    Ok(Some(arrival))
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options.set_write_buffer_size(4 * MIB);
    options.set_max_background_jobs(1);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(MIB);
    options.set_stats_dump_period_sec(0);
    options
}

/// The thread that writes.
struct Writer {
    db: Arc<DB>,
    figures: Arc<Figures>,
    options: ArrivalOptions,
    /// Since 1970.
    day: u64,
    /// Rows made on that day since the start.
    today: u64,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Arrival>) {
        let mut unsynced = false;
        let mut synced = Instant::now();
        let mut cleaned: Option<Instant> = None;
        loop {
            if cleaned.is_none_or(|at| at.elapsed() >= CLEAN) {
                self.log("removing old rows", |writer| writer.remove_before(writer.oldest()));
                cleaned = Some(Instant::now());
            }
            match queue.recv_timeout(if unsynced { SYNC } else { CLEAN }) {
                Ok(first) => {
                    let rest = queue.try_iter().take(GROUP - 1);
                    let group: Vec<Arrival> = std::iter::once(first).chain(rest).collect();
                    self.log("writing", |writer| writer.write(group));
                    unsynced = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if unsynced && synced.elapsed() >= SYNC {
                self.log("syncing", |writer| writer.db.flush_wal(true));
                unsynced = false;
                synced = Instant::now();
            }
        }
        self.log("syncing", |writer| writer.db.flush_wal(true));
    }

    fn log(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<(), rocksdb::Error>) {
        if let Err(error) = work(self) {
            tracing::error!(%error, what, "the book of arrivals");
        }
    }

    fn write(&mut self, group: Vec<Arrival>) -> Result<(), rocksdb::Error> {
        let day = now_ms() / DAY_MS;
        if day != self.day {
            (self.day, self.today) = (day, 0);
        }
        let room = self.options.per_day.saturating_sub(self.today);
        let taken = group.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if taken < group.len() {
            if room > 0 {
                tracing::warn!(
                    per_day = self.options.per_day,
                    "no more arrivals are written down today"
                );
            }
            self.figures.dropped.fetch_add((group.len() - taken) as u64, Relaxed);
        }
        let mut batch = WriteBatch::default();
        for arrival in &group[..taken] {
            batch.put(row::key(arrival.session, arrival.at_ms), row::encode(arrival));
        }
        self.today += taken as u64;
        let written = self.db.write_opt(batch, &WriteOptions::default());
        let figure = match &written {
            Ok(()) => &self.figures.written,
            Err(_) => &self.figures.dropped,
        };
        figure.fetch_add(taken as u64, Relaxed);
        written
    }

    /// The time before which nothing is kept.
    fn oldest(&self) -> u64 {
        now_ms().saturating_sub(u64::try_from(self.options.keep.as_millis()).unwrap_or(u64::MAX))
    }

    /// Removes the rows of sessions that were made before then: all that stand before the first id of that moment.
    fn remove_before(&self, oldest_ms: u64) -> Result<(), rocksdb::Error> {
        let end = row::first_of(oldest_ms);
        let Some(first) = self.db.iterator(IteratorMode::Start).next() else {
            return Ok(());
        };
        let (first, _) = first?;
        if *first < end[..] {
            let mut batch = WriteBatch::default();
            batch.delete_range(&first[..], &end[..]);
            self.db.write(batch)?;
            // Else the bytes would stay until other rows are made.
            self.db.compact_range(Some(&first[..]), Some(&end[..]));
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
