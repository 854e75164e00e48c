//! What the tasks of an endpoint share, and the task that hands datagrams to connections.
//!
//! The receiving task lives until the application has dropped the endpoint and the last connection is gone: a connection that closes
//! still answers, whoever has forgotten it.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use quantum_proto::{
    CloseCode, ConnectError, ConnectionEvent, ConnectionHandle, DatagramEvent, EndpointConfig, EndpointEvent,
    ServerConfig, Stats,
};
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};

use crate::{
    accept::Accepting,
    alarm::Alarms,
    clock::Clock,
    connection::Connection,
    options::ClientOptions,
    qlog::QlogFolder,
    receive::{ReceiveBuffer, Received},
    shared::{Arrival, Shared, lock, yield_once},
    socket::Socket,
    task::{self, Role},
};

#[cfg(test)]
mod tests;

/// A socket that does not work is asked again after this long.
const SOCKET_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Hub {
    pub(crate) clock: Clock,
    pub(crate) alarms: Alarms,
    pub(crate) accepting: Accepting,
    runtime: Handle,
    socket: Mutex<Arc<Socket>>,
    core: Mutex<Core>,
    /// The server's connections: the longest datagram they send.
    max_udp_payload: u16,
    /// Where the server's connections are logged.
    qlog: Option<QlogFolder>,
    /// Raised whenever a connection is gone.
    gone: Notify,
    /// Raised when the socket is another one, or the receiving task may end.
    changed: Notify,
}

/// What all connections of an endpoint have done, and how those stand that exist.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Those that exist, half-open ones included.
    pub connections: Vec<Stats>,
    /// The counters of those that are gone.
    pub gone: Stats,
}

impl Survey {
    /// The counters of all connections there have been. None of them ever falls.
    pub fn total(&self) -> Stats {
        let mut total = self.gone.clone();
        self.connections.iter().for_each(|stats| total.absorb(stats));
        total
    }
}

struct Core {
    endpoint: quantum_proto::Endpoint,
    /// By handle: small numbers, used again.
    connections: Vec<Option<Arc<Shared>>>,
    count: usize,
    /// Those whose handle is another one's already, though their tasks have not ended.
    leaving: Vec<Arc<Shared>>,
    /// The counters of all that are gone.
    gone: Stats,
    /// The application takes no new connections, and begins none.
    closed: bool,
    /// It has dropped the endpoint.
    abandoned: bool,
}

impl Core {
    fn find(&self, handle: ConnectionHandle) -> Option<&Arc<Shared>> {
        self.connections.get(handle.0).and_then(Option::as_ref)
    }
}

impl Hub {
    /// Begins to receive. Must be called within a tokio runtime.
    pub(crate) fn start(
        config: EndpointConfig,
        server: Option<Arc<ServerConfig>>,
        socket: Socket,
        accept_queue: usize,
        qlog: Option<QlogFolder>,
    ) -> io::Result<Arc<Self>> {
        let clock = Clock::start();
        let hub = Arc::new(Self {
            clock,
            alarms: Alarms::new(clock)?,
            accepting: Accepting::new(accept_queue),
            runtime: Handle::current(),
            socket: Mutex::new(Arc::new(socket)),
            max_udp_payload: server.as_ref().map_or(0, |server| server.transport.max_udp_payload),
            qlog,
            core: Mutex::new(Core {
                endpoint: quantum_proto::Endpoint::new(config, server),
                connections: Vec::new(),
                count: 0,
                leaving: Vec::new(),
                gone: Stats::default(),
                closed: false,
                abandoned: false,
            }),
            gone: Notify::new(),
            changed: Notify::new(),
        });
        hub.runtime.spawn(receive(hub.clone()));
        Ok(hub)
    }

    pub(crate) fn socket(&self) -> Arc<Socket> {
        lock(&self.socket).clone()
    }

    pub(crate) fn rebind(&self, socket: Socket) {
        *lock(&self.socket) = Arc::new(socket);
        self.changed.notify_one();
        for shared in self.all() {
            shared.with(|core, now| core.on_local_address_changed(now));
        }
    }

    pub(crate) fn connect(
        self: &Arc<Self>,
        options: &ClientOptions,
        remote: SocketAddr,
        server: &str,
    ) -> Result<Connection, ConnectError> {
        let config = options.config(server);
        let role = Role::Client {
            tokens: options.tokens(),
            server: server.to_owned(),
        };
        let mut core = lock(&self.core);
        if core.closed {
            return Err(ConnectError::Full);
        }
        let now = self.clock.now();
        let (handle, mut connection) = core.endpoint.connect(now, &config, remote, server)?;
        if let Some(qlog) = options.qlog() {
            qlog.begin(&mut connection, now);
        }
        let shared = self.add(&mut core, handle, *connection, role, config.transport.max_udp_payload);
        Ok(Connection::new(shared))
    }

    fn add(
        self: &Arc<Self>,
        core: &mut Core,
        handle: ConnectionHandle,
        connection: quantum_proto::Connection,
        role: Role,
        max_udp_payload: u16,
    ) -> Arc<Shared> {
        let shared = Arc::new(Shared::new(connection, self.clock));
        if core.connections.len() <= handle.0 {
            core.connections.resize(handle.0 + 1, None);
        }
        match core.connections[handle.0].replace(shared.clone()) {
            // It has drained, though its task has not ended yet.
            Some(before) => core.leaving.push(before),
            None => core.count += 1,
        }
        let task = task::run(self.clone(), handle, shared.clone(), role, max_udp_payload);
        self.runtime.spawn(task);
        shared
    }

    /// A connection's news for the endpoint.
    pub(crate) fn tell(&self, handle: ConnectionHandle, event: EndpointEvent) -> Option<ConnectionEvent> {
        lock(&self.core).endpoint.on_connection_event(handle, event)
    }

    /// The connection's task has ended.
    pub(crate) fn forget(&self, handle: ConnectionHandle, shared: &Arc<Shared>) {
        let stats = shared.core().stats();
        let mut core = lock(&self.core);
        core.gone.absorb(&stats);
        // The handle may already be another connection's.
        if core.find(handle).is_some_and(|known| Arc::ptr_eq(known, shared)) {
            core.connections[handle.0] = None;
            core.count -= 1;
            // A task that panicked has not said that its connection drained.
            core.endpoint.forget(handle);
        } else {
            core.leaving.retain(|other| !Arc::ptr_eq(other, shared));
        }
        drop(core);
        self.gone.notify_waiters();
        self.changed.notify_one();
    }

    /// A client's connection is there: whoever accepts gets it, or it is refused.
    pub(crate) fn offer(&self, connection: Connection) {
        if let Err(connection) = self.accepting.offer(connection) {
            tracing::warn!(remote = %connection.remote(), "a connection is refused: too many wait to be accepted, or nobody accepts");
            connection.close(CloseCode::REFUSED, "the server accepts no more connections");
        }
    }

    /// Takes no new connections and begins none.
    pub(crate) fn close(&self) {
        let mut core = lock(&self.core);
        core.closed = true;
        core.endpoint.refuse_new();
        drop(core);
        self.accepting.close();
    }

    /// The application has dropped the endpoint.
    pub(crate) fn abandon(&self) {
        self.close();
        self.accepting.abandon();
        lock(&self.core).abandoned = true;
        self.changed.notify_one();
    }

    pub(crate) fn all(&self) -> Vec<Arc<Shared>> {
        lock(&self.core).connections.iter().flatten().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.core).count
    }

    pub(crate) fn stats(&self) -> quantum_proto::EndpointStats {
        lock(&self.core).endpoint.stats()
    }

    pub(crate) fn survey(&self) -> Survey {
        let (connections, gone) = {
            let core = lock(&self.core);
            let all = core.connections.iter().flatten().chain(&core.leaving);
            (all.cloned().collect::<Vec<_>>(), core.gone.clone())
        };
        Survey {
            connections: connections.iter().map(|shared| shared.core().stats()).collect(),
            gone,
        }
    }

    pub(crate) async fn idle(&self) {
        loop {
            let gone = self.gone.notified();
            if self.count() == 0 {
                return;
            }
            gone.await;
        }
    }

    fn is_done(&self) -> bool {
        let core = lock(&self.core);
        core.abandoned && core.count == 0
    }

    fn on_received(self: &Arc<Self>, socket: &Socket, received: &mut Vec<Received>, batch: &mut Vec<Arrival>) {
        let now = self.clock.now();
        let mut core = lock(&self.core);
        // Datagrams for the same connection in a row are handed over together.
        let mut to: Option<ConnectionHandle> = None;
        for Received {
            remote,
            local,
            ecn,
            stride,
            mut data,
        } in received.drain(..)
        {
            while !data.is_empty() {
                let datagram = data.split_to(stride.min(data.len()));
                match core.endpoint.on_datagram(now, remote, ecn, datagram) {
                    DatagramEvent::Known(handle, event) => {
                        if to != Some(handle) {
                            core.hand_over(to, batch);
                            to = Some(handle);
                        }
                        batch.push((event, local));
                    }
                    DatagramEvent::New(handle, mut connection, event) => {
                        core.hand_over(to, batch);
                        if let Some(qlog) = &self.qlog {
                            qlog.begin(&mut connection, now);
                        }
                        let role = Role::Server { offered: false };
                        self.add(&mut core, handle, *connection, role, self.max_udp_payload);
                        // Its own task begins the handshake: the endpoint is not kept waiting for TLS.
                        to = Some(handle);
                        batch.push((event, local));
                    }
                    DatagramEvent::Reply(transmit, answer) => {
                        // If the kernel has no room it is lost, as datagrams may be.
                        let _ = socket.try_send(&transmit, local, &answer);
                    }
                    DatagramEvent::Ignored => {}
                }
            }
        }
        core.hand_over(to, batch);
    }
}

impl Core {
    fn hand_over(&self, to: Option<ConnectionHandle>, batch: &mut Vec<Arrival>) {
        match to.and_then(|handle| self.find(handle)) {
            Some(shared) => shared.push(batch),
            None => batch.clear(),
        }
    }
}

/// Ends a task with the one that holds this.
struct Companion(JoinHandle<()>);

impl Drop for Companion {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn receive(hub: Arc<Hub>) {
    let ringing = {
        let hub = hub.clone();
        Companion(tokio::spawn(async move { hub.alarms.run().await }))
    };
    let mut buffer = ReceiveBuffer::new();
    let (mut received, mut batch) = (Vec::new(), Vec::new());
    let mut socket = hub.socket();
    while !hub.is_done() {
        tokio::select! {
            result = buffer.receive(&socket, &mut received) => {
                if let Err(error) = result {
                    // An ICMP message about some datagram says nothing about the others.
                    tracing::debug!(%error, "receiving");
                    if !is_about_one(&error) {
                        tokio::time::sleep(SOCKET_PAUSE).await;
                    }
                }
                hub.on_received(&socket, &mut received, &mut batch);
                // Connections run between two batches.
                yield_once().await;
            }
            () = hub.changed.notified() => socket = hub.socket(),
        }
    }
    drop(ringing);
}

/// The error is an answer to one datagram that was sent, not a fault of the socket.
fn is_about_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted
    )
}
