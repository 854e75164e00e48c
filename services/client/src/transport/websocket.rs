//! WebSocket: a binary message for each frame.

use std::sync::Arc;

use aetherflow_schema::{close::CloseCode, id::DocumentId, limits, native::PATH};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use super::{BoxFuture, Carrier, Connection, Transport, broken, tls};
use crate::{
    address::{Address, Scheme},
    error::ConnectError,
    options::Options,
    session::Parting,
};

/// The longest message taken from the server, unless the application chooses: a whole document comes in one.
const MESSAGE_BYTES: u32 = 256 << 20;

/// Either with TLS or without.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Socket = WebSocketStream<Box<dyn Io>>;

/// Makes WebSocket connections to one server.
pub(super) struct WebSocket {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    takes: u32,
}

impl WebSocket {
    pub(super) fn new(address: Address, options: &Options) -> Result<Self, ConnectError> {
        let tls = match address.scheme {
            Scheme::SecureWebSocket => Some(tls::tcp(&options.trust)?),
            Scheme::WebSocket | Scheme::Quantum => None,
        };
        let takes = options.message_bytes.unwrap_or(MESSAGE_BYTES);
        Ok(Self { address, tls, takes })
    }
}

impl Transport for WebSocket {
    fn dial(&self) -> BoxFuture<Result<Arc<dyn Connection>, Parting>> {
        let address = self.address.clone();
        let tls = self.tls.clone();
        let takes = self.takes;
        Box::pin(async move {
            let socket = connect(&address, tls, takes).await.map_err(|parting| Parting {
                reason: format!("{address}: {}", parting.reason),
                ..parting
            })?;
            let (sink, stream) = socket.split();
            let connection = WebSocketConnection {
                sink: Mutex::new(sink),
                stream: Mutex::new(stream),
                takes,
            };
            Ok(Arc::new(connection) as Arc<dyn Connection>)
        })
    }
}

async fn connect(address: &Address, tls: Option<Arc<ClientConfig>>, takes: u32) -> Result<Socket, Parting> {
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let stream: Box<dyn Io> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let name = ServerName::try_from(address.host.clone()).map_err(broken)?;
            Box::new(TlsConnector::from(tls).connect(name, stream).await.map_err(broken)?)
        }
    };
    let limit = usize::try_from(takes).ok();
    let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
    let scheme = if address.scheme == Scheme::SecureWebSocket {
        "wss"
    } else {
        "ws"
    };
    let url = format!("{scheme}://{}{PATH}", address.authority());
    let upgraded = client_async_with_config(url, stream, Some(config)).await;
    upgraded.map(|(socket, _)| socket).map_err(|error| parting(&error))
}

fn parting(error: &Error) -> Parting {
    let code = match error {
        Error::Http(response) if response.status() == 401 => Some(CloseCode::Unauthorized.code()),
        Error::Http(response) if response.status() == 403 => Some(CloseCode::Forbidden.code()),
        _ => None,
    };
    Parting { code, ..broken(error) }
}

struct WebSocketConnection {
    sink: Mutex<SplitSink<Socket, Message>>,
    stream: Mutex<SplitStream<Socket>>,
    takes: u32,
}

impl Connection for WebSocketConnection {
    fn carrier(&self) -> Carrier {
        Carrier::WebSocket
    }

    fn frame_bytes(&self) -> usize {
        limits::CLIENT_FRAME_BYTES
    }

    fn takes(&self) -> u32 {
        self.takes
    }

    fn send(self: Arc<Self>, _document: Option<DocumentId>, frame: Bytes) -> BoxFuture<Result<(), Parting>> {
        Box::pin(async move {
            let mut sink = self.sink.lock().await;
            sink.send(Message::Binary(frame)).await.map_err(|error| parting(&error))
        })
    }

    fn receive(self: Arc<Self>) -> BoxFuture<Result<Bytes, Parting>> {
        Box::pin(async move {
            let mut stream = self.stream.lock().await;
            loop {
                match stream.next().await {
                    Some(Ok(Message::Binary(frame))) => return Ok(frame),
                    Some(Ok(Message::Close(Some(close)))) => {
                        return Err(Parting {
                            code: Some(close.code.into()),
                            reason: close.reason.to_string(),
                        });
                    }
                    // Pings are answered by the next look at the stream.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Text(_))) => return Err(broken("the server sent text")),
                    Some(Ok(Message::Close(None))) | None => return Err(broken("the connection ended")),
                    Some(Err(error)) => return Err(parting(&error)),
                }
            }
        })
    }

    fn close(self: Arc<Self>, code: CloseCode) -> BoxFuture<()> {
        Box::pin(async move {
            let close = Message::Close(Some(CloseFrame {
                code: code.code().into(),
                reason: code.reason().into(),
            }));
            if self.sink.lock().await.send(close).await.is_ok() {
                // Until the server has read everything and says so.
                let mut stream = self.stream.lock().await;
                while let Some(Ok(_)) = stream.next().await {}
            }
        })
    }
}
