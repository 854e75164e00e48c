//! Who is here, and who is connected, over HTTP.

use std::sync::atomic::Ordering;

use aetherflow_schema::{
    id::SessionId,
    sessions::{SessionFilter, SessionState},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::Client,
    http_client::{Answer, get, request},
    native_client::{NativeClient, presence, subscribe},
    server::{DEADLINE, Server, document, until},
};

async fn ask(server: &Server, path: &str) -> Value {
    let answer = get(server.address, path).await;
    assert_eq!(answer.status, 200, "{path}");
    answer.json()
}

async fn delete(server: &Server, path: &str) -> Answer {
    request(server.address, "DELETE", path, &[], b"").await
}

/// A stream of events, as another program reads it.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(server: &Server, path: &str) -> Self {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        // Without chunks, so that lines are lines.
        let head = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", server.address);
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut events = Self(BufReader::new(socket));
        let mut head = Vec::new();
        loop {
            match events.line().await.expect("a head") {
                line if line.is_empty() => break,
                line => head.push(line.to_lowercase()),
            }
        }
        assert!(head[0].contains(" 200 "), "{head:?}");
        for header in ["content-type: text/event-stream", "cache-control: no-store"] {
            assert!(head.iter().any(|line| line == header), "{head:?}");
        }
        events
    }

    /// The next line; `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(DEADLINE, self.0.read_line(&mut line)).await.expect("a line");
        (read.unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; `None` at the end. Comments are skipped.
    async fn next(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        loop {
            let line = self.line().await?;
            if let Some(found) = line.strip_prefix("event: ") {
                name = found.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    async fn comment(&mut self) -> String {
        loop {
            let line = self.line().await.expect("a comment");
            if line.starts_with(':') {
                return line;
            }
        }
    }
}

#[tokio::test]
async fn everybody_here_is_listed_in_pages_with_what_is_known_of_them() {
    let server = Server::start().await;
    let id = document(1);
    let mut native = NativeClient::welcomed(&server).await;
    native.say(presence(&id, "{\"at\": 7}", 60_000)).await;
    native.settle().await;
    let mut stock = Client::join(&server, "ada").await;
    stock.sync(&id, "sync").await;
    until("both to be present", || server.metric("native_present") == 2).await;
    let path = format!("/v1/documents/{id}/presence");
    let body = ask(&server, &path).await;
    assert_eq!(
        (&body["documentId"], &body["next"]),
        (&json!(id.to_string()), &Value::Null)
    );
    // Ids of the same millisecond are in no order.
    let listed = body["present"].as_array().unwrap();
    let of = |client: &str| listed.iter().find(|one| one["client"] == client).unwrap();
    let (one, other) = (of("laptop"), of("ada"));
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&one["client"], &one["protocol"]),
        (&json!("laptop"), &json!("native-websocket"))
    );
    assert_eq!(
        (&one["json"], &one["state"]),
        (&json!({"at": 7}), &json!("eyJhdCI6IDd9"))
    );
    assert!((1..=60_000).contains(&one["ttlMs"].as_u64().unwrap()) && one["principal"] == "anonymous");
    assert_eq!(
        (&other["client"], &other["protocol"]),
        (&json!("ada"), &json!("automerge-repo"))
    );
    assert_eq!((&other["state"], other.get("json")), (&json!(""), None));

    let first = ask(&server, &format!("{path}?limit=1")).await;
    assert_eq!(
        (&first["present"][0]["session"], &first["next"]),
        (&listed[0]["session"], &listed[0]["session"])
    );
    let after = first["next"].as_str().unwrap();
    let rest = ask(&server, &format!("{path}?limit=1&after={after}")).await;
    assert_eq!(
        (&rest["present"][0]["session"], &rest["next"]),
        (&listed[1]["session"], &Value::Null)
    );
    for wrong in ["?limit=0", "?limit=1001", "?after=x", "?who=ada"] {
        assert_eq!(
            get(server.address, &format!("{path}{wrong}")).await.status,
            400,
            "{wrong}"
        );
    }
    server.policy.closed.store(true, Ordering::Relaxed);
    for path in [path.clone(), format!("{path}/events")] {
        let refused = get(server.address, &path).await;
        assert_eq!((refused.status, &*refused.problem()), (403, "not-allowed"));
    }
}

#[tokio::test]
async fn a_stream_begins_with_who_is_here_and_ends_with_the_access() {
    let server = Server::with(|options| options.timeouts.keepalive_ms = 1_000).await;
    let id = document(1);
    let mut native = NativeClient::welcomed(&server).await;
    native.say(presence(&id, "1", 60_000)).await;
    native.settle().await;
    let mut events = Events::open(&server, &format!("/v1/documents/{id}/presence/events")).await;
    let (name, snapshot) = events.next().await.unwrap();
    assert_eq!((&*name, &snapshot["documentId"]), ("snapshot", &json!(id.to_string())));
    let who = snapshot["present"][0]["session"].clone();
    assert_eq!(
        (
            snapshot["present"].as_array().unwrap().len(),
            &snapshot["present"][0]["json"]
        ),
        (1, &json!(1))
    );
    native.say(presence(&id, "2", 60_000)).await;
    let (name, updated) = events.next().await.unwrap();
    assert_eq!(
        (&*name, &updated["json"], &updated["session"]),
        ("updated", &json!(2), &who)
    );
    let mut other = NativeClient::welcomed(&server).await;
    other.say(presence(&id, "3", 60_000)).await;
    let (name, joined) = events.next().await.unwrap();
    assert_eq!((&*name, &joined["json"]), ("joined", &json!(3)));
    other.goodbye().await;
    let (name, left) = events.next().await.unwrap();
    assert_eq!(
        (&*name, &left["session"], left.get("state")),
        ("left", &joined["session"], None)
    );
    assert_eq!(events.comment().await, ": still here");

    server.policy.closed.store(true, Ordering::Relaxed);
    server.watcher.document_changed(&id);
    while let Some((name, _)) = events.next().await {
        assert_eq!(name, "left", "nothing but what was on its way");
    }
}

#[tokio::test]
async fn streams_count_as_connections_and_end_with_the_server_and_the_reader() {
    let server = Server::with(|options| options.limits.connections = 2).await;
    let id = document(1);
    let path = format!("/v1/documents/{id}/presence/events");
    let mut one = Events::open(&server, &path).await;
    let other = Events::open(&server, &path).await;
    until("both to be counted", || server.metric("connections") == 2).await;
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let refused = timeout(DEADLINE, tokio::io::AsyncReadExt::read(&mut third, &mut [0; 1]))
        .await
        .unwrap();
    assert!(matches!(refused, Ok(0) | Err(_)), "it was accepted");
    drop(other);
    until("the other to be gone", || server.metric("connections") == 1).await;
    one.next().await.unwrap();
    server.shutdown.trigger();
    assert_eq!(one.next().await, None);
}

#[tokio::test]
async fn sessions_are_listed_read_and_ended() {
    let server = Server::start().await;
    server.policy.administered.store(true, Ordering::Relaxed);
    let id = document(1);
    let mut native = NativeClient::welcomed(&server).await;
    native.say(subscribe(1, &id, 4)).await;
    native.settle().await;
    let gone = NativeClient::welcomed(&server).await;
    drop(gone);
    let stock = Client::join(&server, "ada").await;
    until("the second connection to be gone", || {
        let page = server.sessions.page(&SessionFilter::default(), None, 10);
        page.sessions
            .iter()
            .any(|session| session.state == SessionState::Disconnecting)
    })
    .await;
    let all = ask(&server, "/v1/sessions").await;
    let ids: Vec<String> = all["sessions"].as_array().unwrap().iter().map(id_of).collect();
    assert_eq!((ids.len(), &all["next"]), (3, &Value::Null));
    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let page = ask(&server, &format!("/v1/sessions?limit=1{after}")).await;
        paged.extend(page["sessions"].as_array().unwrap().iter().map(id_of));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, ids);
    for (query, count) in [
        ("state=disconnecting", 1),
        ("state=active,idle", 2),
        ("principal=anonymous", 3),
        ("principal=ada", 0),
        ("node=test", 3),
        ("node=other", 0),
    ] {
        let found = ask(&server, &format!("/v1/sessions?{query}")).await;
        assert_eq!(found["sessions"].as_array().unwrap().len(), count, "{query}");
    }
    for wrong in [
        "state=closed",
        "state=",
        "node=a.b",
        "document=x",
        "limit=0",
        "after=1",
        "color=red",
    ] {
        let refused = get(server.address, &format!("/v1/sessions?{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}");
    }
    // Ids of the same millisecond are in no order.
    let listed = all["sessions"].as_array().unwrap();
    let ada = listed.iter().find(|session| session["client"] == "ada").unwrap();
    let one = ask(&server, &format!("/v1/sessions/{}", id_of(ada))).await;
    assert_eq!(
        (&one["client"], &one["protocol"]),
        (&json!("ada"), &json!("automerge-repo"))
    );
    assert_eq!(
        (&one["connected"], &one["resumable"], &one["state"]),
        (&json!(true), &json!(false), &json!("active"))
    );
    assert!(one["address"].as_str().unwrap().starts_with("127.0.0.1:"));

    let path = format!(
        "/v1/sessions/{}",
        SessionId(uuid::Uuid::from_slice(&native.welcome.session_id).unwrap())
    );
    let ended = delete(&server, &path).await;
    assert_eq!((ended.status, ended.body.len()), (204, 0));
    assert_eq!(native.closed().await.0, 4014);
    for answer in [delete(&server, &path).await, get(server.address, &path).await] {
        assert_eq!((answer.status, &*answer.problem()), (404, "no-such-session"));
    }
    assert_eq!(get(server.address, "/v1/sessions/x").await.problem(), "session-id");
    drop(stock);
}

#[tokio::test]
async fn nobody_in_particular_sees_no_sessions() {
    let server = Server::start().await;
    let _native = NativeClient::welcomed(&server).await;
    let id = server.sessions.page(&SessionFilter::default(), None, 1).sessions[0].id;
    for path in ["/v1/sessions".to_owned(), format!("/v1/sessions/{id}")] {
        let refused = get(server.address, &path).await;
        assert_eq!((refused.status, &*refused.problem()), (403, "not-allowed"));
    }
    assert_eq!(delete(&server, &format!("/v1/sessions/{id}")).await.status, 403);
    assert_eq!(
        server.sessions.page(&SessionFilter::default(), None, 1).sessions.len(),
        1
    );
}

fn id_of(session: &Value) -> String {
    session["session"].as_str().unwrap().to_owned()
}
