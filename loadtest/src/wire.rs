//! One WebSocket connection of the automerge-repo protocol, from the client's side.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use aetherflow_schema::{
    id::DocumentId,
    repo::{Message, PROTOCOL_VERSION, PeerMetadata},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use quantum::Fingerprint;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};

use crate::replica::Saying;

/// A connection.
pub type Socket = WebSocketStream<TcpStream>;

/// How long connecting, upgrading and joining may take, each.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The longest message taken from the server: a whole document comes in one.
const MESSAGE_BYTES: usize = 256 << 20;

/// Why a connection came to nothing, or to its end.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// No TCP connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// WebSocket failed, or the connection broke.
    #[error("{0}")]
    WebSocket(Box<tungstenite::Error>),
    /// Quantum failed, or the connection ended.
    #[error("Quantum: {0}")]
    Quantum(String),
    /// The server closed it.
    #[error("closed by the server with {}: {reason}", code.map_or("no code".to_owned(), |code| code.to_string()))]
    Closed {
        /// The close code, if there was one.
        code: Option<u16>,
        /// The text that came with it.
        reason: String,
    },
    /// The server sent an `error`.
    #[error("the server says: {0}")]
    Refused(String),
    /// The server sent what cannot be understood.
    #[error("the server sent nonsense: {0}")]
    Nonsense(String),
    /// The client itself cut the connection.
    #[error("cut on purpose")]
    Cut,
    /// It took too long.
    #[error("no answer within {HANDSHAKE:?}")]
    Late,
}

impl From<tungstenite::Error> for WireError {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// Where a client connects to, and from which of its own addresses.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// The server.
    pub server: SocketAddr,
    /// The client's own address, when it matters.
    pub from: Option<IpAddr>,
    /// Bytes of the receive buffer that the system keeps, when they matter.
    pub receive_buffer: Option<u32>,
    /// That of the server's certificate, for Quantum.
    pub fingerprint: Option<Fingerprint>,
}

impl From<SocketAddr> for Endpoint {
    fn from(server: SocketAddr) -> Self {
        Self {
            server,
            from: None,
            receive_buffer: None,
            fingerprint: None,
        }
    }
}

impl Endpoint {
    /// A bare TCP connection.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&self) -> Result<TcpStream, WireError> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = in_time(socket.connect(self.server)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A WebSocket connection on which nobody has joined.
    ///
    /// # Errors
    /// When there is none.
    pub async fn dial(&self) -> Result<Socket, WireError> {
        self.dial_at("/").await
    }

    /// A WebSocket connection to this path.
    ///
    /// # Errors
    /// When there is none.
    pub async fn dial_at(&self, path: &str) -> Result<Socket, WireError> {
        let stream = self.connect().await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let url = format!("ws://{}{path}", self.server);
        let (socket, _) = in_time(client_async_with_config(url, stream, Some(config))).await?;
        Ok(socket)
    }
}

pub(crate) async fn in_time<T, E>(future: impl Future<Output = Result<T, E>>) -> Result<T, WireError>
where
    WireError: From<E>,
{
    Ok(timeout(HANDSHAKE, future).await.map_err(|_| WireError::Late)??)
}

/// Sends one message.
///
/// # Errors
/// When the connection is broken.
pub async fn send(socket: &mut Socket, frame: Bytes) -> Result<(), WireError> {
    Ok(socket.send(tungstenite::Message::Binary(frame)).await?)
}

/// The next message of the protocol. Pings are answered.
///
/// # Errors
/// When the connection ended; how.
pub async fn receive<S>(socket: &mut S) -> Result<Bytes, WireError>
where
    S: StreamExt<Item = Result<tungstenite::Message, tungstenite::Error>> + Unpin,
{
    loop {
        match socket.next().await {
            Some(Ok(tungstenite::Message::Binary(frame))) => return Ok(frame),
            Some(Ok(tungstenite::Message::Close(frame))) => {
                let code = frame.as_ref().map(|frame| u16::from(frame.code));
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                return Err(WireError::Closed { code, reason });
            }
            Some(Ok(tungstenite::Message::Text(text))) => return Err(WireError::Nonsense(format!("text: {text}"))),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

/// Joins as `peer` and returns the server's name.
///
/// # Errors
/// When the server does not answer with `peer`.
pub async fn join(socket: &mut Socket, peer: &str) -> Result<String, WireError> {
    send(socket, join_frame(peer, &[PROTOCOL_VERSION])).await?;
    loop {
        let frame = in_time(receive(socket)).await?;
        match decode(&frame)? {
            Message::Peer { sender, version, .. } if version == PROTOCOL_VERSION => return Ok(sender.into_owned()),
            Message::Peer { version, .. } => return Err(WireError::Nonsense(format!("it chose version {version}"))),
            Message::Error { message, .. } => return Err(WireError::Refused(message.into_owned())),
            _ => {}
        }
    }
}

/// The frame that joins. A storage of its own makes the peer one that the server may remember.
pub fn join_frame(peer: &str, versions: &[&str]) -> Bytes {
    let join = Message::Join {
        sender: peer.into(),
        metadata: PeerMetadata {
            storage_id: None,
            is_ephemeral: true,
        },
        versions: versions.iter().map(|version| (*version).into()).collect(),
    };
    join.encode()
}

/// The frame that says this about a document, from the client `peer` to the server.
pub fn sync_frame(peer: &str, server: &str, document: &DocumentId, saying: Saying) -> Bytes {
    let (sender, target, document) = (peer.into(), server.into(), document.clone());
    let data = saying.message.into();
    let message = if saying.request {
        Message::Request {
            sender,
            target,
            document,
            data,
        }
    } else {
        Message::Sync {
            sender,
            target,
            document,
            data,
        }
    };
    message.encode()
}

/// Reads a message of the server.
///
/// # Errors
/// When it is none.
pub fn decode(frame: &Bytes) -> Result<Message<'_>, WireError> {
    Message::decode(frame).map_err(|error| WireError::Nonsense(error.to_string()))
}
