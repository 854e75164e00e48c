//! A real nats-server, started for a test and ended with it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// What takes longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Nats {
    process: Child,
    dir: TempDir,
    url: String,
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

impl Nats {
    /// On a free port, with JetStream, in a directory of its own.
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let process = Command::new(program())
            .args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir"])
            .arg(dir.path().join("data"))
            .arg("--ports_file_dir")
            .arg(dir.path())
            .args(["--log", &dir.path().join("log").to_string_lossy()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        let file = dir.path().join(format!("nats-server_{}.ports", process.id()));
        let mut nats = Self {
            process,
            dir,
            url: String::new(),
        };
        nats.url = nats.url_from(&file);
        nats
    }

    /// The server writes its port into a file once it listens.
    fn url_from(&mut self, file: &Path) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ports = std::fs::read_to_string(file).unwrap_or_default();
            if let Some(begin) = ports.find("nats://")
                && let Some(length) = ports[begin..].find('"')
            {
                return ports[begin..begin + length].to_owned();
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "nats-server does not listen: {}", log());
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("nats-server ended with {status}: {}", log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A client of its own, as of another node.
    pub(crate) async fn client(&self) -> async_nats::Client {
        let options = async_nats::ConnectOptions::new().no_echo();
        options.connect(&self.url).await.expect("a connection to nats-server")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
