//! What sessions cost with 50,000 of them: look-ups, creations that are durable, and ten thousand that expire at once.
//!
//! Everything runs on the embedded store with its fsyncs, in the temporary directory or `SESSION_DIR`, which must be on the
//! disk to be measured. Creations stand beside the floor: one process that appends as much to a file and calls fdatasync.
//! `SESSION_COUNT` (default 50,000) is how many sessions there are, `SESSION_SECONDS` (default 2) the length of a cell.

use std::{
    fs::OpenOptions,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aetherflow_schema::{
    access::Principal,
    id::{ConnectionId, SessionId},
    sessions::{
        Attributes, ClientId, EndReason, NewConnection, NodeId, Opened, Protocol, Resume, SessionHandle, SessionSink,
        Sessions,
    },
};
use aetherflow_session::{
    Clock, SessionOptions, SessionService,
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};
use hdrhistogram::Histogram;

struct Deaf;

impl SessionSink for Deaf {
    fn ended(&self, _: EndReason) {}
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn main() {
    let count = setting("SESSION_COUNT", 50_000);
    let seconds = Duration::from_secs(setting("SESSION_SECONDS", 2));
    let dir = std::env::var_os("SESSION_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!("| what | per second | p50 us | p99 us | p99.9 us | max us | over 5 ms |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    print("file, append + fdatasync, 200 B", &floor(&dir, seconds));
    runtime.block_on(measure(&dir, count, seconds));
    runtime.block_on(expiry(count));
}

/// What one cell gave.
struct Cell {
    elapsed: Duration,
    latencies_ns: Histogram<u64>,
}

impl Cell {
    fn of(latencies: impl IntoIterator<Item = u64>, elapsed: Duration) -> Self {
        let mut latencies_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a histogram");
        for latency_ns in latencies {
            latencies_ns.saturating_record(latency_ns);
        }
        Self { elapsed, latencies_ns }
    }
}

fn print(name: &str, cell: &Cell) {
    let quantile = |q: f64| cell.latencies_ns.value_at_quantile(q) as f64 / 1e3;
    println!(
        "| {name} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
        cell.latencies_ns.len() as f64 / cell.elapsed.as_secs_f64(),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0),
        cell.latencies_ns.count_between(5_000_000, u64::MAX),
    );
}

fn floor(dir: &Path, seconds: Duration) -> Cell {
    let scratch = tempfile::tempdir_in(dir).expect("a scratch directory");
    let path = scratch.path().join("floor");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < seconds {
        let begin = Instant::now();
        file.write_all(&[7; 200]).expect("a write");
        file.sync_data().expect("fdatasync");
        latencies.push(begin.elapsed().as_nanos() as u64);
    }
    Cell::of(latencies, start.elapsed())
}

fn connection(n: u64, resume: Resume) -> NewConnection {
    NewConnection {
        principal: Principal::named(&format!("user-{}", n % 10_000)).expect("a name"),
        client: ClientId::named("0123456789abcdef").expect("a name"),
        connection: ConnectionId(n),
        protocol: Protocol::NativeWebSocket,
        peer: SocketAddr::from(([127, 0, 0, 1], n as u16)),
        attributes: Attributes::from([("device".to_owned(), "phone".to_owned())]),
        resume,
        sink: Arc::new(Deaf),
    }
}

async fn start(dir: &Path, idle_after: Duration) -> Arc<SessionService> {
    let store = EmbeddedStore::open(EmbeddedOptions {
        dir: dir.to_owned(),
        fsync: true,
    })
    .expect("a store");
    let options = SessionOptions {
        introduce_within: idle_after,
        ..SessionOptions::new(NodeId::named("bench").expect("a name"))
    };
    let service = SessionService::start(options, Clock::new(), Arc::new(store), Vec::new());
    Arc::new(service.await.expect("a service"))
}

async fn open(service: &SessionService, n: u64, resume: Resume) -> Opened {
    service.open(connection(n, resume)).await.expect("a session")
}

async fn measure(dir: &Path, count: u64, seconds: Duration) {
    let scratch = tempfile::tempdir_in(dir).expect("a scratch directory");
    let service = start(scratch.path(), Duration::from_secs(3600)).await;
    let next = Arc::new(AtomicU64::new(0));
    let mut handles: Vec<Box<dyn SessionHandle>> = Vec::new();
    for creators in [1, 8, 64, 256] {
        let (cell, created) = create(&service, &next, creators, seconds, Resume::Later).await;
        print(&format!("create, durable, {creators} at a time"), &cell);
        // No more than are to be there when look-ups are measured.
        let room = (count as usize).saturating_sub(handles.len());
        handles.extend(created.into_iter().take(room));
    }
    let (cell, created) = create(&service, &next, 64, seconds, Resume::Never).await;
    print("create, not resumable, 64 at a time", &cell);
    drop(created);
    while (handles.len() as u64) < count {
        let n = next.fetch_add(1, Relaxed);
        handles.push(open(&service, n, Resume::Never).await.handle);
    }
    let ids: Arc<Vec<SessionId>> = Arc::new(handles.iter().map(|handle| handle.id()).collect());
    let name = format!("look-up among {}", ids.len());
    print(&format!("{name}, alone"), &look_up(&service, &ids, seconds, 1).await);
    print(
        &format!("{name}, 2 threads"),
        &look_up(&service, &ids, seconds, 2).await,
    );
    let stop = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn(create_until(service.clone(), next.clone(), stop.clone(), Resume::Later));
    print(
        &format!("{name}, while sessions are created"),
        &look_up(&service, &ids, seconds, 1).await,
    );
    stop.store(true, Relaxed);
    drop(busy.await);

    let begin = Instant::now();
    let mut heard = Vec::new();
    for handle in handles.iter().cycle().take(1_000_000) {
        let begin = Instant::now();
        handle.heard();
        heard.push(begin.elapsed().as_nanos() as u64);
    }
    print("heard of a session", &Cell::of(heard, begin.elapsed()));
    let begin = Instant::now();
    let statistics = service.statistics();
    println!(
        "\nstatistics of {} sessions: {:?}",
        statistics.in_state.iter().sum::<u64>(),
        begin.elapsed()
    );
}

async fn create(
    service: &Arc<SessionService>,
    next: &Arc<AtomicU64>,
    creators: usize,
    seconds: Duration,
    resume: Resume,
) -> (Cell, Vec<Box<dyn SessionHandle>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..creators)
        .map(|_| {
            tokio::spawn(create_until(
                service.clone(),
                next.clone(),
                stop.clone(),
                resume.clone(),
            ))
        })
        .collect();
    tokio::time::sleep(seconds).await;
    stop.store(true, Relaxed);
    let elapsed = begin.elapsed();
    let (mut latencies, mut handles) = (Vec::new(), Vec::new());
    for task in tasks {
        for (latency, handle) in task.await.expect("a creator") {
            latencies.push(latency);
            handles.push(handle);
        }
    }
    (Cell::of(latencies, elapsed), handles)
}

async fn create_until(
    service: Arc<SessionService>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    resume: Resume,
) -> Vec<(u64, Box<dyn SessionHandle>)> {
    let mut created = Vec::new();
    while !stop.load(Relaxed) {
        let n = next.fetch_add(1, Relaxed);
        let begin = Instant::now();
        let opened = open(&service, n, resume.clone()).await;
        created.push((begin.elapsed().as_nanos() as u64, opened.handle));
        // One that is not stored never waits, and would keep its thread.
        tokio::task::yield_now().await;
    }
    created
}

async fn look_up(service: &Arc<SessionService>, ids: &Arc<Vec<SessionId>>, seconds: Duration, threads: u64) -> Cell {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..threads)
        .map(|thread| {
            let (service, ids) = (service.clone(), ids.clone());
            tokio::task::spawn_blocking(move || {
                let mut latencies = Vec::new();
                let mut random = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let start = Instant::now();
                while start.elapsed() < seconds {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let id = ids[random as usize % ids.len()];
                    let begin = Instant::now();
                    let found = service.look_up(id).expect("a session");
                    latencies.push(begin.elapsed().as_nanos() as u64);
                    assert_eq!(found.id, id);
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a thread"));
    }
    Cell::of(latencies, begin.elapsed())
}

/// Ten thousand of the sessions expire at once, while somebody looks others up without a pause.
async fn expiry(count: u64) {
    const EXPIRING: usize = 10_000;
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let service = start(scratch.path(), Duration::from_secs(5)).await;
    let client = || ClientId::named("c").expect("a name");
    let mut kept = Vec::new();
    for n in 0..count.saturating_sub(EXPIRING as u64) {
        let opened = open(&service, n, Resume::Never).await;
        opened.handle.introduce(client()).expect("introduced");
        kept.push(opened.handle);
    }
    let mut expiring = Vec::new();
    for n in 0..EXPIRING as u64 {
        expiring.push(open(&service, count + n, Resume::Never).await.handle);
    }
    let ids: Arc<Vec<SessionId>> = Arc::new(kept.iter().map(|handle| handle.id()).collect());
    // With as many sessions, but nothing that is due: what the machine itself does to the tail.
    let calm = look_up(&service, &ids, Duration::from_secs(2), 1).await;
    print("look-up while none expires", &calm);
    let expired_at_start = service.statistics().expired;
    let cell = look_up(&service, &ids, Duration::from_secs(4), 1).await;
    let expired = service.statistics().expired - expired_at_start;
    print(&format!("look-up while {expired} expire"), &cell);
    assert_eq!(expired, EXPIRING as u64, "all of them expired while it was measured");
}
