//! A client of the native protocol.

use std::net::SocketAddr;

use aetherflow_schema::{
    id::{DocumentId, Offset},
    native::{
        ClientFrame, Fetch, Hello, PATH, Presence, RequestId, Start, Submit, Subscribe, decode_server,
        wire::{RejectCode, server_frame::Kind},
    },
};
use automerge::{ActorId, AutoCommit, ROOT, transaction::Transactable};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::{
    repo::{Socket, open},
    server::within,
};

pub(crate) struct Client(Socket);

/// A change that goes with any document.
pub(crate) fn change() -> Bytes {
    let mut doc = AutoCommit::new().with_actor(ActorId::random());
    doc.put(ROOT, "native", 1).unwrap();
    doc.commit();
    doc.get_last_local_change().unwrap().raw_bytes().to_vec().into()
}

impl Client {
    /// Says hello with this token: how the connection was closed when that is not enough.
    pub(crate) async fn hello(address: SocketAddr, token: Option<&str>) -> Result<Self, u16> {
        let mut client = Self(open(address, PATH, None).await?);
        client.say_hello(token).await;
        match client.hear().await? {
            Kind::Welcome(_) => Ok(client),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn say_hello(&mut self, token: Option<&str>) {
        let hello = Hello {
            token: token.unwrap_or_default().to_owned(),
            client_id: "a client".to_owned(),
            resume_token: Bytes::new(),
            capabilities: Vec::new(),
        };
        self.say(ClientFrame::Hello(hello)).await;
    }

    pub(crate) async fn say(&mut self, frame: ClientFrame) {
        let frame = Frame::Binary(frame.encode());
        let _ = within("sending", self.0.send(frame)).await;
    }

    /// The next frame, or how the connection was closed.
    pub(crate) async fn hear(&mut self) -> Result<Kind, u16> {
        loop {
            match within("a frame", self.0.next()).await {
                Some(Ok(Frame::Binary(frame))) => return Ok(decode_server(frame).unwrap()),
                Some(Ok(Frame::Close(close))) => return Err(close.map_or(0, |close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(0),
            }
        }
    }

    /// Whether a request is carried out.
    async fn answer(&mut self) -> bool {
        loop {
            match self.hear().await.unwrap() {
                Kind::Receipt(_) => return true,
                Kind::Ops(ops) if ops.last => return true,
                Kind::Reject(reject) => {
                    assert_eq!(reject.code(), RejectCode::Forbidden, "{reject:?}");
                    return false;
                }
                _ => {}
            }
        }
    }

    pub(crate) async fn reads(&mut self, document: &DocumentId) -> bool {
        let fetch = Fetch {
            request: RequestId(1),
            document: document.clone(),
            from: Offset(1),
            until: None,
        };
        self.say(ClientFrame::Fetch(fetch)).await;
        self.answer().await
    }

    pub(crate) async fn writes(&mut self, document: &DocumentId) -> bool {
        let submit = Submit {
            request: RequestId(2),
            document: document.clone(),
            changes: vec![change()],
        };
        self.say(ClientFrame::Submit(submit)).await;
        self.answer().await
    }

    pub(crate) async fn subscribe(&mut self, document: &DocumentId) {
        let subscribe = Subscribe {
            request: RequestId(3),
            document: document.clone(),
            start: Start::Snapshot,
        };
        self.say(ClientFrame::Subscribe(subscribe)).await;
    }

    /// Is present, and waits until that was acted on.
    pub(crate) async fn presence(&mut self, document: &DocumentId, state: &'static [u8]) {
        let presence = Presence {
            document: document.clone(),
            state: Bytes::from_static(state),
            ttl_ms: 60_000,
        };
        self.say(ClientFrame::Presence(presence)).await;
        self.say(ClientFrame::Ping(7)).await;
        while !matches!(self.hear().await.unwrap(), Kind::Pong(_)) {}
    }
}
