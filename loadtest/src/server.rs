//! The server as a process: the real binary, driven from outside only.

mod answers;
mod options;

use std::{
    fs, io,
    net::SocketAddr,
    process::ExitStatus,
    time::{Duration, Instant},
};

use hyper::Method;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use quantum::{Identity, IdentityError};
use tokio::{process::Child, time::sleep};

use self::options::spawn;
pub use self::options::{BINARY, ServerOptions, binary};
use crate::{
    http::{self, HttpError},
    wire::Endpoint,
};

/// How long a server may take until it is ready. Recovery reads the log's tail, which takes milliseconds; the rest is
/// patience with a busy machine.
const READY: Duration = Duration::from_secs(30);

/// How long any other answer may take.
const ANSWER: Duration = Duration::from_secs(10);

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

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = fs::read(&self.options.log).unwrap_or_default();
        let from = log.len().saturating_sub(4096);
        String::from_utf8_lossy(&log[from..]).into_owned()
    }
}

fn process(what: &'static str, source: io::Error) -> ServerError {
    ServerError::Process { what, source }
}
