//! The native protocol on a transport of whole messages: here, two channels in memory.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aetherflow_gateway::Carrier;
use aetherflow_schema::{
    close::CloseCode,
    documents::BoxFuture,
    id::DocumentId,
    native::{ClientFrame, decode_server, wire::server_frame::Kind},
};
use bytes::Bytes;
use tokio::{
    sync::{Mutex, Notify, mpsc},
    time::timeout,
};

use crate::{
    ledger::tell,
    native_client::{hello, submit, subscribe},
    server::{DEADLINE, Server, document, until},
};

enum Event {
    Message(Option<DocumentId>, Bytes),
    Closed(CloseCode),
}

/// The server's end.
struct Pipe {
    messages: Mutex<mpsc::Receiver<Bytes>>,
    events: mpsc::UnboundedSender<Event>,
    blocked: Arc<Blocked>,
}

#[derive(Default)]
struct Blocked {
    is: AtomicBool,
    changed: Notify,
}

impl Carrier for Pipe {
    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 4242))
    }

    fn receive(&self) -> BoxFuture<'_, Result<Bytes, Option<u16>>> {
        Box::pin(async { self.messages.lock().await.recv().await.ok_or(None) })
    }

    fn send(&self, document: Option<DocumentId>, message: Bytes) -> BoxFuture<'_, bool> {
        Box::pin(async {
            loop {
                let changed = self.blocked.changed.notified();
                if !self.blocked.is.load(Ordering::Relaxed) {
                    break;
                }
                changed.await;
            }
            self.events.send(Event::Message(document, message)).is_ok()
        })
    }

    fn close(&self, code: CloseCode, _: &str) -> BoxFuture<'_, ()> {
        let _ = self.events.send(Event::Closed(code));
        Box::pin(async {})
    }
}

/// The client's end.
pub(crate) struct Client {
    messages: mpsc::Sender<Bytes>,
    events: mpsc::UnboundedReceiver<Event>,
    blocked: Arc<Blocked>,
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Self {
        let (messages, received) = mpsc::channel(8);
        let (sent, events) = mpsc::unbounded_channel();
        let blocked = Arc::new(Blocked::default());
        let pipe = Pipe {
            messages: Mutex::new(received),
            events: sent,
            blocked: blocked.clone(),
        };
        server.native.serve(pipe);
        Self {
            messages,
            events,
            blocked,
        }
    }

    pub(crate) async fn say(&self, frame: ClientFrame) {
        timeout(DEADLINE, self.messages.send(frame.encode()))
            .await
            .unwrap()
            .unwrap();
    }

    async fn event(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv()).await.unwrap().unwrap()
    }

    pub(crate) async fn hear(&mut self) -> (Option<DocumentId>, Kind) {
        match self.event().await {
            Event::Message(document, message) => (document, decode_server(message).unwrap()),
            Event::Closed(code) => panic!("closed with {code}"),
        }
    }

    async fn closed(&mut self) -> CloseCode {
        loop {
            if let Event::Closed(code) = self.event().await {
                return code;
            }
        }
    }

    fn block(&self, is: bool) {
        self.blocked.is.store(is, Ordering::Relaxed);
        self.blocked.changed.notify_waiters();
    }
}

#[tokio::test]
async fn it_is_the_same_and_every_frame_says_which_document_it_is_about() {
    let server = Server::start().await;
    let mut client = Client::connect(&server);
    let id = document(1);
    client.say(hello()).await;
    assert!(matches!(client.hear().await, (None, Kind::Welcome(_))));
    client.say(subscribe(1, &id, 0)).await;
    client.say(submit(2, &id, &["a"])).await;
    server.ledger.commit(1);
    assert!(matches!(client.hear().await, (Some(about), Kind::Receipt(_)) if about == id));
    tell(&server.ledger.sink(&id), &id, 1, 1);
    assert!(matches!(client.hear().await, (Some(about), Kind::Ops(_)) if about == id));
    server.shutdown.trigger();
    assert!(matches!(client.hear().await, (None, Kind::GoAway(_))));
    assert_eq!(client.closed().await, CloseCode::GoingAway);
    until("it to be forgotten", || server.metric("native_connections") == 0).await;
}

#[tokio::test]
async fn while_a_client_takes_nothing_its_requests_are_read_and_its_end_comes() {
    let server = Server::with(|options| options.limits.queue_bytes = 10_000).await;
    let mut client = Client::connect(&server);
    let id = document(1);
    client.say(hello()).await;
    assert!(matches!(client.hear().await, (None, Kind::Welcome(_))));
    client.block(true);
    client.say(submit(1, &id, &["a"])).await;
    until("the submission", || server.ledger.submitted(&id) == ["a"]).await;
    let flood = async { while client.messages.send(ClientFrame::Ping(1).encode()).await.is_ok() {} };
    timeout(DEADLINE, flood).await.expect("it is closed");
    client.block(false);
    assert_eq!(client.closed().await, CloseCode::SlowReader);
}

#[tokio::test]
async fn silence_and_a_lost_client_end_it() {
    let server = Server::with(|options| options.timeouts.join_ms = 50).await;
    let mut silent = Client::connect(&server);
    assert_eq!(silent.closed().await, CloseCode::JoinTimeout);
    let mut lost = Client::connect(&server);
    lost.say(hello()).await;
    lost.hear().await;
    drop(lost);
    until("it to be forgotten", || server.metric("native_connections") == 0).await;
}
