//! A WebSocket client of another make, speaking the automerge-repo protocol.

use std::net::SocketAddr;

use aetherflow_schema::{
    id::{DocumentId, StorageId},
    repo::{Message, PeerMetadata},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message as Frame},
};

use crate::server::{DEADLINE, Server};

pub(crate) struct Client {
    pub(crate) name: String,
    server: String,
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    /// Connects and says nothing.
    pub(crate) async fn connect(server: &Server, name: &str) -> Self {
        let socket = timeout(DEADLINE, open(server.address, "/automerge"))
            .await
            .unwrap()
            .unwrap();
        Self {
            name: name.to_owned(),
            server: server.peer.clone(),
            socket,
        }
    }

    /// Connects and joins.
    pub(crate) async fn join(server: &Server, name: &str) -> Self {
        let mut client = Self::connect(server, name).await;
        client.say_join(&["1"]).await;
        let frame = client.receive().await;
        assert_eq!(Message::decode(&frame).unwrap().kind(), "peer");
        client
    }

    pub(crate) async fn say_join(&mut self, versions: &[&str]) {
        let join = Message::Join {
            sender: self.name.clone().into(),
            metadata: PeerMetadata {
                storage_id: Some(StorageId("a disk".into())),
                is_ephemeral: false,
            },
            versions: versions.iter().map(|version| (*version).into()).collect(),
        };
        self.send(&join).await;
    }

    pub(crate) async fn sync(&mut self, document: &DocumentId, data: impl Into<Bytes>) {
        let sync = Message::Sync {
            sender: self.name.clone().into(),
            target: self.server.clone().into(),
            document: document.clone(),
            data: data.into(),
        };
        self.send(&sync).await;
    }

    pub(crate) async fn ephemeral(&mut self, document: &DocumentId, count: u64, data: impl Into<Bytes>) {
        let ephemeral = Message::Ephemeral {
            sender: self.name.clone().into(),
            target: self.server.clone().into(),
            document: document.clone(),
            session: "a session".into(),
            count,
            data: data.into(),
        };
        self.send(&ephemeral).await;
    }

    pub(crate) async fn send(&mut self, message: &Message<'_>) {
        self.send_frame(Frame::Binary(message.encode())).await;
    }

    pub(crate) async fn send_frame(&mut self, frame: Frame) {
        timeout(DEADLINE, self.socket.send(frame)).await.unwrap().unwrap();
    }

    /// The next message; pings are answered and skipped.
    pub(crate) async fn receive(&mut self) -> Bytes {
        loop {
            match self.next().await {
                Some(Ok(Frame::Binary(frame))) => return frame,
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                other => panic!("{}: no message but {other:?}", self.name),
            }
        }
    }

    /// How the server closes the connection; messages before that are skipped.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Ok(Frame::Close(Some(close)))) => {
                    let found = (close.code.into(), close.reason.to_string());
                    while let Some(Ok(_)) = self.next().await {}
                    return found;
                }
                Some(Ok(Frame::Close(None)) | Err(_)) | None => panic!("{}: no reason was given", self.name),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Waits until the server ends the connection without a close frame, as it does to peers that did nothing wrong.
    pub(crate) async fn hung_up(&mut self) {
        loop {
            match self.next().await {
                Some(Ok(Frame::Close(close))) => panic!("{}: closed with {close:?}", self.name),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Frame, Error>> {
        let next = timeout(DEADLINE, self.socket.next()).await;
        next.unwrap_or_else(|_| panic!("{}: nothing came", self.name))
    }
}

/// Opens a WebSocket.
pub(crate) async fn open(address: SocketAddr, path: &str) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
    connect_async(format!("ws://{address}{path}"))
        .await
        .map(|(socket, _)| socket)
}
