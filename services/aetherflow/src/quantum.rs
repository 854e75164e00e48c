//! The native protocol over Quantum: accepts connections and hands them to the gateway.
//!
//! Owns the UDP socket and the server's identity. What travels on which channel is in `schema::native::lanes`.

mod metrics;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use aetherflow_gateway::{Carrier, NativeService};
use aetherflow_runtime::{metrics::Metrics, shutdown::Shutdown, tls::TlsOptions};
use aetherflow_schema::{
    close::CloseCode,
    documents::BoxFuture,
    id::DocumentId,
    native::{PROTOCOL, lanes},
};
use anyhow::Context;
use bytes::Bytes;
use quantum::{
    ChannelId, Connection, ConnectionError, Endpoint, Fingerprint, Identity, Priority, QlogFolder, SendOptions,
    ServerOptions,
};

use self::metrics::QuantumFigures;
use crate::config::{Config, QuantumOptions};

/// A server that listens.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// What clients pin.
    pub(crate) fingerprint: Fingerprint,
}

/// Serves until the shutdown; connections then finish as those of the gateway do.
pub(crate) fn start(
    config: &Config,
    address: SocketAddr,
    native: NativeService,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> anyhow::Result<Listening> {
    let options = &config.quantum;
    let (identity, key) =
        identity(options, &config.tls, &config.data_dir, address).context("the identity for Quantum")?;
    let fingerprint = identity.fingerprint();
    // Derived from the key, so that it is the same after a restart and nobody else's: clients that were connected before
    // are told at once that their connections are gone, instead of waiting until they time out.
    let key = std::fs::read(key).context("the key for Quantum")?;
    let secret = blake3::derive_key("aetherflow 2026 quantum: tokens and stateless resets", &key);
    let mut server = ServerOptions::new(identity, [PROTOCOL]);
    server.secret = Some(secret);
    server.max_connections = options.connections;
    server.transport.max_message = lanes::MESSAGE_BYTES as u32;
    if let Some(folder) = &options.qlog {
        let opened = QlogFolder::open(folder).with_context(|| format!("quantum.qlog: {}", folder.display()));
        server.qlog = Some(opened?);
    }
    let endpoint =
        Endpoint::server(&server, address).with_context(|| format!("Quantum cannot listen on {address}/udp"))?;
    let address = endpoint.local_addr()?;
    let figures = QuantumFigures(endpoint.clone());
    metrics.register_as("quantum", |registry| registry.register_collector(Box::new(figures)));
    tokio::spawn(accept(endpoint, native, shutdown.clone()));
    Ok(Listening { address, fingerprint })
}

/// Who the server is, and the file with its key: what it shows over TLS as well, unless something else is named.
fn identity(
    options: &QuantumOptions,
    tls: &TlsOptions,
    data_dir: &Path,
    address: SocketAddr,
) -> anyhow::Result<(Identity, PathBuf)> {
    if options.identity.is_none() && tls.is_on() {
        return Ok((Identity::from_pem_files(&tls.cert, &tls.key)?, tls.key.clone()));
    }
    let folder = options.identity.clone().unwrap_or_else(|| data_dir.join("quantum"));
    let names = ["localhost".to_owned(), address.ip().to_string()];
    Ok((Identity::kept_in(&folder, names)?, folder.join("key.pem")))
}

async fn accept(endpoint: Endpoint, native: NativeService, shutdown: Shutdown) {
    loop {
        tokio::select! {
            connection = endpoint.accept() => match connection {
                Some(connection) => native.serve(Quantum(connection)),
                None => return,
            },
            () = shutdown.triggered() => return endpoint.refuse_new(),
        }
    }
}

/// A Quantum connection as the gateway wants it.
struct Quantum(Connection);

impl Carrier for Quantum {
    fn address(&self) -> SocketAddr {
        self.0.remote()
    }

    fn receive(&self) -> BoxFuture<'_, Result<Bytes, Option<u16>>> {
        Box::pin(async {
            match self.0.recv().await {
                Ok(message) => Ok(message.data),
                Err(ConnectionError::ClosedByPeer(close)) => {
                    Err(close.code.as_application().and_then(|code| code.try_into().ok()))
                }
                Err(_) => Err(None),
            }
        })
    }

    fn send(&self, document: Option<DocumentId>, message: Bytes) -> BoxFuture<'_, bool> {
        let channel = ChannelId(lanes::channel(document.as_ref()));
        let priority = match lanes::urgency(message.len()) {
            lanes::Urgency::Interactive => Priority::Interactive,
            lanes::Urgency::Normal => Priority::Normal,
            lanes::Urgency::Bulk => Priority::Bulk,
        };
        let options = SendOptions {
            priority,
            ..SendOptions::default()
        };
        Box::pin(async move { self.0.send(channel, options, message).await.is_ok() })
    }

    fn close(&self, code: CloseCode, reason: &str) -> BoxFuture<'_, ()> {
        let (code, reason) = (
            quantum::CloseCode::application(u64::from(code.code())),
            reason.to_owned(),
        );
        Box::pin(async move {
            self.0.finish_with(code, &reason).await;
        })
    }
}
