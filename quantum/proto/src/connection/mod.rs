//! One connection, as a state machine.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::{
    endpoint::{ConnectionEvent, EndpointEvent},
    error::{CloseCode, ConnectionError, SendError},
    stats::Stats,
    time::Time,
    types::{ChannelId, ConnectionId, Delivery, Ecn, Message, Priority, Side},
};

/// Datagrams to send: `segment` bytes each, the last may be shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub remote: SocketAddr,
    /// The datagrams, one behind the other. (Empty in what `poll_transmit` returns: it appends to the caller's buffer.)
    pub bytes: usize,
    /// Length of each but the last; equal to `bytes` for one.
    pub segment: usize,
    /// To mark them with.
    pub ecn: Option<Ecn>,
}

/// What the application hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The handshake is complete; the peer is who it says.
    Connected,
    /// Messages wait in [`Connection::recv`].
    Readable,
    /// Datagrams wait in [`Connection::recv_datagram`].
    DatagramReadable,
    /// A sender that was blocked may try again.
    Writable,
    /// The peer's address is another one now.
    Moved(SocketAddr),
    /// The connection is over; nothing follows but [`Event::Drained`].
    Closed(ConnectionError),
    /// The connection may be dropped.
    Drained,
}

/// See the module and the crate's documentation for the calling contract.
#[derive(Debug)]
pub struct Connection {}

impl Connection {
    /// What the endpoint found for it.
    pub fn on_event(&mut self, _now: Time, _event: ConnectionEvent) {
        todo!()
    }

    /// The timer that [`Self::timeout`] named has expired. Harmless when called too early.
    pub fn on_timeout(&mut self, _now: Time) {
        todo!()
    }

    /// When [`Self::on_timeout`] is to be called.
    pub fn timeout(&self) -> Option<Time> {
        todo!()
    }

    /// Appends up to `max_datagrams` datagrams of equal size to `out`. `None`: nothing to send now.
    pub fn poll_transmit(&mut self, _now: Time, _max_datagrams: usize, _out: &mut Vec<u8>) -> Option<Transmit> {
        todo!()
    }

    /// What the application should hear.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// What the endpoint must hear.
    pub fn poll_endpoint_event(&mut self) -> Option<EndpointEvent> {
        todo!()
    }

    /// Queues a whole message.
    ///
    /// # Errors
    /// See [`SendError`]; the message is not taken.
    pub fn send(
        &mut self,
        _now: Time,
        _channel: ChannelId,
        _delivery: Delivery,
        _priority: Priority,
        _data: Bytes,
    ) -> Result<(), SendError> {
        todo!()
    }

    /// As [`Self::send`], for a message that does no harm when an attacker repeats it: it may go into 0-RTT packets.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_replay_safe(
        &mut self,
        _now: Time,
        _channel: ChannelId,
        _delivery: Delivery,
        _priority: Priority,
        _data: Bytes,
    ) -> Result<(), SendError> {
        todo!()
    }

    /// The next message.
    pub fn recv(&mut self) -> Option<Message> {
        todo!()
    }

    /// Queues an unreliable datagram; the oldest waiting one is dropped when there are too many.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_datagram(&mut self, _data: Bytes) -> Result<(), SendError> {
        todo!()
    }

    /// The next datagram.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        todo!()
    }

    /// Closes at once: what was not delivered may be lost.
    pub fn close(&mut self, _now: Time, _code: CloseCode, _reason: &str) {
        todo!()
    }

    /// Takes no more messages, and closes once everything was acknowledged.
    pub fn finish(&mut self, _now: Time) {
        todo!()
    }

    /// This end has another local address now (client only): takes a fresh id and tells the peer.
    pub fn on_local_address_changed(&mut self, _now: Time) {
        todo!()
    }

    /// Changes the keys of what this end sends.
    pub fn update_keys(&mut self) {
        todo!()
    }

    /// Counters and the present state.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        todo!()
    }

    /// Where the peer is now.
    pub fn remote(&self) -> SocketAddr {
        todo!()
    }

    /// The id that packets carry now.
    pub fn id(&self) -> ConnectionId {
        todo!()
    }

    /// The peer's certificates, DER, its own first.
    pub fn peer_certificates(&self) -> Option<Vec<Vec<u8>>> {
        todo!()
    }

    /// On a client that resumed, once known: whether the server took what was sent early.
    pub fn early_accepted(&self) -> Option<bool> {
        todo!()
    }
}
