//! The server as a process: the real binary, driven from outside only.

use std::{
    env,
    fs::{self, OpenOptions},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use hyper::Method;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use quantum::{Identity, IdentityError};
use rand::Rng;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::{
    http::{self, HttpError},
    wire::Endpoint,
};

/// Names the server binary.
pub const BINARY: &str = "AETHERFLOW_BIN";

/// How long a server may take until it is ready. Recovery reads the log's tail, which takes milliseconds; the rest is
/// patience with a busy machine.
const READY: Duration = Duration::from_secs(30);

/// How long any other answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Reading the whole log may take longer.
const VERIFY: Duration = Duration::from_secs(60);

/// What went wrong with the process.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no binary to test.
    #[error(
        "{BINARY} must name the aetherflow binary to be tested, and {0}. Build it with `cargo build -p aetherflow`."
    )]
    Binary(String),
    /// The process could not be started, signalled or waited for.
    #[error("cannot {what} the server: {source}")]
    Process {
        /// What could not be done.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("the server ended before it was ready: {status}. Its last words:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It runs and does not get ready.
    #[error("the server was not ready within {READY:?} ({last}). Its last words:\n{log}")]
    NotReady {
        /// What it answered last.
        last: String,
        /// The end of its log.
        log: String,
    },
    /// Its identity for Quantum cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It does not answer as documented.
    #[error("{path}: {source}")]
    Answer {
        /// What was asked for.
        path: &'static str,
        /// Why there is no answer.
        source: HttpError,
    },
    /// It answered something else.
    #[error("{path}: {what}")]
    Unexpected {
        /// What was asked for.
        path: &'static str,
        /// What came.
        what: String,
    },
}

/// How a server is started; the same again after it was killed.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Its data.
    pub data_dir: PathBuf,
    /// Where it writes what it has to say; appended to.
    pub log: PathBuf,
    /// For clients.
    pub listen: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
    /// Configuration by environment variables.
    pub env: Vec<(String, String)>,
    /// How it serves: `dev`, or `serve`.
    pub command: &'static str,
}

impl ServerOptions {
    /// Everything under `dir`, on two free ports.
    ///
    /// # Errors
    /// When there are no free ports.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            data_dir: dir.join("data"),
            log: dir.join("server.log"),
            listen: free_port()?,
            admin: free_port()?,
            env: Vec::new(),
            command: "dev",
        })
    }

    /// Asks clients who they are.
    #[must_use]
    pub fn serving(mut self) -> Self {
        self.command = "serve";
        self
    }

    /// Adds a configuration value, as `limits.frame_bytes`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        let name = format!("AETHERFLOW_{}", key.to_uppercase().replace('.', "__"));
        self.env.push((name, value.to_string()));
        self
    }
}

/// A port outside the range from which the system takes those of outgoing connections: a server that comes back to its
/// port must not find a client of the test on it.
fn free_port() -> io::Result<SocketAddr> {
    let mut last = io::ErrorKind::AddrInUse.into();
    for _ in 0..100 {
        let port = rand::rng().random_range(12_000..32_000);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The binary to be tested.
///
/// # Errors
/// When `AETHERFLOW_BIN` does not name one: a drill that silently tests nothing is worse than none.
pub fn binary() -> Result<PathBuf, ServerError> {
    let path = env::var_os(BINARY).ok_or_else(|| ServerError::Binary("it is not set".to_owned()))?;
    let path = PathBuf::from(path);
    if path.is_file() {
        Ok(path)
    } else {
        Err(ServerError::Binary(format!("there is no file {}", path.display())))
    }
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pid: Pid,
    options: ServerOptions,
    /// From the start of the process until it was ready.
    pub startup: Duration,
}

impl Server {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When there is no binary, or it does not get ready.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let child = spawn(&options)?;
        let pid = child
            .id()
            .ok_or_else(|| process("start", io::Error::other("it ended at once")))?;
        let mut server = Self {
            child,
            pid: Pid::from_raw(pid.cast_signed()),
            options,
            startup: Duration::ZERO,
        };
        let started = Instant::now();
        server.until_ready(started).await?;
        server.startup = started.elapsed();
        Ok(server)
    }

    /// Starts one and kills it after a while, ready or not: in the middle of its recovery, if the time is well chosen.
    ///
    /// # Errors
    /// When there is no binary, or the system refuses.
    pub async fn start_and_kill(options: &ServerOptions, after: Duration) -> Result<(), ServerError> {
        let mut child = spawn(options)?;
        // The moment of the kill is the experiment.
        sleep(after).await;
        child.kill().await.map_err(|source| process("kill", source))
    }

    async fn until_ready(&mut self, started: Instant) -> Result<(), ServerError> {
        loop {
            let last = match http::ask(self.options.listen, Method::GET, "/readyz", ANSWER).await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("status {}", answer.status),
                Err(error) => error.to_string(),
            };
            let ended = self.child.try_wait().map_err(|source| process("wait for", source))?;
            if let Some(status) = ended {
                let log = self.last_words();
                return Err(ServerError::Ended { status, log });
            }
            if started.elapsed() > READY {
                let log = self.last_words();
                return Err(ServerError::NotReady { last, log });
            }
            // Between two looks; the process gives no other sign.
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// How it was started.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// The same, with what clients need to know of it for Quantum.
    ///
    /// # Errors
    /// When its identity is not where it keeps it.
    pub fn endpoint(&self) -> Result<Endpoint, ServerError> {
        let folder = self.options.data_dir.join("quantum");
        let identity = Identity::from_pem_files(&folder.join("certificate.pem"), &folder.join("key.pem"))?;
        Ok(Endpoint {
            fingerprint: Some(identity.fingerprint()),
            ..Endpoint::from(self.address())
        })
    }

    /// Kills it (SIGKILL) and waits until the process is gone; returns how to start it again.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(mut self) -> Result<ServerOptions, ServerError> {
        self.child.kill().await.map_err(|source| process("kill", source))?;
        Ok(self.options)
    }

    /// Asks it to stop (SIGTERM) and waits until it has; returns how to start it again.
    ///
    /// # Errors
    /// When it does not stop, or reports a failure.
    pub async fn stop(mut self) -> Result<ServerOptions, ServerError> {
        self.signal(Signal::SIGTERM, "stop")?;
        let waited = tokio::time::timeout(READY, self.child.wait()).await;
        let status = waited
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| process("stop", source))?;
        if status.success() {
            Ok(self.options)
        } else {
            let log = self.last_words();
            Err(ServerError::Ended { status, log })
        }
    }

    /// Stops all its threads where they are (SIGSTOP). One inside a system call first comes to its end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn freeze(&self) -> Result<(), ServerError> {
        self.signal(Signal::SIGSTOP, "freeze")
    }

    fn signal(&self, signal: Signal, what: &'static str) -> Result<(), ServerError> {
        kill(self.pid, signal).map_err(|errno| process(what, errno.into()))
    }

    /// What is wrong by its own account: the reasons in `/healthz`; empty when it is well.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ailments(&self) -> Result<Vec<String>, ServerError> {
        const PATH: &str = "/healthz";
        let answer = self.ask(self.options.listen, Method::GET, PATH, ANSWER).await?;
        if answer.status == 200 {
            return Ok(Vec::new());
        }
        let body = answer.json();
        let reasons = body["reasons"].as_array().cloned().unwrap_or_default();
        if reasons.is_empty() {
            return Ok(vec![format!("status {}: {}", answer.status, answer.text())]);
        }
        Ok(reasons.iter().map(ToString::to_string).collect())
    }

    /// Has it read its whole log: what does not fit, empty when everything does; and how many entries there are.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn verify(&self) -> Result<(Vec<String>, u64), ServerError> {
        const PATH: &str = "/v1/admin/verify";
        let answer = self.ask(self.options.admin, Method::POST, PATH, VERIFY).await?;
        let body = answer.json();
        let (Some(ok), Some(entries)) = (body["ok"].as_bool(), body["entries"].as_u64()) else {
            let what = format!("status {}: {}", answer.status, answer.text());
            return Err(ServerError::Unexpected { path: PATH, what });
        };
        let mut problems: Vec<String> = body["problems"]
            .as_array()
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        if !ok && problems.is_empty() {
            problems.push("not ok, without a reason".to_owned());
        }
        Ok((problems, entries))
    }

    /// Its metrics, as Prometheus text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String, ServerError> {
        let answer = self.ask(self.options.admin, Method::GET, "/metrics", ANSWER).await?;
        Ok(answer.text())
    }

    async fn ask(
        &self,
        address: SocketAddr,
        method: Method,
        path: &'static str,
        within: Duration,
    ) -> Result<http::Answer, ServerError> {
        http::ask(address, method, path, within)
            .await
            .map_err(|source| ServerError::Answer { path, source })
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64, ServerError> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(path).map_err(|source| process("look at", source))?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse::<u64>()
                    .ok()
            })
            .map(|kib| kib << 10)
            .ok_or_else(|| process("look at", io::Error::other("it has ended")))
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = fs::read(&self.options.log).unwrap_or_default();
        let from = log.len().saturating_sub(4096);
        String::from_utf8_lossy(&log[from..]).into_owned()
    }
}

fn spawn(options: &ServerOptions) -> Result<Child, ServerError> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&options.log)
        .map_err(|source| process("write the log of", source))?;
    let errors = log.try_clone().map_err(|source| process("write the log of", source))?;
    let mut command = Command::new(binary()?);
    // What configures the test must not configure the server.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AETHERFLOW_")) {
        command.env_remove(name);
    }
    command
        .arg(options.command)
        .args(["--listen", &options.listen.to_string()])
        .args(["--admin-listen", &options.admin.to_string()])
        // Nobody calls it, and its port is one more that could be taken.
        .env("AETHERFLOW_GRPC__ENABLED", "false")
        .arg("--data-dir")
        .arg(&options.data_dir)
        .envs(options.env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| process("start", source))
}

fn process(what: &'static str, source: io::Error) -> ServerError {
    ServerError::Process { what, source }
}
