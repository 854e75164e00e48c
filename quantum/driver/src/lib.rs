//! Quantum, a message transport over UDP for interactive applications: encrypted, reliable, in independent channels, with
//! small messages that never wait behind large ones and are protected against loss.
//!
//! ```no_run
//! use quantum::{ChannelId, ClientOptions, Endpoint, Identity, SendOptions, ServerOptions, Trust};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity::self_signed(["localhost"])?;
//! let trust = Trust::Fingerprint(identity.fingerprint());
//! let server = Endpoint::server(ServerOptions::new(identity, ["echo"]), "127.0.0.1:7400".parse()?)?;
//! tokio::spawn(async move {
//!     while let Some(connection) = server.accept().await {
//!         while let Ok(message) = connection.recv().await {
//!             let _ = connection.send(message.channel, SendOptions::default(), message.data).await;
//!         }
//!     }
//! });
//!
//! let client = Endpoint::client("0.0.0.0:0".parse()?)?;
//! let options = ClientOptions::new(trust, ["echo"])?;
//! let connection = client.connect(&options, "127.0.0.1:7400".parse()?, "localhost").await?;
//! connection.send(ChannelId(0), SendOptions::interactive(), "hello".into()).await?;
//! println!("{:?}", connection.recv().await?.data);
//! connection.finish().await;
//! # Ok(())
//! # }
//! ```
//!
//! All protocol knowledge is in [`quantum_proto`]; this crate gives it sockets, time and tasks.

mod clock;
mod connection;
mod endpoint;
mod identity;
mod options;
mod socket;
mod task;

pub use quantum_proto::{
    ChannelId, CloseCode, ConnectError, ConnectionError, ConnectionId, Delivery, Message, MessageId, Priority, SendError,
    Stats, TransportConfig, TransportError,
};

pub use self::{
    connection::{Channel, Connection},
    endpoint::Endpoint,
    identity::{Fingerprint, Identity, IdentityError, Trust},
    options::{ClientOptions, SendOptions, ServerOptions},
};
