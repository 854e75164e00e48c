//! An endpoint: a socket and its connections.

use std::{io, net::SocketAddr, sync::Arc};

use quantum_proto::{CloseCode, ConnectError, ConnectionError, EndpointConfig, EndpointStats, tls::TlsError};
use rand::RngCore;

use crate::{
    connection::Connection,
    hub::{Hub, Survey},
    options::{ClientOptions, ServerOptions},
    socket::Socket,
};

/// A socket that connects and, as a server, accepts. Cheap to clone. Connections do not need it: when the last clone is dropped no more are
/// accepted, those that wait to be are closed, and the socket is closed with the last connection.
#[derive(Clone)]
pub struct Endpoint {
    owner: Arc<Owner>,
}

struct Owner {
    hub: Arc<Hub>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.hub.abandon();
    }
}

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be bound.
    #[error("the socket: {0}")]
    Io(#[from] io::Error),
    /// The identity or the protocols cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It cannot be begun.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was begun and failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl Endpoint {
    /// Accepts connections at an address. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn server(options: &ServerOptions, addr: SocketAddr) -> Result<Self, BindError> {
        let config = options.config()?;
        let mut endpoint = EndpointConfig::new(random(), options.secret.unwrap_or_else(random));
        endpoint.max_connections = options.max_connections;
        let hub = Hub::start(
            endpoint,
            Some(Arc::new(config)),
            Socket::bind(addr)?,
            options.accept_queue,
            options.qlog.clone(),
        )?;
        Ok(Self {
            owner: Arc::new(Owner { hub }),
        })
    }

    /// Connects only. `0.0.0.0:0` or `[::]:0` will do; the latter reaches IPv4, too. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn client(addr: SocketAddr) -> Result<Self, BindError> {
        let endpoint = EndpointConfig::new(random(), random());
        let hub = Hub::start(endpoint, None, Socket::bind(addr)?, 0, None)?;
        Ok(Self {
            owner: Arc::new(Owner { hub }),
        })
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.owner.hub
    }

    /// The next connection of a client; `None` once the endpoint is closed. Cancelling loses nothing.
    ///
    /// Its handshake is complete, unless the client has been here before and sent messages early, which are then ready to be taken: the
    /// client has declared that they do no harm when somebody repeats them. [`Connection::established`] waits for the rest.
    pub async fn accept(&self) -> Option<Connection> {
        self.hub().accepting.next().await
    }

    /// Connects, and waits until the server has proved who it is.
    ///
    /// # Errors
    /// The connection cannot be begun, or fails before it is complete.
    pub async fn connect(
        &self,
        options: &ClientOptions,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<Connection, EndpointError> {
        let connection = self.connect_early(options, remote, server_name)?;
        connection.established().await?;
        Ok(connection)
    }

    /// Connects without waiting: messages sent as [`replay_safe`](crate::SendOptions::replay_safe) go out at once when the server is
    /// known from before, others when it has proved who it is.
    ///
    /// # Errors
    /// The connection cannot be begun.
    pub fn connect_early(
        &self,
        options: &ClientOptions,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<Connection, ConnectError> {
        self.hub().connect(options, remote, server_name)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.hub().socket().local_addr()
    }

    /// Goes on with another socket, for example after the network has changed: connections that this end began move to it. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound; everything stays as it was.
    pub fn rebind(&self, addr: SocketAddr) -> io::Result<()> {
        self.hub().rebind(Socket::bind(addr)?);
        Ok(())
    }

    /// Takes no new connections, and closes those that exist at once. `code`: see [`CloseCode::application`].
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.refuse_new();
        for shared in self.hub().all() {
            shared.with(|core, now| core.close(now, code, reason));
        }
    }

    /// Takes no new connections and begins none; what exists goes on, and what waits to be accepted can still be.
    pub fn refuse_new(&self) {
        self.hub().close();
    }

    /// Waits until all connections are gone, their last packets included.
    pub async fn wait_idle(&self) {
        self.hub().idle().await;
    }

    /// Connections that exist, half-open ones included.
    pub fn connections(&self) -> usize {
        self.hub().count()
    }

    /// What all connections have done, and how those stand that exist.
    pub fn survey(&self) -> Survey {
        self.hub().survey()
    }

    /// Counters of datagrams that belong to no connection.
    pub fn stats(&self) -> EndpointStats {
        self.hub().stats()
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("local_addr", &self.local_addr().ok())
            .field("connections", &self.connections())
            .finish()
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
