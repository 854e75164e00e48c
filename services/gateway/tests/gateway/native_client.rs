//! A client of the native protocol, of another make.

use std::num::NonZeroU64;

use aetherflow_schema::{
    id::{DocumentId, Offset},
    locks::Fencing,
    native::{
        AcquireLock, ClientFrame, Fetch, Hello, LOCKS, ListLocks, PATH, Presence, ReleaseLock, RequestId, Start,
        Submit, Subscribe, decode_server,
        wire::{self, server_frame::Kind},
    },
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async,
    tungstenite::{Message as Frame, protocol::CloseFrame},
};

use crate::{
    client::open,
    server::{DEADLINE, Server},
};

pub(crate) struct NativeClient {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) welcome: wire::Welcome,
}

pub(crate) fn hello() -> ClientFrame {
    ClientFrame::Hello(Hello {
        token: String::new(),
        client_id: "laptop".to_owned(),
        resume_token: Bytes::new(),
        capabilities: Vec::new(),
        frame_bytes: None,
    })
}

/// A hello of a client that takes frames of so many bytes.
pub(crate) fn hello_taking(frame_bytes: u64) -> ClientFrame {
    ClientFrame::Hello(Hello {
        token: String::new(),
        client_id: "laptop".to_owned(),
        resume_token: Bytes::new(),
        capabilities: Vec::new(),
        frame_bytes: NonZeroU64::new(frame_bytes),
    })
}

/// A hello of a client that goes on with the session of this token.
pub(crate) fn resume(token: &Bytes) -> ClientFrame {
    ClientFrame::Hello(Hello {
        token: String::new(),
        client_id: "laptop".to_owned(),
        resume_token: token.clone(),
        capabilities: Vec::new(),
        frame_bytes: None,
    })
}

pub(crate) fn submit(request: u64, document: &DocumentId, changes: &[&'static str]) -> ClientFrame {
    ClientFrame::Submit(Submit {
        request: RequestId(request),
        document: document.clone(),
        changes: changes
            .iter()
            .map(|change| Bytes::from_static(change.as_bytes()))
            .collect(),
        fencing: None,
    })
}

pub(crate) fn subscribe(request: u64, document: &DocumentId, after: u64) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe {
        request: RequestId(request),
        document: document.clone(),
        start: Start::After(Offset(after)),
    })
}

pub(crate) fn fetch(request: u64, document: &DocumentId, from: u64, until: Option<u64>) -> ClientFrame {
    ClientFrame::Fetch(Fetch {
        request: RequestId(request),
        document: document.clone(),
        from: Offset(from),
        until: until.map(Offset),
    })
}

/// A hello of a client that knows locks.
pub(crate) fn hello_with_locks(resume_token: Bytes) -> ClientFrame {
    ClientFrame::Hello(Hello {
        token: String::new(),
        client_id: "laptop".to_owned(),
        resume_token,
        capabilities: vec![LOCKS.to_owned(), "time-travel".to_owned()],
        frame_bytes: None,
    })
}

pub(crate) fn acquire(request: u64, document: &DocumentId, fencing: Option<u64>) -> ClientFrame {
    ClientFrame::AcquireLock(AcquireLock {
        request: RequestId(request),
        document: document.clone(),
        ttl_ms: 60_000,
        fencing: fencing.map(Fencing),
    })
}

pub(crate) fn release(request: u64, document: &DocumentId, fencing: u64) -> ClientFrame {
    ClientFrame::ReleaseLock(ReleaseLock {
        request: RequestId(request),
        document: document.clone(),
        fencing: Fencing(fencing),
    })
}

pub(crate) fn locks_of(request: u64, document: Option<&DocumentId>) -> ClientFrame {
    ClientFrame::ListLocks(ListLocks {
        request: RequestId(request),
        document: document.cloned(),
    })
}

/// A submission under a lock.
pub(crate) fn submit_under(request: u64, document: &DocumentId, fencing: u64) -> ClientFrame {
    ClientFrame::Submit(Submit {
        request: RequestId(request),
        document: document.clone(),
        changes: vec![Bytes::from_static(b"a")],
        fencing: Some(Fencing(fencing)),
    })
}

pub(crate) fn presence(document: &DocumentId, state: &'static str, ttl_ms: u32) -> ClientFrame {
    ClientFrame::Presence(Presence {
        document: document.clone(),
        state: Bytes::from_static(state.as_bytes()),
        ttl_ms,
    })
}

impl NativeClient {
    /// Connects and says nothing.
    pub(crate) async fn connect(server: &Server) -> Self {
        let socket = timeout(DEADLINE, open(server.address, PATH)).await.unwrap().unwrap();
        Self {
            socket,
            welcome: wire::Welcome::default(),
        }
    }

    /// The same with little room in the system for what it does not read.
    pub(crate) async fn connect_narrow(server: &Server) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let stream = socket.connect(server.address).await.unwrap();
        let opening = client_async(format!("ws://{}{PATH}", server.address), MaybeTlsStream::Plain(stream));
        let (socket, _) = timeout(DEADLINE, opening).await.unwrap().unwrap();
        Self {
            socket,
            welcome: wire::Welcome::default(),
        }
    }

    /// Says this hello, and is welcomed.
    pub(crate) async fn saying(mut self, hello: ClientFrame) -> Self {
        self.say(hello).await;
        match self.hear().await {
            Kind::Welcome(welcome) => self.welcome = welcome,
            other => panic!("{other:?}"),
        }
        self
    }

    /// Connects and says hello.
    pub(crate) async fn welcomed(server: &Server) -> Self {
        Self::connect(server).await.saying(hello()).await
    }

    /// Connects and says hello, and that it knows locks; with a token to go on with, unless that is empty.
    pub(crate) async fn with_locks(server: &Server, token: &Bytes) -> Self {
        Self::connect(server)
            .await
            .saying(hello_with_locks(token.clone()))
            .await
    }

    /// Connects and says hello with a token to go on with.
    pub(crate) async fn resuming(server: &Server, token: &Bytes) -> Self {
        Self::connect(server).await.saying(resume(token)).await
    }

    pub(crate) async fn say(&mut self, frame: ClientFrame) {
        let frame = Frame::Binary(frame.encode());
        timeout(DEADLINE, self.socket.send(frame)).await.unwrap().unwrap();
    }

    /// Ends its session, and waits until the server has closed.
    pub(crate) async fn goodbye(mut self) {
        let bye = CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        };
        self.socket.close(Some(bye)).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Waits until everything it said was acted on, and returns what came meanwhile.
    pub(crate) async fn settle(&mut self) -> Vec<Kind> {
        self.say(ClientFrame::Ping(4242)).await;
        let mut meanwhile = Vec::new();
        loop {
            match self.hear().await {
                Kind::Pong(pong) if pong.nonce == 4242 => return meanwhile,
                other => meanwhile.push(other),
            }
        }
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> Kind {
        loop {
            match self.next().await {
                Some(Ok(Frame::Binary(frame))) => return decode_server(frame).unwrap(),
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    pub(crate) async fn hear_reject(&mut self) -> wire::Reject {
        match self.hear().await {
            Kind::Reject(reject) => reject,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn hear_ops(&mut self) -> wire::Ops {
        match self.hear().await {
            Kind::Ops(ops) => ops,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn hear_presence(&mut self) -> wire::PresenceEvent {
        match self.hear().await {
            Kind::PresenceEvent(event) => event,
            other => panic!("{other:?}"),
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
                Some(Ok(Frame::Close(None)) | Err(_)) | None => panic!("no reason was given"),
                Some(Ok(_)) => {}
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Frame, tokio_tungstenite::tungstenite::Error>> {
        let next = timeout(DEADLINE, self.socket.next()).await;
        next.unwrap_or_else(|_| panic!("nothing came"))
    }
}
