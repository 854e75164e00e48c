//! A connection as a client uses it, whatever carries it: two halves, so that neither holds up the other.

use std::time::Duration;

use aetherflow_schema::{
    id::DocumentId,
    native::{PROTOCOL, lanes},
};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use quantum::{ChannelId, ClientOptions, Connection, ConnectionError, Endpoint, SendOptions, TransportConfig, Trust};
use tokio_tungstenite::tungstenite;

use crate::wire::{self, Socket, WireError};

/// A server that was killed says nothing any more: after this long without a packet it is taken for dead. Other than with
/// TCP no system closes the connection.
const SILENCE: Duration = Duration::from_millis(1500);

/// A connection.
#[allow(clippy::large_enum_variant)]
pub enum Link {
    /// WebSocket over TCP.
    WebSocket(Socket),
    /// Quantum over UDP.
    Quantum(Connection),
}

/// The half that sends.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Sender {
    WebSocket(SplitSink<Socket, tungstenite::Message>),
    Quantum(Connection),
}

/// The half that receives.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Receiver {
    WebSocket(SplitStream<Socket>),
    Quantum(Connection),
}

impl Link {
    /// Connects over Quantum; the server is known by its fingerprint.
    ///
    /// # Errors
    /// When there is no connection, or no fingerprint is known.
    pub async fn quantum(endpoint: &wire::Endpoint) -> Result<Self, WireError> {
        let transport = TransportConfig {
            idle_timeout: SILENCE,
            keep_alive: Some(SILENCE / 6),
            ..TransportConfig::default()
        };
        Ok(Self::Quantum(dial_quantum(endpoint, transport).await?))
    }

    pub(crate) fn split(self) -> (Sender, Receiver) {
        match self {
            Self::WebSocket(socket) => {
                let (sink, stream) = socket.split();
                (Sender::WebSocket(sink), Receiver::WebSocket(stream))
            }
            Self::Quantum(connection) => (Sender::Quantum(connection.clone()), Receiver::Quantum(connection)),
        }
    }

    /// Sends a frame, about this document or about none.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&mut self, document: Option<&DocumentId>, frame: Bytes) -> Result<(), WireError> {
        match self {
            Self::WebSocket(socket) => wire::send(socket, frame).await,
            Self::Quantum(connection) => send(connection, document, frame).await,
        }
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection ended; how.
    pub async fn receive(&mut self) -> Result<Bytes, WireError> {
        match self {
            Self::WebSocket(socket) => wire::receive(socket).await,
            Self::Quantum(connection) => receive(connection).await,
        }
    }
}

/// Connects over Quantum; the server is known by its fingerprint.
///
/// # Errors
/// When there is no connection, or no fingerprint is known.
pub async fn dial_quantum(endpoint: &wire::Endpoint, transport: TransportConfig) -> Result<Connection, WireError> {
    let unknown = || WireError::Quantum("the fingerprint of the server is not known".to_owned());
    let trust = Trust::Pinned(vec![endpoint.fingerprint.ok_or_else(unknown)?]);
    let options = ClientOptions::new(&trust, [PROTOCOL])
        .map_err(|error| WireError::Quantum(error.to_string()))?
        .with_transport(transport);
    let from = endpoint.from.unwrap_or_else(|| [127, 0, 0, 1].into());
    let socket = Endpoint::client((from, 0).into()).map_err(|error| WireError::Quantum(error.to_string()))?;
    let connecting = async {
        let connected = socket.connect(&options, endpoint.server, "localhost").await;
        connected.map_err(|error| WireError::Quantum(error.to_string()))
    };
    wire::in_time(connecting).await
}

impl Sender {
    pub(crate) async fn send(&mut self, document: &DocumentId, frame: Bytes) -> Result<(), WireError> {
        match self {
            Self::WebSocket(sink) => Ok(sink.send(tungstenite::Message::Binary(frame)).await?),
            Self::Quantum(connection) => send(connection, Some(document), frame).await,
        }
    }
}

impl Receiver {
    pub(crate) async fn receive(&mut self) -> Result<Bytes, WireError> {
        match self {
            Self::WebSocket(stream) => wire::receive(stream).await,
            Self::Quantum(connection) => receive(connection).await,
        }
    }
}

async fn send(connection: &Connection, document: Option<&DocumentId>, frame: Bytes) -> Result<(), WireError> {
    let channel = ChannelId(lanes::channel(document));
    let options = match lanes::urgency(frame.len()) {
        lanes::Urgency::Interactive => SendOptions::interactive(),
        lanes::Urgency::Normal => SendOptions::default(),
        lanes::Urgency::Bulk => SendOptions::bulk(),
    };
    let sent = connection.send(channel, options, frame).await;
    sent.map_err(|error| WireError::Quantum(error.to_string()))
}

async fn receive(connection: &Connection) -> Result<Bytes, WireError> {
    match connection.recv().await {
        Ok(message) => Ok(message.data),
        Err(ConnectionError::ClosedByPeer(closed)) => Err(WireError::Closed {
            code: closed.code.as_application().and_then(|code| code.try_into().ok()),
            reason: closed.reason.into_owned(),
        }),
        Err(error) => Err(WireError::Quantum(error.to_string())),
    }
}
