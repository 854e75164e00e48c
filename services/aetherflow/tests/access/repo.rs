//! A client of the automerge-repo protocol with one document.

use std::net::SocketAddr;

use aetherflow_schema::{
    id::DocumentId,
    repo::{Message, PeerMetadata},
};
use automerge::{
    AutoCommit, ROOT, ReadDoc,
    sync::{self, SyncDoc},
    transaction::Transactable,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message as Frame},
};

use crate::server::within;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket, with the token in the query; the status when that is refused.
pub(crate) async fn open(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Socket, u16> {
    let query = token.map(|token| format!("?token={token}")).unwrap_or_default();
    match within("a connection", connect_async(format!("ws://{address}{path}{query}"))).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) struct Client {
    socket: Socket,
    name: String,
    pub(crate) document: DocumentId,
    doc: AutoCommit,
    state: sync::State,
}

/// What the server said last.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Sync,
    Refused(String),
    Unavailable,
    Ephemeral(u64),
    Closed(u16),
    Other,
}

impl Client {
    pub(crate) async fn join(
        address: SocketAddr,
        token: Option<&str>,
        name: &str,
        document: &DocumentId,
    ) -> Result<Self, u16> {
        let mut client = Self {
            socket: open(address, "/", token).await?,
            name: name.to_owned(),
            document: document.clone(),
            doc: AutoCommit::new(),
            state: sync::State::new(),
        };
        let join = Message::Join {
            sender: name.to_owned().into(),
            metadata: PeerMetadata::default(),
            versions: vec!["1".into()],
        };
        client.send(&join).await;
        match client.hear().await {
            Said::Other => Ok(client),
            Said::Closed(code) => Err(code),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&mut self, message: &Message<'_>) {
        let frame = Frame::Binary(message.encode());
        // A connection that is being closed says why when it is read.
        let _ = within("sending", self.socket.send(frame)).await;
    }

    /// Sends what there is to say about the document.
    pub(crate) async fn sync(&mut self, request: bool) {
        let Some(message) = self.doc.sync().generate_sync_message(&mut self.state) else {
            return;
        };
        let (sender, target) = (self.name.clone().into(), "server".into());
        let (document, data) = (self.document.clone(), Bytes::from(message.encode()));
        let message = match request {
            true => Message::Request {
                sender,
                target,
                document,
                data,
            },
            false => Message::Sync {
                sender,
                target,
                document,
                data,
            },
        };
        self.send(&message).await;
    }

    pub(crate) async fn ephemeral(&mut self, count: u64) {
        let message = Message::Ephemeral {
            sender: self.name.clone().into(),
            target: "server".into(),
            document: self.document.clone(),
            session: self.name.clone().into(),
            count,
            data: Bytes::from_static(&[1]),
        };
        self.send(&message).await;
    }

    /// The next thing the server says; sync messages are taken in.
    pub(crate) async fn hear(&mut self) -> Said {
        loop {
            let frame = match within("a message", self.socket.next()).await {
                Some(Ok(Frame::Binary(frame))) => frame,
                Some(Ok(Frame::Close(close))) => return Said::Closed(close.map_or(0, |close| close.code.into())),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Said::Closed(0),
            };
            return match Message::decode(&frame).unwrap() {
                Message::Sync { document, data, .. } if document == self.document => {
                    let message = sync::Message::decode(&data).unwrap();
                    self.doc.sync().receive_sync_message(&mut self.state, message).unwrap();
                    // It goes on sending what it was told is not taken, as somebody would who means harm.
                    self.state.peer_read_only = false;
                    Said::Sync
                }
                Message::Error { message, .. } => Said::Refused(message.to_string()),
                Message::DocUnavailable { .. } => Said::Unavailable,
                Message::Ephemeral { count, .. } => Said::Ephemeral(count),
                _ => Said::Other,
            };
        }
    }

    /// The number in the document.
    pub(crate) fn number(&self) -> Option<i64> {
        self.doc.get(ROOT, "n").unwrap().and_then(|(value, _)| value.as_i64())
    }

    /// Changes it, here.
    pub(crate) fn set(&mut self, n: i64) {
        self.doc.put(ROOT, "n", n).unwrap();
        self.doc.commit();
    }

    /// Whether the server gives the document.
    pub(crate) async fn reads(&mut self) -> bool {
        self.sync(true).await;
        while self.number().is_none() {
            match self.hear().await {
                Said::Sync => self.sync(false).await,
                Said::Refused(_) | Said::Closed(_) => return false,
                _ => {}
            }
        }
        true
    }

    /// Whether the server takes what was changed here.
    pub(crate) async fn writes(&mut self) -> bool {
        let heads = self.doc.get_heads();
        self.sync(false).await;
        while self.state.their_heads.as_ref() != Some(&heads) {
            match self.hear().await {
                Said::Sync => self.sync(false).await,
                Said::Refused(_) | Said::Closed(_) => return false,
                _ => {}
            }
        }
        true
    }
}
