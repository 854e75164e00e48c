//! Two servers that share sessions and presence over a real nats-server.
//!
//! Needs `AETHERFLOW_BIN`, and nats-server.
#![allow(clippy::unwrap_used)]

mod nats;

use std::time::Duration;

use aetherflow_loadtest::{
    client::{Client, ClientOptions, Dialect},
    edits, http,
    native::{Connection, Transport},
    replica::Replica,
    server::{Server, ServerError, ServerOptions},
};
use aetherflow_schema::{
    id::{DocumentId, Offset},
    native::{
        ClientFrame, Presence, RequestId, Start, Subscribe,
        wire::{PresenceChange, PresenceEvent, server_frame::Kind},
    },
};
use bytes::Bytes;
use hyper::Method;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::nats::Nats;

const WITHIN: Duration = Duration::from_secs(30);

/// A node that is not heard of for so long is gone.
const LEASE: Duration = Duration::from_millis(1500);

/// A server of the cluster; its data goes with it.
struct Node {
    server: Server,
    _dir: TempDir,
}

impl Node {
    async fn start(nats: &Nats) -> Self {
        let dir = TempDir::new().unwrap();
        let options = ServerOptions::new(dir.path())
            .unwrap()
            .set("cluster.nats", nats.url())
            .set("cluster.presence_lease_ms", LEASE.as_millis());
        let server = Server::start(options).await.unwrap();
        Self { server, _dir: dir }
    }

    async fn client(&self, transport: Transport, name: &str) -> Connection {
        let endpoint = self.server.endpoint().unwrap();
        Connection::open_on(transport, &endpoint, name).await.unwrap()
    }

    async fn ask(&self, path: &str) -> serde_json::Value {
        let answer = http::ask(self.server.address(), Method::GET, path, WITHIN)
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

fn document() -> DocumentId {
    DocumentId::from_uuid(Uuid::new_v4())
}

fn subscribe(document: &DocumentId) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe {
        request: RequestId(1),
        document: document.clone(),
        start: Start::After(Offset(0)),
    })
}

fn present(document: &DocumentId, state: &'static str, ttl_ms: u32) -> ClientFrame {
    ClientFrame::Presence(Presence {
        document: document.clone(),
        state: Bytes::from_static(state.as_bytes()),
        ttl_ms,
    })
}

/// What a client hears next of presence.
async fn heard(connection: &mut Connection) -> (PresenceChange, String) {
    let event = event(connection).await;
    (event.change(), String::from_utf8(event.state.to_vec()).unwrap())
}

async fn event(connection: &mut Connection) -> PresenceEvent {
    match connection.hear().await.unwrap() {
        Kind::PresenceEvent(event) => event,
        other => panic!("{other:?}"),
    }
}

/// Waits for something that the servers say.
macro_rules! until {
    ($what:literal, $is_so:expr) => {
        let deadline = Instant::now() + WITHIN;
        while !$is_so {
            assert!(Instant::now() < deadline, "waited in vain: {}", $what);
            // Between two looks; nothing else tells.
            sleep(Duration::from_millis(20)).await;
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_one_node_see_those_of_the_other_come_change_and_go() {
    let nats = Nats::start();
    let (one, two) = (Node::start(&nats).await, Node::start(&nats).await);
    let id = document();
    let mut ada = one.client(Transport::WebSocket, "ada").await;
    ada.say(present(&id, "early", 3_600_000)).await.unwrap();
    let mut bob = two.client(Transport::Quantum, "bob").await;
    bob.say(subscribe(&id)).await.unwrap();
    let joined = event(&mut bob).await;
    assert_eq!(
        (joined.change(), &joined.state[..]),
        (PresenceChange::Joined, &b"early"[..])
    );
    assert_eq!(joined.session_id, ada.welcome().session_id);
    ada.say(present(&id, "late", 3_600_000)).await.unwrap();
    assert_eq!(heard(&mut bob).await, (PresenceChange::Updated, "late".to_owned()));
    ada.say(present(&id, "", 0)).await.unwrap();
    assert_eq!(heard(&mut bob).await, (PresenceChange::Left, String::new()));
    ada.say(present(&id, "{\"at\":7}", 3_600_000)).await.unwrap();
    assert_eq!(heard(&mut bob).await.0, PresenceChange::Joined);

    // Sessions are known everywhere, a moment later.
    let path = format!("/v1/documents/{id}/presence");
    until!("the session", two.ask(&path).await["present"][0]["client"] == "ada");
    let here = two.ask(&path).await["present"][0].clone();
    assert_eq!(
        (&here["protocol"], &here["json"]["at"]),
        (&"native-websocket".into(), &7.into())
    );
    let session = two
        .ask(&format!("/v1/sessions/{}", here["session"].as_str().unwrap()))
        .await;
    assert_ne!(
        session["node"],
        two.ask("/v1/sessions?state=active").await["sessions"][1]["node"]
    );

    // With its whole node, and without a word.
    one.server.kill().await.unwrap();
    assert_eq!(heard(&mut bob).await, (PresenceChange::Left, String::new()));
    assert_eq!(two.ask(&path).await["present"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_of_one_node_is_seen_at_the_other_until_it_is_gone() {
    let nats = Nats::start();
    let (one, two) = (Node::start(&nats).await, Node::start(&nats).await);
    let id = document();
    let mut bob = two.client(Transport::WebSocket, "bob").await;
    bob.say(subscribe(&id)).await.unwrap();
    let options = ClientOptions {
        dialect: Dialect::Repo,
        ..ClientOptions::from(one.server.endpoint().unwrap())
    };
    let replica = Replica::new(edits::base().unwrap());
    let carol = Client::start("carol".to_owned(), options, [(id.clone(), replica)]);
    assert_eq!(heard(&mut bob).await, (PresenceChange::Joined, String::new()));
    let path = format!("/v1/documents/{id}/presence");
    until!(
        "its session",
        two.ask(&path).await["present"][0]["protocol"] == "automerge-repo"
    );
    carol.stop().await;
    assert_eq!(heard(&mut bob).await, (PresenceChange::Left, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_with_its_session_at_another_node() {
    let nats = Nats::start();
    let (one, two) = (Node::start(&nats).await, Node::start(&nats).await);
    let id = document();
    let mut ada = one.client(Transport::WebSocket, "ada").await;
    ada.say(present(&id, "there", 3_600_000)).await.unwrap();
    let welcome = ada.welcome().clone();
    let mut bob = two.client(Transport::WebSocket, "bob").await;
    bob.say(subscribe(&id)).await.unwrap();
    assert_eq!(heard(&mut bob).await, (PresenceChange::Joined, "there".to_owned()));
    let endpoint = two.server.endpoint().unwrap();
    let mut again = Connection::resume_on(Transport::Quantum, &endpoint, "ada", welcome.resume_token)
        .await
        .unwrap();
    assert!(again.welcome().resumed && again.welcome().session_id == welcome.session_id);
    again.say(present(&id, "here", 3_600_000)).await.unwrap();
    // Whether the other node has let go of it before is a matter of time.
    let mut last = heard(&mut bob).await;
    while last.1 != "here" {
        last = heard(&mut bob).await;
    }
    drop(ada);
    let path = format!("/v1/documents/{id}/presence");
    for node in [&one, &two] {
        until!(
            "one of it",
            node.ask(&path).await["present"].as_array().unwrap().len() <= 1
        );
    }
    assert_eq!(two.ask(&path).await["present"][0]["protocol"], "native-quantum");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_seen_heals_when_nats_was_away() {
    let mut nats = Nats::start();
    let (one, two) = (Node::start(&nats).await, Node::start(&nats).await);
    let id = document();
    let mut ada = one.client(Transport::WebSocket, "ada").await;
    let mut bob = two.client(Transport::WebSocket, "bob").await;
    bob.say(subscribe(&id)).await.unwrap();
    ada.say(present(&id, "before", 3_600_000)).await.unwrap();
    assert_eq!(heard(&mut bob).await, (PresenceChange::Joined, "before".to_owned()));
    assert_eq!(two.server.ailments().await.unwrap(), Vec::<String>::new());

    nats.cut();
    assert_eq!(heard(&mut bob).await, (PresenceChange::Left, String::new()));
    let cluster = async || {
        two.server
            .ailments()
            .await
            .unwrap()
            .iter()
            .any(|ailment| ailment.contains("cluster"))
    };
    until!("it to be said", cluster().await);
    // Clients come and are served all the same, though they cannot come back.
    let late = two.client(Transport::WebSocket, "late").await;
    assert!(late.welcome().resume_token.is_empty());
    ada.say(present(&id, "meanwhile", 3_600_000)).await.unwrap();

    nats.restore();
    assert_eq!(heard(&mut bob).await, (PresenceChange::Joined, "meanwhile".to_owned()));
    until!("it to be well again", !cluster().await);
    let later = two.client(Transport::WebSocket, "later").await;
    assert!(!later.welcome().resume_token.is_empty());
}

#[tokio::test]
async fn a_node_that_does_not_find_nats_says_so_and_does_not_serve() {
    let dir = TempDir::new().unwrap();
    let nobody = nats::free_address(dir.path());
    let options = ServerOptions::new(dir.path())
        .unwrap()
        .set("cluster.nats", format!("nats://{nobody}"))
        .set("cluster.patience_ms", 0);
    let Err(ServerError::Ended { status, log }) = Server::start(options).await else {
        panic!("it serves");
    };
    assert!(!status.success() && log.contains("NATS cannot be reached"), "{log}");
}
