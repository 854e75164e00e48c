//! The configuration tree.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use aetherflow_access::AccessOptions;
use aetherflow_gateway::options::{GatewayOptions, HttpOptions, Limits, Timeouts};
use aetherflow_runtime::{
    config::{ConfigError, Invalid, Layers},
    logs::LogOptions,
    shutdown::ShutdownOptions,
    tls::TlsOptions,
};
use serde::{Deserialize, Serialize};

use crate::{cluster::ClusterConfig, grpc::GrpcOptions, history::HistoryConfig, sessions::SessionConfig};

/// Before the names of environment variables.
const PREFIX: &str = "AETHERFLOW_";

/// Variables that are not keys: the file's name, and what commands, the build and the tests are told.
const RESERVED: &[&str] = &["BIN", "CACHE", "CONFIG", "TOKEN", "TRACES"];

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where WebSocket, HTTP API and console are served, default `127.0.0.1:7400`; port 0 asks for a free one.
    pub(crate) listen: SocketAddr,
    /// Where metrics, health and administration are served, default `127.0.0.1:7402`. Not for the public.
    pub(crate) admin_listen: SocketAddr,
    /// Where everything is stored, default `$XDG_DATA_HOME/aetherflow` or `~/.local/share/aetherflow`.
    pub(crate) data_dir: PathBuf,
    pub(crate) access: AccessOptions,
    pub(crate) log: OplogOptions,
    pub(crate) documents: DocumentOptions,
    pub(crate) sessions: SessionConfig,
    pub(crate) cluster: ClusterConfig,
    pub(crate) history: HistoryConfig,
    pub(crate) logs: LogOptions,
    pub(crate) shutdown: ShutdownOptions,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) http: HttpOptions,
    pub(crate) quantum: QuantumOptions,
    pub(crate) grpc: GrpcOptions,
    pub(crate) tls: TlsOptions,
}

/// Section `[quantum]`: the native protocol over UDP, at the address and port of `listen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuantumOptions {
    /// Whether it is served, default true.
    pub(crate) enabled: bool,
    /// The folder with `certificate.pem` (its own certificate first) and `key.pem`, default `quantum` in the data directory.
    /// With `tls.cert` the default is that certificate. When there is none, a self-signed one is made there; clients then pin the
    /// fingerprint that is logged.
    #[serde(with = "optional_path")]
    pub(crate) identity: Option<PathBuf>,
    /// Connections at the same time, half-open ones included, default 10,000. Worst case: each holds up to 24 MiB of messages
    /// that are not read yet.
    pub(crate) connections: usize,
    /// A folder in which each connection writes a qlog, for qvis, default none. Worst case: some 300 bytes for each packet,
    /// never removed; for looking into a fault.
    #[serde(with = "optional_path")]
    pub(crate) qlog: Option<PathBuf>,
}

impl Default for QuantumOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            identity: None,
            connections: 10_000,
            qlog: None,
        }
    }
}

/// A path that need not be given. Written as an empty text then, so that its key is known and shown.
mod optional_path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().unwrap_or(Path::new("")).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
    }
}

/// Section `[log]`: the op log and its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OplogOptions {
    /// Partitions of a new log, default 16. A log that exists keeps its number.
    pub(crate) partitions: u16,
    /// Bytes of the store's block cache, default 64 MiB. Beside it, up to about 350 MiB of recent writes are in memory.
    pub(crate) cache_bytes: usize,
    /// Bytes of edits that may wait for the disk, default 8 MiB, each counted as 4 KiB at least.
    pub(crate) queue_bytes: usize,
    /// How long an edit may wait for room in that queue, in milliseconds, default 5,000.
    pub(crate) queue_wait_ms: u64,
    /// Whether an edit is on disk before it is acknowledged, default true. `false` LOSES acknowledged edits when the
    /// power fails; it exists so that tests of durability can be seen to fail.
    pub(crate) fsync: bool,
}

impl Default for OplogOptions {
    fn default() -> Self {
        Self {
            partitions: 16,
            cache_bytes: 64 << 20,
            queue_bytes: 8 << 20,
            queue_wait_ms: 5_000,
            fsync: true,
        }
    }
}

impl OplogOptions {
    /// What the log's handle needs of it.
    pub(crate) fn handle(&self) -> aetherflow_oplog::LogOptions {
        aetherflow_oplog::LogOptions {
            queue_bytes: self.queue_bytes,
            queue_wait: Duration::from_millis(self.queue_wait_ms),
        }
    }
}

/// Section `[documents]`: how documents are kept in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentOptions {
    /// How long a document may be left alone before its memory is given back, in milliseconds, default 60,000.
    pub(crate) idle_ms: u64,
    /// Bytes of materialized documents, about, default 512 MiB. Beyond it, documents left alone are given back at once;
    /// those in use stay.
    pub(crate) memory_bytes: u64,
    /// How long decoding or applying one large message may take, in milliseconds, default 30,000. Its sender is
    /// disconnected then; the thread it occupied is lost until it ends by itself.
    pub(crate) apply_budget_ms: u64,
}

impl Default for DocumentOptions {
    fn default() -> Self {
        Self {
            idle_ms: 60_000,
            memory_bytes: 512 << 20,
            apply_budget_ms: 30_000,
        }
    }
}

impl DocumentOptions {
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub(crate) fn apply_budget(&self) -> Duration {
        Duration::from_millis(self.apply_budget_ms)
    }
}

/// Layers of the configuration beside defaults and environment.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// A file.
    pub(crate) file: Option<PathBuf>,
    /// Keys, the flags that set them, and their values.
    pub(crate) flags: Vec<(&'static str, &'static str, String)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 7402)),
            data_dir: default_data_dir(env::var_os("XDG_DATA_HOME").as_deref().map(Path::new), env::home_dir()),
            access: AccessOptions::default(),
            log: OplogOptions::default(),
            documents: DocumentOptions::default(),
            sessions: SessionConfig::default(),
            cluster: ClusterConfig::default(),
            history: HistoryConfig::default(),
            logs: LogOptions::default(),
            shutdown: ShutdownOptions::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            http: HttpOptions::default(),
            quantum: QuantumOptions::default(),
            grpc: GrpcOptions::default(),
            tls: TlsOptions::default(),
        }
    }
}

/// Defaults, file, environment, flags: later ones win. What comes out is valid.
pub(crate) fn load(
    sources: &Sources,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut layers = Layers::new(&Config::default())?;
    if let Some(file) = &sources.file {
        layers.file(file)?;
    }
    layers.environment(PREFIX, RESERVED, variables)?;
    for (key, flag, value) in &sources.flags {
        layers.text(key, value, flag)?;
    }
    let config: Config = layers.build()?;
    config.validate()?;
    Ok(config)
}

impl Config {
    fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::default();
        invalid.unless(!self.data_dir.as_os_str().is_empty(), "data_dir", "is empty");
        invalid.unless(
            self.listen != self.admin_listen || self.listen.port() == 0,
            "admin_listen",
            "is the same as `listen`",
        );
        invalid.unless(self.log.partitions > 0, "log.partitions", "is 0");
        invalid.unless(
            self.log.queue_bytes >= 64 << 10,
            "log.queue_bytes",
            "is less than 65536",
        );
        self.access.validate(&mut invalid);
        self.sessions.validate(self.timeouts.keepalive_ms, &mut invalid);
        self.cluster.validate(&mut invalid);
        self.history.validate(&mut invalid);
        self.logs.validate(&mut invalid);
        self.shutdown.validate(&mut invalid);
        self.limits.validate(&mut invalid);
        self.timeouts.validate(&mut invalid);
        self.http.validate(&mut invalid);
        self.tls.validate(&mut invalid);
        self.grpc.validate([self.listen, self.admin_listen], &mut invalid);
        invalid.into_result()
    }

    /// What the gateway needs of it.
    pub(crate) fn gateway(&self) -> GatewayOptions {
        GatewayOptions {
            listen: self.listen,
            admin_listen: self.admin_listen,
            limits: self.limits.clone(),
            timeouts: self.timeouts.clone(),
            http: self.http.clone(),
        }
    }
}

/// As the XDG base directory specification has it; the current directory for those without a home.
fn default_data_dir(xdg: Option<&Path>, home: Option<PathBuf>) -> PathBuf {
    match (xdg.filter(|path| path.is_absolute()), home) {
        (Some(xdg), _) => xdg.join("aetherflow"),
        (None, Some(home)) => home.join(".local/share/aetherflow"),
        (None, None) => PathBuf::from("aetherflow-data"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aetherflow_runtime::config::dump;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_is_dumped_can_be_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("aetherflow.toml");
        fs::write(&file, dump(&Config::default()).unwrap()).unwrap();
        let sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        assert_eq!(load(&sources, []).unwrap(), Config::default());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("aetherflow.toml");
        fs::write(
            &file,
            "listen = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\ndata_dir = \"/a\"",
        )
        .unwrap();
        let sources = Sources {
            file: Some(file),
            flags: vec![("listen", "--listen", "127.0.0.1:5".to_owned())],
        };
        let set = variables(&[
            ("AETHERFLOW_LISTEN", "127.0.0.1:3"),
            ("AETHERFLOW_ADMIN_LISTEN", "127.0.0.1:4"),
            ("AETHERFLOW_LIMITS__QUEUE_BYTES", "4096"),
        ]);
        let config = load(&sources, set).unwrap();
        assert_eq!((config.listen.port(), config.admin_listen.port()), (5, 4));
        assert_eq!(config.data_dir, Path::new("/a"));
        assert_eq!(config.limits.queue_bytes, 4096);
    }

    #[test]
    fn a_path_that_need_not_be_given_can_be() {
        let set = variables(&[
            ("AETHERFLOW_QUANTUM__QLOG", "/logs"),
            ("AETHERFLOW_QUANTUM__IDENTITY", ""),
        ]);
        let quantum = load(&Sources::default(), set).unwrap().quantum;
        assert_eq!(
            (quantum.qlog.as_deref(), quantum.identity),
            (Some(Path::new("/logs")), None)
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value, complaint) in [
            ("AETHERFLOW_LISTEN", "nowhere", "listen"),
            ("AETHERFLOW_LISTEN", "127.0.0.1:7402", "`admin_listen`"),
            ("AETHERFLOW_GRPC__LISTEN", "127.0.0.1:7400", "`grpc.listen`"),
            ("AETHERFLOW_TLS__CERT", "/cert.pem", "`tls.key`"),
            ("AETHERFLOW_DATA_DIR", "", "`data_dir`"),
            ("AETHERFLOW_LIMITS__FRAME_BYTES", "1", "`limits.frame_bytes`"),
            ("AETHERFLOW_LIMITS__FRAMES", "1", "AETHERFLOW_LIMITS__FRAMES"),
            ("AETHERFLOW_ACCESS__ANONYMOUS", "maybe", "`access.anonymous`"),
            ("AETHERFLOW_ACCESS__OPEN", "maybe", "`access.open`"),
            (
                "AETHERFLOW_SESSIONS__RESUME_WINDOW_MS",
                "0",
                "`sessions.resume_window_ms`",
            ),
            ("AETHERFLOW_CLUSTER__NATS", "nats://a,", "`cluster.nats`"),
            ("AETHERFLOW_CLUSTER__REPLICAS", "0", "`cluster.replicas`"),
            ("AETHERFLOW_SESSIONS__EXPIRE_MS", "60000", "`sessions.expire_ms`"),
        ] {
            let error = load(&Sources::default(), variables(&[(name, value)])).unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
        }
    }

    #[test]
    fn data_is_kept_where_the_system_keeps_data() {
        let home = || Some(PathBuf::from("/home/user"));
        let xdg = Path::new("/data");
        assert_eq!(default_data_dir(Some(xdg), home()), Path::new("/data/aetherflow"));
        let relative = Path::new("data");
        let expected = Path::new("/home/user/.local/share/aetherflow");
        assert_eq!(default_data_dir(Some(relative), home()), expected);
        assert_eq!(default_data_dir(None, home()), expected);
    }
}
