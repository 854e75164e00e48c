//! What the user of the crate may choose.

use std::sync::Arc;

use quantum_proto::{ClientConfig, Delivery, Priority, ServerConfig, TransportConfig};

use crate::identity::{Identity, IdentityError, Trust};

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
        Self { priority: Priority::Interactive, ..Self::default() }
    }

    /// Ordered within its channel, behind everything else.
    pub fn bulk() -> Self {
        Self { priority: Priority::Bulk, ..Self::default() }
    }

    /// The same, delivered as soon as it is whole.
    pub fn unordered(self) -> Self {
        Self { delivery: Delivery::Unordered, ..self }
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
    /// Connections at the same time.
    pub max_connections: usize,
    /// Connections that wait for [`Endpoint::accept`](crate::Endpoint::accept); more are refused. Default 256.
    pub accept_queue: usize,
    /// Keys stateless resets. Kept over restarts, clients of before hear at once that their connection is gone; by default random.
    pub secret: Option<[u8; 32]>,
}

impl ServerOptions {
    /// The defaults.
    pub fn new<P: AsRef<str>>(identity: Identity, protocols: impl IntoIterator<Item = P>) -> Self {
        Self {
            identity,
            protocols: protocols.into_iter().map(|name| name.as_ref().as_bytes().to_vec()).collect(),
            transport: TransportConfig::default(),
            max_connections: 65_536,
            accept_queue: 256,
            secret: None,
        }
    }

    pub(crate) fn config(&self) -> Result<ServerConfig, IdentityError> {
        Ok(ServerConfig {
            tls: self.identity.server_config(&self.protocols)?,
            transport: Arc::new(self.transport.clone()),
        })
    }
}

/// How a client connects. Keep it for several connections to the same server: it remembers what makes the next one quicker.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    config: ClientConfig,
}

impl ClientOptions {
    /// The defaults, for the application protocols that the client speaks, best first.
    ///
    /// # Errors
    /// The trust cannot be used, for example because there are no certificates in it.
    pub fn new<P: AsRef<str>>(trust: Trust, protocols: impl IntoIterator<Item = P>) -> Result<Self, IdentityError> {
        Self::with_transport(trust, protocols, TransportConfig::default())
    }

    /// With another behaviour of the connection.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_transport<P: AsRef<str>>(
        trust: Trust,
        protocols: impl IntoIterator<Item = P>,
        transport: TransportConfig,
    ) -> Result<Self, IdentityError> {
        let protocols: Vec<Vec<u8>> = protocols.into_iter().map(|name| name.as_ref().as_bytes().to_vec()).collect();
        let tls = trust.client_config(&protocols)?;
        Ok(Self { config: ClientConfig { tls, transport: Arc::new(transport), token: None } })
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }
}
