//! Everybody comes back at once: the server is killed with thousands of clients on it, and started again.
//!
//! What must hold: all are back within [`BOUND`], each with the session it had; nobody is kept out for longer than the others'
//! tries explain; the server's memory stays within [`MEMORY`]; and those who are back are served. The first try of all
//! comes the moment the server is ready, which is worse than what clients do by themselves; further ones come after the
//! delays that the SDK has. Tokens are signed with ES256, as identity providers' are.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aetherflow_loadtest::{
    native::decode,
    server::{Server, ServerOptions},
};
use aetherflow_schema::native::{
    ClientFrame, Hello, PATH,
    wire::{Welcome, server_frame::Kind},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::Rng;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

const CLIENTS: usize = 5_000;

/// Within this all are back, from the moment that the server is ready. Two busy cores take a second and a half.
const BOUND: Duration = Duration::from_secs(60);

/// The server's resident memory, at most: about three times what it takes.
const MEMORY: u64 = 256 << 20;

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Before the first storm they come one after the other, so many at a time.
const AT_A_TIME: usize = 64;

type Socket = WebSocketStream<TcpStream>;

/// Signs tokens as an identity provider would.
struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    public: String,
}

impl Signer {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &random);
        Self {
            key: key.unwrap(),
            random,
            public: pair.public_key_pem(),
        }
    }

    fn token(&self, name: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let parts = [
            json!({"alg": "ES256", "typ": "JWT"}),
            json!({"sub": name, "exp": now + 3600}),
        ];
        let parts = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = self.key.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// One client: what it keeps while it is away.
struct Client {
    address: SocketAddr,
    name: String,
    token: String,
    resume: Bytes,
}

/// A client has logged in.
struct Report {
    session: Bytes,
    resumed: bool,
    attempts: u32,
    /// How often it was told something else than that there is no connection.
    refusals: u32,
    after: Duration,
}

impl Client {
    async fn attempt(&self) -> Result<(Socket, Welcome), String> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| error.to_string())?;
        let config = WebSocketConfig::default()
            .read_buffer_size(2 << 10)
            .write_buffer_size(0);
        let url = format!("ws://{}{PATH}", self.address);
        let upgraded = client_async_with_config(url, stream, Some(config)).await;
        let (mut socket, _) = upgraded.map_err(|error| error.to_string())?;
        let hello = ClientFrame::Hello(Hello {
            token: self.token.clone(),
            client_id: self.name.clone(),
            resume_token: self.resume.clone(),
            capabilities: Vec::new(),
            frame_bytes: None,
        });
        let sent = socket.send(Message::Binary(hello.encode())).await;
        sent.map_err(|error| error.to_string())?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(frame))) => match decode(&frame) {
                    Ok(Kind::Welcome(welcome)) => return Ok((socket, welcome)),
                    other => return Err(format!("{other:?}")),
                },
                Some(Ok(Message::Ping(_))) => {}
                other => return Err(format!("{other:?}")),
            }
        }
    }

    /// Tries until it has a session, with the delays of the SDK between tries.
    async fn log_in(&mut self) -> (Socket, Report) {
        let began = Instant::now();
        let (mut attempts, mut refusals) = (0, 0);
        loop {
            match timeout(ATTEMPT, self.attempt()).await {
                Ok(Ok((socket, welcome))) => {
                    self.resume = welcome.resume_token;
                    let report = Report {
                        session: welcome.session_id,
                        resumed: welcome.resumed,
                        attempts: attempts + 1,
                        refusals,
                        after: began.elapsed(),
                    };
                    return (socket, report);
                }
                Ok(Err(why)) if !why.contains("refused") => refusals += 1,
                Ok(Err(_)) | Err(_) => {}
            }
            let doubled = Duration::from_millis(250 << attempts.min(7)).min(Duration::from_secs(30));
            let jitter = rand::rng().random_range(0.5..=1.0);
            sleep(doubled.mul_f64(jitter)).await;
            attempts += 1;
        }
    }
}

/// Answers pings until the connection ends.
async fn hold(socket: &mut Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}

/// Asks, and waits for the answer.
async fn is_served(socket: &mut Socket) -> bool {
    let ping = ClientFrame::Ping(7);
    if socket.send(Message::Binary(ping.encode())).await.is_err() {
        return false;
    }
    loop {
        match timeout(ATTEMPT, socket.next()).await {
            Ok(Some(Ok(Message::Binary(frame)))) => match decode(&frame) {
                Ok(Kind::Pong(_)) => return true,
                Ok(_) => {}
                Err(_) => return false,
            },
            Ok(Some(Ok(_))) => {}
            _ => return false,
        }
    }
}

/// A client's life: an ordinary login, the end of the server, the storm, and one question.
async fn live(
    mut client: Client,
    number: usize,
    doors: Arc<Semaphore>,
    mut storm: watch::Receiver<bool>,
    reports: mpsc::Sender<(usize, Report)>,
) -> bool {
    let door = doors.acquire().await.unwrap();
    let (mut socket, report) = client.log_in().await;
    drop(door);
    reports.send((number, report)).await.unwrap();
    hold(&mut socket).await;
    drop(socket);
    storm.wait_for(|begun| *begun).await.unwrap();
    let (mut socket, report) = client.log_in().await;
    reports.send((number, report)).await.unwrap();
    // Until all are back, everybody stays.
    tokio::select! {
        () = hold(&mut socket) => return false,
        _ = storm.wait_for(|begun| !*begun) => {}
    }
    is_served(&mut socket).await
}

/// Waits until all have reported, for so long at most.
async fn gather(reports: &mut mpsc::Receiver<(usize, Report)>, within: Duration, what: &str) -> Vec<Report> {
    let mut all: Vec<Option<Report>> = std::iter::repeat_with(|| None).take(CLIENTS).collect();
    let gathering = async {
        for _ in 0..CLIENTS {
            let (number, report) = reports.recv().await.unwrap();
            all[number] = Some(report);
        }
    };
    let done = timeout(within, gathering).await;
    let missing = all.iter().filter(|report| report.is_none()).count();
    assert!(
        done.is_ok(),
        "{what}: {missing} of {CLIENTS} are not there after {within:?}"
    );
    all.into_iter().flatten().collect()
}

fn raise_open_files() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = CLIENTS as u64 + 1_000;
    assert!(
        hard >= needed,
        "{CLIENTS} clients need {needed} open files, and {hard} are allowed (`ulimit -Hn`)"
    );
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_back_with_their_sessions_after_a_kill() {
    raise_open_files();
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new();
    let key = dir.path().join("provider.pem");
    fs::write(&key, &signer.public).unwrap();
    let options = ServerOptions::new(dir.path()).unwrap().serving();
    let options = options.set("access.keys", key.display());
    let server = Server::start(options).await.unwrap();

    let (reporting, mut reports) = mpsc::channel(CLIENTS);
    let (storm, begins) = watch::channel(false);
    let doors = Arc::new(Semaphore::new(AT_A_TIME));
    let mut clients = JoinSet::new();
    let began = Instant::now();
    for number in 0..CLIENTS {
        let name = format!("user-{number}");
        let client = Client {
            address: server.address(),
            token: signer.token(&name),
            name,
            resume: Bytes::new(),
        };
        clients.spawn(live(client, number, doors.clone(), begins.clone(), reporting.clone()));
    }
    let before = gather(&mut reports, 2 * BOUND, "at first").await;
    let (calm, calm_bytes) = (began.elapsed(), server.resident_bytes().unwrap());
    assert!(before.iter().all(|report| !report.resumed));

    let options = server.kill().await.unwrap();
    let server = Server::start(options).await.unwrap();
    let startup = server.startup;
    storm.send(true).unwrap();
    let after = gather(&mut reports, BOUND, "in the storm").await;
    let mut times: Vec<Duration> = after.iter().map(|report| report.after).collect();
    times.sort();
    let attempts = after.iter().map(|report| report.attempts).max().unwrap();
    let refusals: u32 = after.iter().map(|report| report.refusals).sum();
    let bytes = server.resident_bytes().unwrap();
    println!(
        "{CLIENTS} clients: logged in within {calm:?} ({} MiB), server ready again after {startup:?}, all back after {:?} \
         (half after {:?}), at most {attempts} attempts, {refusals} refusals, {} MiB",
        calm_bytes >> 20,
        times[CLIENTS - 1],
        times[CLIENTS / 2],
        bytes >> 20,
    );
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(
            after.resumed && after.session == before.session,
            "client {number} has lost its session"
        );
    }
    assert!(calm_bytes.max(bytes) <= MEMORY, "{} MiB", calm_bytes.max(bytes) >> 20);

    storm.send(false).unwrap();
    let served = timeout(BOUND, clients.join_all()).await.unwrap();
    assert_eq!(
        served.iter().filter(|served| !**served).count(),
        0,
        "not served afterwards"
    );
}
