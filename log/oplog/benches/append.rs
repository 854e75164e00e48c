//! How fast the log takes appends, beside the floor: one process that appends to a file and calls fdatasync each time.
//!
//! Closed loop: each appender has one append outstanding and waits for its commit. Every append is an operation of its own
//! that the dedupe index is asked about, and is bound into the chain. The cells are run in turn, several rounds, and each
//! figure is the median of its rounds, since the machine's speed drifts.
//!
//! `APPEND_SECONDS` (default 2) is the length of a cell, `APPEND_ROUNDS` (default 3) their number, `APPEND_DIR` where the
//! files go (default: the temporary directory; it must be on the disk to be measured). `APPEND_PAYLOADS` and
//! `APPEND_APPENDERS` choose cells.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aetherflow_log_store::{RocksStore, StoreOptions};
use aetherflow_oplog::{LogHandle, LogOptions};
use aetherflow_schema::{
    access::{Author, Principal},
    id::{DocumentId, OpId, SessionId},
    record::{EntryDraft, EntryKind},
};
use hdrhistogram::Histogram;
use mimalloc::MiMalloc;
use uuid::Uuid;

/// The server's own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const APPENDERS: &[usize] = &[1, 8, 64, 512];
const PAYLOADS: &[usize] = &[200, 2048];

/// What one cell of the table gave.
struct Cell {
    per_second: f64,
    latencies_ns: Histogram<u64>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// A comma-separated list, to run some cells only.
fn list(name: &str, default: &[usize]) -> Vec<usize> {
    match std::env::var(name) {
        Ok(list) => list.split(',').filter_map(|value| value.trim().parse().ok()).collect(),
        Err(_) => default.to_vec(),
    }
}

fn main() {
    let (payloads, appenders) = (list("APPEND_PAYLOADS", PAYLOADS), list("APPEND_APPENDERS", APPENDERS));
    let seconds = Duration::from_secs(setting("APPEND_SECONDS", 2));
    let rounds = setting("APPEND_ROUNDS", 3) as usize;
    let dir = std::env::var_os("APPEND_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    for round in 0..rounds {
        let mut row = 0;
        let mut add = |name: String, cell: Cell| {
            if round == 0 {
                rows.push((name, Vec::new()));
            }
            rows[row].1.push(cell);
            row += 1;
        };
        for &bytes in &payloads {
            add(
                format!("file, append + fdatasync, {bytes} B"),
                floor(&dir, bytes, seconds),
            );
            for &appenders in &appenders {
                let cell = runtime.block_on(log(&dir, bytes, appenders, seconds));
                add(format!("log, {bytes} B, {appenders} appenders"), cell);
            }
        }
    }
    print(&rows);
}

/// Appends to a file and waits for the disk, one at a time.
fn floor(dir: &Path, bytes: usize, seconds: Duration) -> Cell {
    let scratch = tempfile::tempdir_in(dir).expect("a scratch directory");
    let path = scratch.path().join("floor");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    let payload = vec![7; bytes];
    let mut latencies_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a histogram");
    let start = Instant::now();
    while start.elapsed() < seconds {
        let begin = Instant::now();
        file.write_all(&payload).expect("a write");
        file.sync_data().expect("fdatasync");
        latencies_ns.saturating_record(begin.elapsed().as_nanos() as u64);
    }
    Cell {
        per_second: latencies_ns.len() as f64 / start.elapsed().as_secs_f64(),
        latencies_ns,
    }
}

async fn log(dir: &Path, bytes: usize, appenders: usize, seconds: Duration) -> Cell {
    let scratch = tempfile::tempdir_in(dir).expect("a scratch directory");
    let store = RocksStore::open(StoreOptions::new(scratch.path())).expect("a store");
    let log = LogHandle::start(Arc::new(store), LogOptions::default()).expect("a log");
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..appenders)
        .map(|n| tokio::spawn(appender(log.clone(), n as u64, bytes, stop.clone())))
        .collect();
    let start = Instant::now();
    tokio::time::sleep(seconds).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = start.elapsed();
    let mut latencies_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a histogram");
    for task in tasks {
        for latency_ns in task.await.expect("an appender") {
            latencies_ns.saturating_record(latency_ns);
        }
    }
    log.close();
    Cell {
        per_second: latencies_ns.len() as f64 / elapsed.as_secs_f64(),
        latencies_ns,
    }
}

async fn appender(log: LogHandle, n: u64, bytes: usize, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut draft = EntryDraft {
        kind: EntryKind::Change,
        document: DocumentId::from_uuid(Uuid::from_u128(u128::from(n) << 64)),
        op_id: OpId([0; 32]),
        author: Author {
            principal: Principal::anonymous(),
            session: SessionId(Uuid::nil()),
        },
        trace: None,
        payload: vec![7; bytes].into(),
    };
    // A histogram for each appender would cost as much as a tenth of what is measured.
    let mut latencies_ns = Vec::new();
    // Operation ids are hashes: as scattered as those of automerge changes.
    let mut random: u64 = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while !stop.load(Ordering::Relaxed) {
        for part in draft.op_id.0.chunks_exact_mut(8) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            part.copy_from_slice(&random.to_be_bytes());
        }
        let begin = Instant::now();
        let entry = draft.encode().expect("an entry");
        log.append(vec![entry]).await.expect("an append");
        latencies_ns.push(begin.elapsed().as_nanos() as u64);
    }
    latencies_ns
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(rows: &[(String, Vec<Cell>)]) {
    println!("| what | appends/s | p50 us | p99 us | p99.9 us | p50 / floor |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut floor_us = 0.0;
    for (name, cells) in rows {
        let quantile = |q: f64| {
            median(
                cells
                    .iter()
                    .map(|cell| cell.latencies_ns.value_at_quantile(q) as f64 / 1e3)
                    .collect(),
            )
        };
        let per_second = median(cells.iter().map(|cell| cell.per_second).collect());
        if name.starts_with("file") {
            floor_us = quantile(0.5);
        }
        println!(
            "| {name} | {per_second:.0} | {:.0} | {:.0} | {:.0} | {:.2} |",
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            quantile(0.5) / floor_us,
        );
    }
}
