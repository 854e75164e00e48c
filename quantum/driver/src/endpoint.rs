//! An endpoint: a socket, its connections, and the task that hands datagrams to them.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use quantum_proto::{
    CloseCode, ConnectError, ConnectionError, ConnectionEvent, ConnectionHandle, DatagramEvent, EndpointConfig,
    EndpointEvent,
};
use rand::RngCore;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

use crate::{
    clock::Clock,
    connection::{Connection, Shared},
    options::{ClientOptions, ServerOptions},
    socket::{ReceiveBuffer, Received, Socket},
    task,
};

/// What the tasks of an endpoint share.
pub(crate) struct Hub {
    pub(crate) clock: Clock,
    socket: Mutex<Arc<Socket>>,
    core: Mutex<Core>,
    accepted: mpsc::Sender<Connection>,
    /// Raised whenever a connection is gone.
    gone: Notify,
    /// Raised when the socket is another one.
    rebound: Notify,
}

struct Core {
    endpoint: quantum_proto::Endpoint,
    connections: HashMap<ConnectionHandle, Arc<Shared>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn socket(&self) -> Arc<Socket> {
        lock(&self.socket).clone()
    }

    /// A connection's news for the endpoint.
    pub(crate) fn tell(&self, handle: ConnectionHandle, event: EndpointEvent) -> Option<ConnectionEvent> {
        lock(&self.core).endpoint.on_connection_event(handle, event)
    }

    /// The connection's task has ended.
    pub(crate) fn forget(&self, handle: ConnectionHandle, shared: &Arc<Shared>) {
        let mut core = lock(&self.core);
        // The handle may already be another connection's.
        if core.connections.get(&handle).is_some_and(|known| Arc::ptr_eq(known, shared)) {
            core.connections.remove(&handle);
        }
        drop(core);
        self.gone.notify_waiters();
    }

    /// A new connection of a client is complete: whoever accepts gets it, or it is refused.
    pub(crate) fn offer(&self, connection: Connection) {
        if let Err(refused) = self.accepted.try_send(connection) {
            let connection = match refused {
                mpsc::error::TrySendError::Full(connection) | mpsc::error::TrySendError::Closed(connection) => connection,
            };
            tracing::warn!(remote = %connection.remote(), "nobody accepts connections: refused");
            connection.close(CloseCode::REFUSED, "the server accepts no more connections");
        }
    }

    fn add(
        self: &Arc<Self>,
        core: &mut Core,
        handle: ConnectionHandle,
        connection: Box<quantum_proto::Connection>,
        incoming: bool,
    ) -> Arc<Shared> {
        let shared = Arc::new(Shared::new(*connection, self.clock));
        core.connections.insert(handle, shared.clone());
        tokio::spawn(task::run(self.clone(), handle, shared.clone(), incoming));
        shared
    }

    fn on_received(self: &Arc<Self>, socket: &Socket, received: Received) {
        let Received { remote, ecn, stride, mut data } = received;
        while !data.is_empty() {
            let datagram = data.split_to(stride.min(data.len()));
            let now = self.clock.now();
            let mut core = lock(&self.core);
            match core.endpoint.on_datagram(now, remote, ecn, datagram) {
                DatagramEvent::Known(handle, event) => {
                    if let Some(shared) = core.connections.get(&handle) {
                        shared.push(event);
                    }
                }
                DatagramEvent::New(handle, connection) => {
                    self.add(&mut core, handle, connection, true);
                }
                DatagramEvent::Reply(transmit, answer) => socket.try_send(&transmit, &answer),
                DatagramEvent::Ignored => {}
            }
        }
    }
}

/// A socket that connects and, as a server, accepts. Cheap to clone; when the last clone and all connections are gone, its task
/// ends.
#[derive(Clone)]
pub struct Endpoint {
    hub: Arc<Hub>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Connection>>>,
    closed: watch::Sender<bool>,
    _receiving: Arc<Receiving>,
}

/// Ends the receiving task with the endpoint.
struct Receiving(AbortHandle);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Endpoint {
    /// Accepts connections at an address.
    ///
    /// # Errors
    /// The address cannot be bound, or the identity cannot be used. Must be called within a tokio runtime.
    pub fn server(options: ServerOptions, addr: SocketAddr) -> io::Result<Self> {
        let config = options.config().map_err(io::Error::other)?;
        let secret = options.secret.unwrap_or_else(random);
        let mut endpoint = EndpointConfig::new(random(), secret);
        endpoint.max_connections = options.max_connections;
        let core = quantum_proto::Endpoint::new(endpoint, Some(Arc::new(config)));
        Ok(Self::start(Socket::bind(addr)?, core, options.accept_queue))
    }

    /// Connects only. `0.0.0.0:0` or `[::]:0` will do.
    ///
    /// # Errors
    /// The address cannot be bound. Must be called within a tokio runtime.
    pub fn client(addr: SocketAddr) -> io::Result<Self> {
        let core = quantum_proto::Endpoint::new(EndpointConfig::new(random(), random()), None);
        Ok(Self::start(Socket::bind(addr)?, core, 1))
    }

    fn start(socket: Socket, endpoint: quantum_proto::Endpoint, queue: usize) -> Self {
        let (sender, accepted) = mpsc::channel(queue.max(1));
        let hub = Arc::new(Hub {
            clock: Clock::start(),
            socket: Mutex::new(Arc::new(socket)),
            core: Mutex::new(Core { endpoint, connections: HashMap::new() }),
            accepted: sender,
            gone: Notify::new(),
            rebound: Notify::new(),
        });
        let receiving = tokio::spawn(receive(hub.clone())).abort_handle();
        Self {
            hub,
            accepted: Arc::new(tokio::sync::Mutex::new(accepted)),
            closed: watch::Sender::new(false),
            _receiving: Arc::new(Receiving(receiving)),
        }
    }

    /// The next connection whose handshake is complete; `None` once the endpoint is closed. Cancelling loses nothing.
    pub async fn accept(&self) -> Option<Connection> {
        let mut closed = self.closed.subscribe();
        let next = async { self.accepted.lock().await.recv().await };
        tokio::select! {
            connection = next => connection.map(|connection| connection.keep(self.clone())),
            _ = closed.wait_for(|closed| *closed) => None,
        }
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

    /// Connects without waiting: messages sent as `replay_safe` go out at once when the server is known from before.
    ///
    /// # Errors
    /// The connection cannot be begun.
    pub fn connect_early(
        &self,
        options: &ClientOptions,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<Connection, EndpointError> {
        let now = self.hub.clock.now();
        let mut core = lock(&self.hub.core);
        let (handle, connection) = core.endpoint.connect(now, options.config(), remote, server_name)?;
        let shared = self.hub.add(&mut core, handle, connection, false);
        Ok(Connection::new(shared).keep(self.clone()))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.hub.socket().local_addr()
    }

    /// Goes on with another socket, for example after the network has changed: connections that this end began move to it.
    ///
    /// # Errors
    /// The address cannot be bound; everything stays as it was.
    pub fn rebind(&self, addr: SocketAddr) -> io::Result<()> {
        *lock(&self.hub.socket) = Arc::new(Socket::bind(addr)?);
        self.hub.rebound.notify_one();
        for shared in lock(&self.hub.core).connections.values() {
            shared.with(|core, now| core.on_local_address_changed(now));
        }
        Ok(())
    }

    /// Accepts nothing more and closes all connections with a code of the application.
    pub fn close(&self, code: u64, reason: &str) {
        self.refuse_new();
        let connections: Vec<_> = lock(&self.hub.core).connections.values().cloned().collect();
        for shared in connections {
            shared.with(|core, now| core.close(now, CloseCode::application(code), reason));
        }
    }

    /// Accepts nothing more; what exists goes on.
    pub fn refuse_new(&self) {
        lock(&self.hub.core).endpoint.refuse_new();
        self.closed.send_replace(true);
    }

    /// Waits until all connections are gone, their last packets included.
    pub async fn wait_idle(&self) {
        loop {
            let gone = self.hub.gone.notified();
            if lock(&self.hub.core).connections.is_empty() {
                return;
            }
            gone.await;
        }
    }

    /// Connections that exist, half-open ones included.
    pub fn connections(&self) -> usize {
        lock(&self.hub.core).connections.len()
    }

    /// Counters of datagrams that belong to no connection.
    pub fn stats(&self) -> quantum_proto::EndpointStats {
        lock(&self.hub.core).endpoint.stats()
    }
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

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Hands datagrams to connections for as long as the endpoint lives.
async fn receive(hub: Arc<Hub>) {
    let mut received = Vec::new();
    loop {
        let socket = hub.socket();
        let mut buffer = ReceiveBuffer::new(&socket);
        loop {
            let rebound = hub.rebound.notified();
            let receiving = poll_fn(|cx| buffer.poll_receive(cx, &socket, &mut received));
            tokio::select! {
                result = receiving => match result {
                    Ok(()) => received.drain(..).for_each(|received| hub.on_received(&socket, received)),
                    // An ICMP message about some datagram: says nothing about the others.
                    Err(error) => tracing::debug!(%error, "receiving"),
                },
                () = rebound => break,
            }
            // Connections run between two batches.
            yield_once().await;
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
