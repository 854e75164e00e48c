//! A server that asks everybody who they are, and tokens for it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aetherflow_access::{
    key::Key,
    token::{Claims, Ours, mint},
};
use aetherflow_schema::id::DocumentId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::http::{self, Answer};

/// The longest that anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits, or fails.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) grpc: SocketAddr,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("{}", &log[log.len().saturating_sub(8000)..]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn command(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aetherflow"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AETHERFLOW_") {
            command.env_remove(name);
        }
    }
    command
        .env("AETHERFLOW_DATA_DIR", folder.path().join("data"))
        .env("AETHERFLOW_ACCESS__KEYS", folder.path().join("app.key"))
        .env("AETHERFLOW_ACCESS__SIGNING_KEY", folder.path().join("ours.key"))
        .env("AETHERFLOW_ACCESS__AUDIENCE", "aetherflow")
        .env("AETHERFLOW_ACCESS__LEEWAY_S", "0")
        .env("AETHERFLOW_ACCESS__ANONYMOUS", "true");
    command
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With other configuration, as environment variables.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        Self::prepared(tempfile::tempdir().unwrap(), variables).await
    }

    /// In a folder with files for it.
    pub(crate) async fn prepared(folder: TempDir, variables: &[(&str, &str)]) -> Self {
        fs::write(folder.path().join("app.key"), [1; 32]).unwrap();
        fs::write(folder.path().join("ours.key"), [2; 32]).unwrap();
        let [address, admin, grpc] = std::array::from_fn(|_| free_port());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        // What the environment says, no file changes.
        let by_file = variables.iter().any(|(name, _)| *name == "AETHERFLOW_CONFIG");
        let filter = (!by_file).then_some(("AETHERFLOW_LOGS__FILTER", "debug"));
        let child = command(&folder)
            .arg("serve")
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .args(["--grpc-listen", &grpc.to_string()])
            .envs(filter)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            address,
            admin,
            grpc,
            folder,
        };
        let started = Instant::now();
        while !http::is_ready(admin).await {
            let ended = server.child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < DEADLINE,
                "not ready: {}",
                server.log()
            );
            sleep(Duration::from_millis(10)).await;
        }
        server
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Runs another command of the same binary with the same configuration.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// The same with more configuration, as environment variables.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> String {
        let ran = said(command(&self.folder).envs(variables.iter().copied()).args(arguments));
        ran.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// The same of a command that may fail; then what it says.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        said(command(&self.folder).args(arguments))
    }

    /// As a crash would end it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it read its configuration again.
    pub(crate) fn hang_up(&self) {
        let sent = Command::new("kill")
            .args(["-HUP", &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        within(path, http::ask(self.address, method, path, token, body)).await
    }

    /// A document of the owner's, with something in it, on which the others have their roles.
    pub(crate) async fn document(&self) -> DocumentId {
        let owner = token("owner");
        let made = self
            .ask("POST", "/v1/documents", Some(&owner), Some(json!({"n": 1})))
            .await;
        assert_eq!(made.status, 201, "{}", made.body);
        let id = made.body["documentId"].as_str().unwrap().to_owned();
        for role in ["editor", "viewer"] {
            let path = format!("/v1/documents/{id}/permissions/{role}");
            let granted = self.ask("PUT", &path, Some(&owner), Some(json!({"role": role}))).await;
            assert_eq!(granted.status, 200, "{}", granted.body);
        }
        id.parse().unwrap()
    }

    /// How many changes a document has.
    pub(crate) async fn changes(&self, document: &DocumentId) -> u64 {
        let path = format!("/v1/documents/{document}/history");
        let answer = self.ask("GET", &path, Some(&token("owner")), None).await;
        answer.body["total"].as_u64().unwrap_or(0)
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A good token of the application's for somebody of this name.
pub(crate) fn token(name: &str) -> String {
    signed(&claims(name, 600), 1)
}

/// What a token of the application's says.
pub(crate) fn claims(name: &str, seconds: i64) -> Value {
    let mut claims = serde_json::to_value(Claims::new(name, now_s(), 1, Ours::default())).unwrap();
    claims["exp"] = now_s().saturating_add_signed(seconds).into();
    claims["aud"] = "aetherflow".into();
    claims
}

/// Signed with the key whose bytes are all this one.
pub(crate) fn signed(claims: &Value, key: u8) -> String {
    let key = Key::secret(&[key; 32], None).unwrap();
    mint(&key, &serde_json::from_value(claims.clone()).unwrap()).unwrap()
}

/// What a command prints, or says when it fails.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}
