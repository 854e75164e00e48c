//! What the user of the crate may choose.

use std::sync::Arc;

use quantum_proto::{
    ClientConfig, Delivery, Priority, ServerConfig, TransportConfig,
    tls::{self, TlsError, Trust},
};

use crate::{identity::Identity, qlog::QlogFolder, tokens::Tokens};

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// In which order it is delivered among those of its channel.
    pub delivery: Delivery,
    /// What it may overtake.
    pub priority: Priority,
    /// It does no harm when an attacker repeats it: it may be sent before the handshake is over (0-RTT).
    pub replay_safe: bool,
}

impl SendOptions {
    /// Ordered within its channel, ahead of everything that is not interactive, protected on lossy paths.
    pub fn interactive() -> Self {
        Self {
            priority: Priority::Interactive,
            ..Self::default()
        }
    }

    /// Ordered within its channel, behind everything else.
    pub fn bulk() -> Self {
        Self {
            priority: Priority::Bulk,
            ..Self::default()
        }
    }

    /// The same, delivered as soon as it is whole.
    pub fn unordered(self) -> Self {
        Self {
            delivery: Delivery::Unordered,
            ..self
        }
    }
}

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Who it is.
    pub identity: Identity,
    /// The application protocols it speaks, best first.
    pub protocols: Vec<Vec<u8>>,
    /// How connections behave.
    pub transport: TransportConfig,
    /// Connections at the same time, half-open ones included. Default 65,536.
    pub max_connections: usize,
    /// Connections that wait for [`Endpoint::accept`](crate::Endpoint::accept); more are refused. Default 256.
    pub accept_queue: usize,
    /// Keys tokens and stateless resets. Kept over restarts, clients of before hear at once that their connection is gone; by default
    /// random.
    pub secret: Option<[u8; 32]>,
    /// Where a qlog of each connection is written; by default nowhere.
    pub qlog: Option<QlogFolder>,
}

impl ServerOptions {
    /// The defaults.
    pub fn new<P: AsRef<[u8]>>(identity: Identity, protocols: impl IntoIterator<Item = P>) -> Self {
        Self {
            identity,
            protocols: protocols.into_iter().map(|name| name.as_ref().to_vec()).collect(),
            transport: TransportConfig::default(),
            max_connections: 65_536,
            accept_queue: 256,
            secret: None,
            qlog: None,
        }
    }

    pub(crate) fn config(&self) -> Result<ServerConfig, TlsError> {
        Ok(ServerConfig {
            tls: Arc::new(self.identity.server_config(&self.protocols)?),
            transport: Arc::new(self.transport.clone()),
        })
    }
}

/// How a client connects. Keep it, or a clone, for all connections: it remembers of each server what makes the next connection to it
/// quicker.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    config: ClientConfig,
    tokens: Arc<Tokens>,
    qlog: Option<QlogFolder>,
}

impl ClientOptions {
    /// The defaults, for the application protocols that the client speaks, best first.
    ///
    /// # Errors
    /// The trust or the protocols cannot be used, for example because there is no certificate.
    pub fn new<P: AsRef<[u8]>>(trust: &Trust, protocols: impl IntoIterator<Item = P>) -> Result<Self, TlsError> {
        let protocols: Vec<P> = protocols.into_iter().collect();
        let names: Vec<&[u8]> = protocols.iter().map(AsRef::as_ref).collect();
        let config = ClientConfig {
            token: None,
            tls: Arc::new(tls::client(trust, &names)?),
            transport: Arc::default(),
        };
        Ok(Self {
            config,
            tokens: Arc::default(),
            qlog: None,
        })
    }

    /// The same with another behaviour of the connections.
    #[must_use]
    pub fn with_transport(mut self, transport: TransportConfig) -> Self {
        self.config.transport = Arc::new(transport);
        self
    }

    /// The same, with a qlog of each connection.
    #[must_use]
    pub fn with_qlog(mut self, folder: QlogFolder) -> Self {
        self.qlog = Some(folder);
        self
    }

    pub(crate) fn qlog(&self) -> Option<&QlogFolder> {
        self.qlog.as_ref()
    }

    /// For a connection to this server.
    pub(crate) fn config(&self, server: &str) -> ClientConfig {
        ClientConfig {
            token: self.tokens.take(server),
            ..self.config.clone()
        }
    }

    pub(crate) fn tokens(&self) -> Arc<Tokens> {
        self.tokens.clone()
    }
}
