//! Decides which connection a datagram belongs to, and answers those that belong to none.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;

use crate::{
    config::{ClientConfig, EndpointConfig, ServerConfig},
    connection::{Connection, Transmit},
    error::ConnectError,
    time::Time,
    types::Ecn,
};

/// Names a connection between endpoint and driver; a small number that is used again after the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionHandle(pub usize);

/// What a connection tells its endpoint: pass it to [`Endpoint::on_connection_event`].
#[derive(Debug)]
pub struct EndpointEvent(());

/// What an endpoint tells a connection: pass it to [`Connection::on_event`].
#[derive(Debug)]
pub struct ConnectionEvent(());

/// What became of a datagram.
#[derive(Debug)]
pub enum DatagramEvent {
    /// It belongs to a connection: call [`Connection::on_event`].
    Known(ConnectionHandle, ConnectionEvent),
    /// It began one. The datagram is already handled.
    New(ConnectionHandle, Box<Connection>),
    /// It is answered without state.
    Reply(Transmit),
    /// It is nothing to us.
    Ignored,
}

/// See the module.
pub struct Endpoint {}

impl Endpoint {
    /// `server`: accepts connections.
    pub fn new(_config: EndpointConfig, _server: Option<Arc<ServerConfig>>) -> Self {
        todo!()
    }

    /// A datagram arrived.
    pub fn on_datagram(&mut self, _now: Time, _remote: SocketAddr, _ecn: Option<Ecn>, _datagram: BytesMut) -> DatagramEvent {
        todo!()
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        _now: Time,
        _config: &ClientConfig,
        _remote: SocketAddr,
        _server_name: &str,
    ) -> Result<(ConnectionHandle, Box<Connection>), ConnectError> {
        todo!()
    }

    /// A connection's news. An answer is to be handed to it.
    pub fn on_connection_event(&mut self, _handle: ConnectionHandle, _event: EndpointEvent) -> Option<ConnectionEvent> {
        todo!()
    }

    /// Refuses new connections from now on.
    pub fn refuse_new(&mut self) {
        todo!()
    }
}
