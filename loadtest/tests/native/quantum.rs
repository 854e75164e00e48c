//! What there is over Quantum alone.

use aetherflow_loadtest::{
    http,
    link::dial_quantum,
    native::Transport,
    server::{Server, ServerOptions},
};
use aetherflow_schema::native::ClientFrame;
use automerge::AutoCommit;
use hyper::Method;
use quantum::{ChannelId, ConnectionError, SendOptions, TransportConfig};

use super::steps::{WITHIN, changes, document, open, receipt, start, submit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_on_quantum_is_told_that_the_server_was_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let patient = TransportConfig {
        idle_timeout: WITHIN,
        ..TransportConfig::default()
    };
    let endpoint = server.endpoint().unwrap();
    let connection = dial_quantum(&endpoint, patient).await.unwrap();
    // The new process has the secret of the old one, so that its reset is believed.
    let server = Server::start(server.kill().await.unwrap()).await.unwrap();
    let ping = ClientFrame::Ping(1).encode();
    // It may have heard of it already, by a packet that it sent by itself: then nothing can be sent any more.
    let _ = connection.send(ChannelId(0), SendOptions::interactive(), ping).await;
    assert_eq!(connection.closed().await, ConnectionError::Reset);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_quantum_does_is_counted_and_logged() {
    let dir = tempfile::tempdir().unwrap();
    let qlog = dir.path().join("qlog");
    let options = ServerOptions::new(dir.path())
        .unwrap()
        .set("quantum.qlog", qlog.display());
    let server = Server::start(options).await.unwrap();
    let mut connection = open(Transport::Quantum, &server, "client").await;
    let id = document();
    for request in 1..=3 {
        let one = changes(&mut AutoCommit::new(), 1);
        connection.say(submit(request, &id, &one)).await.unwrap();
        receipt(&mut connection).await;
    }
    let admin = server.options().admin;
    let answer = http::ask(admin, Method::GET, "/metrics", WITHIN).await.unwrap();
    let text = answer.text();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    assert_eq!(value("quantum_messages_received_total"), 4.0);
    assert_eq!(value("quantum_messages_sent_total"), 4.0);
    assert_eq!(value("quantum_endpoint_accepted_total"), 1.0);
    assert!(value("quantum_packets_received_total") >= 4.0);
    assert!(value("quantum_rtt_seconds{quantile=\"1\"}") > 0.0);
    assert!(text.contains("quantum_connections{bbr_state="));
    drop(connection);
    server.stop().await.unwrap();
    let files: Vec<_> = std::fs::read_dir(&qlog).unwrap().collect();
    assert_eq!(files.len(), 1);
    let log = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    assert!(log.contains("packet_received") && log.contains("packet_sent"));
}
