//! The handles by which an application uses a connection.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use quantum_proto::{ChannelId, CloseCode, ConnectionError, ConnectionId, Message, SendError, Side, Stats};

use crate::{
    options::SendOptions,
    shared::{Phase, Shared},
};

/// Closes the connection when the last handle is gone.
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.with(|core, now| core.close(now, CloseCode::NO_ERROR, ""));
    }
}

/// A connection. Cheap to clone; closed at once when the last clone is dropped ([`Self::finish`] delivers everything before).
#[derive(Clone)]
pub struct Connection {
    owner: Arc<Owner>,
}

/// Takes messages for one channel. Cheap to clone; keeps the connection open.
#[derive(Clone, Debug)]
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
    /// The connection is over, or finishing.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            owner: Arc::new(Owner { shared }),
        }
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// Waits until the handshake is complete.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn established(&self) -> Result<(), ConnectionError> {
        match self.reaches(|phase| *phase != Phase::Handshake).await {
            Phase::Over(error) => Err(error),
            Phase::Handshake | Phase::Established => Ok(()),
        }
    }

    async fn reaches(&self, far_enough: impl FnMut(&Phase) -> bool) -> Phase {
        let mut phase = self.shared().phase.subscribe();
        match phase.wait_for(far_enough).await {
            Ok(phase) => phase.clone(),
            // Impossible while `self` holds the sender.
            Err(_) => Phase::Over(ConnectionError::Closed),
        }
    }

    /// Hands over a whole message; waits while the queue is full. When it is cancelled before it returns, the message was not taken.
    /// Before the handshake is complete messages are queued, and refused later by closing if the peer does not take them.
    ///
    /// # Errors
    /// The message is longer than the peer takes, the channel does not exist, or the connection is over.
    pub async fn send(&self, channel: ChannelId, options: SendOptions, data: Bytes) -> Result<(), SendMessageError> {
        loop {
            // From here on no wake-up is missed.
            let writable = self.shared().writable.notified();
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
        let SendOptions {
            delivery,
            priority,
            replay_safe,
        } = options;
        let sent = self.shared().with(|core, _| match replay_safe {
            true => core.send_replay_safe(channel, delivery, priority, data),
            false => core.send(channel, delivery, priority, data),
        });
        sent.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: SendError) -> SendMessageError {
        match error {
            SendError::Closed => self.shared().over().unwrap_or(ConnectionError::Closed).into(),
            error => SendMessageError::Refused(error),
        }
    }

    /// A handle for one channel.
    pub fn channel(&self, id: ChannelId, options: SendOptions) -> Channel {
        Channel {
            connection: self.clone(),
            id,
            options,
        }
    }

    /// The next message of any channel. Cancelling loses nothing; several callers share the messages.
    ///
    /// # Errors
    /// The connection is over and everything that arrived was taken.
    pub async fn recv(&self) -> Result<Message, ConnectionError> {
        loop {
            let readable = self.shared().readable.notified();
            // Asked first: what arrived before the end is there by then.
            let over = self.shared().over();
            if let Some(message) = self.try_recv() {
                return Ok(message);
            }
            if let Some(error) = over {
                return Err(error);
            }
            readable.await;
        }
    }

    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<Message> {
        let mut core = self.shared().core();
        let message = core.recv()?;
        let tell = core.has_credit_to_announce();
        drop(core);
        if tell {
            self.shared().work.notify_one();
        }
        Some(message)
    }

    /// Sends an unreliable datagram; the oldest waiting one gives way when there are too many.
    ///
    /// # Errors
    /// It is longer than [`Self::max_datagram`], or the connection is over.
    pub fn send_datagram(&self, data: Bytes) -> Result<(), SendMessageError> {
        let sent = self.shared().with(|core, _| core.send_datagram(data));
        sent.map_err(|error| self.refused(error))
    }

    /// Bytes that a datagram may have now: what the path and the peer take. 0 when it takes none, and before the handshake is complete.
    pub fn max_datagram(&self) -> usize {
        self.shared().core().max_datagram()
    }

    /// The next unreliable datagram. Cancelling loses nothing.
    ///
    /// # Errors
    /// The connection is over and everything that arrived was taken.
    pub async fn recv_datagram(&self) -> Result<Bytes, ConnectionError> {
        loop {
            let readable = self.shared().datagrams.notified();
            let over = self.shared().over();
            let datagram = self.shared().core().recv_datagram();
            if let Some(datagram) = datagram {
                return Ok(datagram);
            }
            if let Some(error) = over {
                return Err(error);
            }
            readable.await;
        }
    }

    /// Closes at once; what was not delivered may be lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.shared().with(|core, now| core.close(now, code, reason));
    }

    /// Delivers what was sent, then closes, and returns how it ended: [`ConnectionError::Closed`] when the peer has everything. What the
    /// peer sends in the meantime can be received; when both ends finish, the first that is done closes.
    pub async fn finish(&self) -> ConnectionError {
        self.finish_with(CloseCode::NO_ERROR, "").await
    }

    /// As [`Self::finish`], with a code that the peer is told at the end.
    pub async fn finish_with(&self, code: CloseCode, reason: &str) -> ConnectionError {
        self.shared().with(|core, now| core.finish_with(now, code, reason));
        self.closed().await
    }

    /// Waits until the connection is over and returns why.
    pub async fn closed(&self) -> ConnectionError {
        match self.reaches(|phase| matches!(phase, Phase::Over(_))).await {
            Phase::Over(error) => error,
            Phase::Handshake | Phase::Established => ConnectionError::Closed,
        }
    }

    /// Asks the peer for a sign of life, which shows in [`Stats::packets_received`].
    pub fn ping(&self) {
        self.shared().with(|core, _| core.ping());
    }

    /// Changes the keys of what this end sends.
    pub fn update_keys(&self) {
        self.shared().with(|core, _| core.update_keys());
    }

    /// Counters and the present state.
    pub fn stats(&self) -> Stats {
        self.shared().core().stats()
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.shared().core().side()
    }

    /// The id that packets carry now.
    pub fn id(&self) -> ConnectionId {
        self.shared().core().id()
    }

    /// Where the peer is now.
    pub fn remote(&self) -> SocketAddr {
        self.shared().core().remote()
    }

    /// The application protocol that both ends agreed on, once known.
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

    /// Of which connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}
