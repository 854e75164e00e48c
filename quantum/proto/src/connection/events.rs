//! What the application hears.

use std::net::SocketAddr;

use crate::error::ConnectionError;

/// News of a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The handshake is complete; the peer is who it says.
    Connected,
    /// Messages wait in [`Connection::recv`](crate::Connection::recv).
    Readable,
    /// Datagrams wait in [`Connection::recv_datagram`](crate::Connection::recv_datagram).
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
