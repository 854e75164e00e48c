//! The handles by which an application uses a connection.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use quantum_proto::{
    ChannelId, CloseCode, ConnectionError, ConnectionEvent, Event, Message, SendError, Stats, Time,
};
use tokio::sync::{Notify, watch};

use crate::{clock::Clock, endpoint::Endpoint, options::SendOptions};

/// Events of the endpoint that wait for the connection's task; datagrams beyond this are lost, as datagrams may be.
const INBOX_MAX: usize = 2048;

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Handshake,
    Established,
    Over(ConnectionError),
}

/// What the task of a connection and its handles share.
pub(crate) struct Shared {
    core: Mutex<quantum_proto::Connection>,
    clock: Clock,
    inbox: Mutex<VecDeque<ConnectionEvent>>,
    /// The task has something to do.
    pub(crate) work: Notify,
    readable: Notify,
    datagrams: Notify,
    writable: Notify,
    phase: watch::Sender<Phase>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(core: quantum_proto::Connection, clock: Clock) -> Self {
        Self {
            core: Mutex::new(core),
            clock,
            inbox: Mutex::new(VecDeque::new()),
            work: Notify::new(),
            readable: Notify::new(),
            datagrams: Notify::new(),
            writable: Notify::new(),
            phase: watch::Sender::new(Phase::Handshake),
        }
    }

    /// The endpoint's: a datagram came.
    pub(crate) fn push(&self, event: ConnectionEvent) {
        let mut inbox = lock(&self.inbox);
        if inbox.len() < INBOX_MAX {
            inbox.push_back(event);
        }
        if inbox.len() == 1 {
            self.work.notify_one();
        }
    }

    pub(crate) fn take_inbox(&self, into: &mut VecDeque<ConnectionEvent>) {
        std::mem::swap(&mut *lock(&self.inbox), into);
    }

    pub(crate) fn core(&self) -> MutexGuard<'_, quantum_proto::Connection> {
        lock(&self.core)
    }

    /// An action of the application, after which the task looks what there is to send.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut quantum_proto::Connection, Time) -> T) -> T {
        let result = act(&mut lock(&self.core), self.clock.now());
        self.work.notify_one();
        result
    }

    /// The core's news for the application.
    pub(crate) fn announce(&self, event: Event) {
        match event {
            Event::Connected => {
                self.phase.send_if_modified(|phase| {
                    let first = *phase == Phase::Handshake;
                    if first {
                        *phase = Phase::Established;
                    }
                    first
                });
            }
            Event::Readable => self.readable.notify_waiters(),
            Event::DatagramReadable => self.datagrams.notify_waiters(),
            Event::Writable => self.writable.notify_waiters(),
            Event::Moved(remote) => tracing::debug!(%remote, "the peer has moved"),
            Event::Closed(error) => self.end(error),
            Event::Drained => {}
        }
    }

    pub(crate) fn end(&self, error: ConnectionError) {
        self.phase.send_if_modified(|phase| {
            let first = !matches!(phase, Phase::Over(_));
            if first {
                *phase = Phase::Over(error);
            }
            first
        });
        self.readable.notify_waiters();
        self.datagrams.notify_waiters();
        self.writable.notify_waiters();
    }

    fn over(&self) -> Option<ConnectionError> {
        match &*self.phase.borrow() {
            Phase::Over(error) => Some(error.clone()),
            Phase::Handshake | Phase::Established => None,
        }
    }
}

/// Closes the connection when the last handle is gone.
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.with(|core, now| core.close(now, CloseCode::NO_ERROR, ""));
    }
}

/// A connection. Cheap to clone; closed at once when the last clone is dropped (use [`Self::finish`] to deliver everything before).
#[derive(Clone)]
pub struct Connection {
    owner: Arc<Owner>,
    /// Keeps the socket.
    endpoint: Option<Endpoint>,
}

/// Takes messages for one channel. Cheap to clone.
#[derive(Clone)]
pub struct Channel {
    connection: Connection,
    id: ChannelId,
    options: SendOptions,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendMessageError {
    /// The peer does not take such a message.
    #[error(transparent)]
    Refused(SendError),
    /// The connection is over.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { owner: Arc::new(Owner { shared }), endpoint: None }
    }

    pub(crate) fn keep(self, endpoint: Endpoint) -> Self {
        Self { endpoint: Some(endpoint), ..self }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Waits until the handshake is complete.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn established(&self) -> Result<(), ConnectionError> {
        let mut phase = self.shared().phase.subscribe();
        match phase.wait_for(|phase| *phase != Phase::Handshake).await.as_deref() {
            Ok(Phase::Over(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(ConnectionError::Closed),
        }
    }

    /// Hands over a whole message; waits while the queue is full. Cancelling before it returns means that the message was not taken.
    ///
    /// # Errors
    /// The message is longer than the peer takes, the channel does not exist, or the connection is over.
    pub async fn send(&self, channel: ChannelId, options: SendOptions, data: Bytes) -> Result<(), SendMessageError> {
        loop {
            let writable = self.shared().writable.notified();
            tokio::pin!(writable);
            // From here on no wake-up is missed.
            writable.as_mut().enable();
            match self.try_send(channel, options, data.clone()) {
                Err(SendMessageError::Refused(SendError::Blocked)) => writable.await,
                done => return done,
            }
        }
    }

    /// As [`Self::send`], without waiting.
    ///
    /// # Errors
    /// As [`Self::send`], and [`SendError::Blocked`] when the queue is full.
    pub fn try_send(&self, channel: ChannelId, options: SendOptions, data: Bytes) -> Result<(), SendMessageError> {
        let SendOptions { delivery, priority, replay_safe } = options;
        let sent = self.shared().with(|core, _| match replay_safe {
            true => core.send_replay_safe(channel, delivery, priority, data),
            false => core.send(channel, delivery, priority, data),
        });
        sent.map_err(|error| match error {
            SendError::Closed => self.shared().over().unwrap_or(ConnectionError::Closed).into(),
            error => SendMessageError::Refused(error),
        })
    }

    /// A handle for one channel.
    pub fn channel(&self, id: ChannelId, options: SendOptions) -> Channel {
        Channel { connection: self.clone(), id, options }
    }

    /// The next message of any channel. Cancelling loses nothing; several callers share the messages.
    ///
    /// # Errors
    /// The connection is over and everything that arrived was taken.
    pub async fn recv(&self) -> Result<Message, ConnectionError> {
        let shared = self.shared();
        loop {
            let readable = shared.readable.notified();
            tokio::pin!(readable);
            readable.as_mut().enable();
            if let Some(message) = self.try_recv() {
                return Ok(message);
            }
            if let Some(error) = shared.over() {
                return Err(error);
            }
            readable.await;
        }
    }

    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<Message> {
        let mut core = self.shared().core();
        let message = core.recv()?;
        // Room that was freed has to be told when it is much.
        let tell = core.wants_to_credit();
        drop(core);
        if tell {
            self.shared().work.notify_one();
        }
        Some(message)
    }

    /// Sends an unreliable datagram; the oldest waiting one gives way when there are too many.
    ///
    /// # Errors
    /// It is longer than the path or the peer takes, or the connection is over.
    pub fn send_datagram(&self, data: Bytes) -> Result<(), SendMessageError> {
        self.shared().with(|core, _| core.send_datagram(data)).map_err(|error| match error {
            SendError::Closed => self.shared().over().unwrap_or(ConnectionError::Closed).into(),
            error => SendMessageError::Refused(error),
        })
    }

    /// The next unreliable datagram.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn recv_datagram(&self) -> Result<Bytes, ConnectionError> {
        let shared = self.shared();
        loop {
            let readable = shared.datagrams.notified();
            tokio::pin!(readable);
            readable.as_mut().enable();
            if let Some(datagram) = shared.core().recv_datagram() {
                return Ok(datagram);
            }
            if let Some(error) = shared.over() {
                return Err(error);
            }
            readable.await;
        }
    }

    /// Closes at once; what was not delivered may be lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.shared().with(|core, now| core.close(now, code, reason));
    }

    /// Delivers what was sent, then closes, and returns how it ended: [`ConnectionError::Closed`] when all is well.
    pub async fn finish(&self) -> ConnectionError {
        self.shared().with(|core, now| core.finish(now));
        self.closed().await
    }

    /// Waits until the connection is over and returns why.
    pub async fn closed(&self) -> ConnectionError {
        let mut phase = self.shared().phase.subscribe();
        match phase.wait_for(|phase| matches!(phase, Phase::Over(_))).await.as_deref() {
            Ok(Phase::Over(error)) => error.clone(),
            _ => ConnectionError::Closed,
        }
    }

    /// Changes the keys of what this end sends.
    pub fn update_keys(&self) {
        self.shared().with(|core, _| core.update_keys());
    }

    /// Counters and the present state.
    pub fn stats(&self) -> Stats {
        self.shared().core().stats()
    }

    /// Where the peer is now.
    pub fn remote(&self) -> SocketAddr {
        self.shared().core().remote()
    }

    /// The application protocol that both ends agreed on.
    pub fn protocol(&self) -> Option<Vec<u8>> {
        self.shared().core().alpn()
    }

    /// The peer's certificates, DER, its own first.
    pub fn peer_certificates(&self) -> Option<Vec<Vec<u8>>> {
        self.shared().core().peer_certificates()
    }

    /// On a client that resumed, once known: whether the server took what was sent early.
    pub fn early_accepted(&self) -> Option<bool> {
        self.shared().core().early_accepted()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared().core().fmt(f)
    }
}

impl Channel {
    /// Hands over a whole message; waits while the queue is full.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn send(&self, data: Bytes) -> Result<(), SendMessageError> {
        self.connection.send(self.id, self.options, data).await
    }

    /// Which channel.
    pub fn id(&self) -> ChannelId {
        self.id
    }
}
