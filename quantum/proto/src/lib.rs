//! Quantum, a message transport over UDP, as a state machine without I/O, clock or ambient randomness.
//!
//! The wire format is specified in `quantum/SPEC.md`. A driver owns the sockets and timers:
//!
//! * [`Endpoint`] decides to which connection a datagram belongs, and answers those that belong to none.
//! * [`Connection`] is one connection. Feed it with `on_datagram` and `on_timeout`; after that, and after
//!   every call of the application, take what it wants sent with `poll_transmit` until it has nothing, what it tells the endpoint
//!   with `poll_endpoint_event`, what it tells the application with `poll_event`, and the time of its next timer with
//!   `timeout`.
//!
//! Time is a [`Time`] that the driver passes in; it never goes back.

mod bbr;
mod channel;
mod config;
mod connection;
mod crypto;
mod endpoint;
mod error;
mod fec;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod header;
mod number;
mod params;
mod path;
mod pmtu;
mod qlog;
mod ranges;
mod receipt;
mod recovery;
mod stats;
mod time;
pub mod tls;
mod token;
mod types;
mod varint;

pub use self::{
    config::{ClientConfig, EndpointConfig, ServerConfig, TransportConfig},
    connection::{Connection, Event, Transmit},
    endpoint::{ConnectionEvent, ConnectionHandle, DatagramEvent, Endpoint, EndpointEvent, EndpointStats},
    error::{CloseCode, ConnectError, ConnectionError, SendError, TransportError},
    frame::Frame,
    header::{Flags, Header},
    number::PacketNumber,
    qlog::QlogSink,
    stats::Stats,
    time::Time,
    types::{ChannelId, ConnectionId, Delivery, Ecn, Message, MessageId, Priority, Side},
};
