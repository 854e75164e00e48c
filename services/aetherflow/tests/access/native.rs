//! A client of the native protocol, over either of its carriers.

use std::{net::SocketAddr, path::Path};

use aetherflow_schema::{
    id::{DocumentId, Offset},
    native::{
        ClientFrame, Fetch, Hello, PATH, PROTOCOL, Presence, RequestId, Start, Submit, Subscribe, decode_server, lanes,
        wire::{RejectCode, server_frame::Kind},
    },
};
use automerge::{ActorId, AutoCommit, ROOT, transaction::Transactable};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use quantum::{
    ChannelId, ClientOptions, CloseCode, Connection, ConnectionError, Endpoint, Identity, SendOptions, Trust,
};
use tokio_tungstenite::tungstenite::Message as Frame;
use uuid::Uuid;

use crate::{
    repo::{Socket, open},
    server::within,
};

/// What carries the frames.
enum Carrier {
    WebSocket(Box<Socket>),
    Quantum(Connection),
}

pub(crate) struct Client {
    carrier: Carrier,
    /// The session it has.
    pub(crate) session: String,
}

/// A change that goes with any document.
pub(crate) fn change() -> Bytes {
    let mut doc = AutoCommit::new().with_actor(ActorId::random());
    doc.put(ROOT, "native", 1).unwrap();
    doc.commit();
    doc.get_last_local_change().unwrap().raw_bytes().to_vec().into()
}

/// The code of the application in a code of the transport.
fn close_code(code: CloseCode) -> u16 {
    (code.0 - CloseCode::application(0).0) as u16
}

impl Client {
    /// Says hello with this token over WebSocket: how the connection was closed when that is not enough.
    pub(crate) async fn hello(address: SocketAddr, token: Option<&str>) -> Result<Self, u16> {
        let socket = open(address, PATH, None).await?;
        Self::on(Carrier::WebSocket(Box::new(socket))).welcomed(token).await
    }

    /// The same over Quantum, to a server whose data is in this folder.
    pub(crate) async fn hello_over_quantum(address: SocketAddr, data: &Path, token: Option<&str>) -> Result<Self, u16> {
        let folder = data.join("quantum");
        let identity = Identity::from_pem_files(&folder.join("certificate.pem"), &folder.join("key.pem")).unwrap();
        let options = ClientOptions::new(&Trust::Pinned(vec![identity.fingerprint()]), [PROTOCOL]).unwrap();
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let connecting = endpoint.connect(&options, address, "localhost");
        let connection = within("a connection over Quantum", connecting).await.unwrap();
        Self::on(Carrier::Quantum(connection)).welcomed(token).await
    }

    fn on(carrier: Carrier) -> Self {
        let session = String::new();
        Self { carrier, session }
    }

    /// A connection over WebSocket on which nothing was said yet.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        let socket = open(address, PATH, None).await.unwrap();
        Self::on(Carrier::WebSocket(Box::new(socket)))
    }

    async fn welcomed(mut self, token: Option<&str>) -> Result<Self, u16> {
        self.say_hello(token).await;
        match self.hear().await? {
            Kind::Welcome(welcome) => {
                self.session = Uuid::from_slice(&welcome.session_id).unwrap().to_string();
                Ok(self)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn say_hello(&mut self, token: Option<&str>) {
        self.say_hello_again(token, Bytes::new()).await;
    }

    /// Says hello, and that it was here before.
    pub(crate) async fn say_hello_again(&mut self, token: Option<&str>, resume_token: Bytes) {
        let hello = Hello {
            token: token.unwrap_or_default().to_owned(),
            client_id: "a client".to_owned(),
            resume_token,
            capabilities: Vec::new(),
            frame_bytes: None,
        };
        self.say(ClientFrame::Hello(hello)).await;
    }

    /// A connection that is being closed says why when it is read.
    pub(crate) async fn say(&mut self, frame: ClientFrame) {
        let channel = ChannelId(lanes::channel(frame.document()));
        let bytes = frame.encode();
        match &mut self.carrier {
            Carrier::WebSocket(socket) => drop(within("sending", socket.send(Frame::Binary(bytes))).await),
            Carrier::Quantum(connection) => {
                drop(within("sending", connection.send(channel, SendOptions::interactive(), bytes)).await);
            }
        }
    }

    /// The next frame, or how the connection was closed.
    pub(crate) async fn hear(&mut self) -> Result<Kind, u16> {
        let socket = match &mut self.carrier {
            Carrier::WebSocket(socket) => socket,
            Carrier::Quantum(connection) => {
                return match within("a frame", connection.recv()).await {
                    Ok(message) => Ok(decode_server(message.data).unwrap()),
                    Err(ConnectionError::ClosedByPeer(error)) => Err(close_code(error.code)),
                    Err(error) => panic!("{error}"),
                };
            }
        };
        loop {
            match within("a frame", socket.next()).await {
                Some(Ok(Frame::Binary(frame))) => return Ok(decode_server(frame).unwrap()),
                Some(Ok(Frame::Close(close))) => return Err(close.map_or(0, |close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(0),
            }
        }
    }

    /// The next frame that is not about who is present.
    pub(crate) async fn hear_of_the_document(&mut self) -> Kind {
        loop {
            match self.hear().await.unwrap() {
                Kind::PresenceEvent(_) => {}
                other => return other,
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
            fencing: None,
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
    pub(crate) async fn presence(&mut self, document: &DocumentId, state: &[u8]) {
        let presence = Presence {
            document: document.clone(),
            state: Bytes::copy_from_slice(state),
            ttl_ms: 60_000,
        };
        self.say(ClientFrame::Presence(presence)).await;
        // Frames about one document are acted on in order, over Quantum too: when this is answered that was.
        self.reads(document).await;
    }
}
