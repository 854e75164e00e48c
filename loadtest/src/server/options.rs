//! How a server is started.

use std::{
    env,
    fs::OpenOptions,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use rand::Rng;
use tokio::process::{Child, Command};

use super::{ServerError, process};

/// Names the server binary.
pub const BINARY: &str = "AETHERFLOW_BIN";

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

pub(super) fn spawn(options: &ServerOptions) -> Result<Child, ServerError> {
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
