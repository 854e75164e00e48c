//! Quantum, a message transport over UDP for interactive applications: encrypted, reliable, in independent channels, with
//! small messages that never wait behind large ones and are protected against loss.
//!
//! ```no_run
//! use quantum::{ChannelId, ClientOptions, Endpoint, Identity, SendOptions, ServerOptions, Trust};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity::self_signed(["localhost"])?;
//! let trust = Trust::Pinned(vec![identity.fingerprint()]);
//! let server = Endpoint::server(&ServerOptions::new(identity, ["echo"]), "127.0.0.1:7400".parse()?)?;
//! tokio::spawn(async move {
//!     while let Some(connection) = server.accept().await {
//!         while let Ok(message) = connection.recv().await {
//!             let _ = connection.send(message.channel, SendOptions::default(), message.data).await;
//!         }
//!     }
//! });
//!
//! let client = Endpoint::client("0.0.0.0:0".parse()?)?;
//! let options = ClientOptions::new(&trust, ["echo"])?;
//! let connection = client.connect(&options, "127.0.0.1:7400".parse()?, "localhost").await?;
//! connection.send(ChannelId(0), SendOptions::interactive(), "hello".into()).await?;
//! println!("{:?}", connection.recv().await?.data);
//! connection.finish().await;
//! # Ok(())
//! # }
//! ```
//!
//! All protocol knowledge is in [`quantum_proto`]; this crate gives it sockets, time and tasks:
//!
//! * each endpoint has a task that receives and one that watches the clock, each connection a task that sends;
//! * handles call into the core under a lock that is never held for longer than a batch of packets takes to seal, and wait without it;
//! * everything that waits is bounded: messages to send ([`TransportConfig::send_buffer`]), messages to take
//!   ([`TransportConfig::receive_window`]), datagrams, connections to accept.

mod accept;
mod alarm;
mod clock;
mod connection;
mod endpoint;
mod hub;
mod identity;
mod options;
mod qlog;
mod receive;
mod shared;
mod socket;
mod task;
mod tokens;

pub use quantum_proto::{
    ChannelId, CloseCode, ConnectError, ConnectionError, ConnectionId, Delivery, EndpointStats, Message, MessageId,
    Priority, SendError, Side, Stats, TransportConfig, TransportError,
    tls::{Fingerprint, FingerprintError, PinError, TlsError, Trust},
};
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use self::{
    connection::{Channel, Connection, SendMessageError},
    endpoint::{BindError, Endpoint, EndpointError},
    hub::Survey,
    identity::{Identity, IdentityError, certificates_from_pem_file},
    options::{ClientOptions, SendOptions, ServerOptions},
    qlog::QlogFolder,
};
