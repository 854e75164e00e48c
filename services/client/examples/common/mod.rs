//! What the examples have in common: flags that say which server, and how to trust it.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use aetherflow_client::{Address, Carrier, DocumentId, Fallback, Fingerprint, Link, Options, Scheme, Trust};
use anyhow::Context;

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Where the server is: ws://, wss:// or quantum://, host and port. The default is that of `aetherflow dev`.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "ws://127.0.0.1:7400",
        env = "AETHERFLOW_SERVER"
    )]
    pub(crate) server: String,

    /// For quantum:// with a self-signed certificate: its fingerprint, which the server prints when it starts.
    #[arg(long, global = true, value_name = "SHA256", env = "AETHERFLOW_FINGERPRINT")]
    fingerprint: Option<Fingerprint>,

    /// For quantum://: where to go by WebSocket if UDP is blocked. The default is wss:// at the same host and port.
    #[arg(long, global = true, value_name = "URL")]
    fallback: Option<String>,

    /// A token that says who you are, if the server asks for one.
    #[arg(long, global = true, env = "AETHERFLOW_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl ServerArgs {
    pub(crate) fn options(&self, store: Option<PathBuf>) -> anyhow::Result<Options> {
        let address: Address = self.server.parse()?;
        anyhow::ensure!(
            self.fingerprint.is_none() || address.scheme != Scheme::WebSocket,
            "--fingerprint is of no use with ws://, where servers have no certificates; use --server quantum://{}:{}",
            address.host,
            address.port
        );
        if let Some(folder) = store.as_ref().and_then(|store| store.parent()) {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Options {
            token: self.token.clone().unwrap_or_default(),
            store,
            trust: self
                .fingerprint
                .map_or(Trust::System, |pin| Trust::Fingerprints(vec![pin])),
            fallback: self.fallback.clone().map_or(Fallback::Same, Fallback::At),
            ..Options::default()
        })
    }
}

/// The document that a text names: its URL, or a name that everybody who types it shares.
pub(crate) fn document(kind: &str, text: &str) -> anyhow::Result<DocumentId> {
    if text.starts_with("automerge:") {
        return text.parse().with_context(|| format!("{text} is no document"));
    }
    let id = DocumentId::from_bytes(format!("{kind}/{text}").as_bytes());
    id.with_context(|| format!("{text:?} is too long for a name"))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A key that nobody else makes, and that sorts by time: things made by people who do not hear of one another never
/// replace each other.
pub(crate) fn new_key() -> String {
    format!("{:013}-{:08x}", now_ms(), rand::random::<u32>())
}

/// How the connection is, for people.
pub(crate) fn describe(link: &Link) -> String {
    match link {
        Link::Offline { reason, .. } => format!("offline ({reason})"),
        Link::Connecting => "connecting".to_owned(),
        Link::Online {
            carrier: Carrier::Quantum,
            ..
        } => "connected over Quantum".to_owned(),
        Link::Online {
            carrier: Carrier::WebSocket,
            ..
        } => "connected over WebSocket".to_owned(),
        Link::Stopped { reason, .. } => format!("the server does not want this client: {reason}"),
        Link::Closed => "closed".to_owned(),
    }
}
