//! A real nats-server that is cut off and comes back at the same address, with what it had stored.

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aetherflow_loadtest::server::ServerOptions;
use tempfile::TempDir;

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Nats {
    process: Child,
    dir: TempDir,
    address: SocketAddr,
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // Debian's place for it, which users other than root do not have in their path.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join("nats-server"))
        .find(|program| program.is_file())
        .expect("no nats-server; install it with: sudo apt-get install --no-install-recommends nats-server")
}

fn spawn(dir: &Path, address: SocketAddr) -> Child {
    let process = Command::new(program())
        .args(["--addr", &address.ip().to_string()])
        .args(["--port", &address.port().to_string(), "--jetstream", "--store_dir"])
        .arg(dir.join("data"))
        .arg("--log")
        .arg(dir.join("log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server starts");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "nats-server does not listen: {}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

impl Nats {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let address = free_address(dir.path());
        Self {
            process: spawn(dir.path(), address),
            dir,
            address,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// From here on nobody reaches it.
    pub(crate) fn cut(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// It is back.
    pub(crate) fn restore(&mut self) {
        self.process = spawn(self.dir.path(), self.address);
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address on which nobody listens.
pub(crate) fn free_address(dir: &Path) -> SocketAddr {
    ServerOptions::new(dir).unwrap().listen
}
