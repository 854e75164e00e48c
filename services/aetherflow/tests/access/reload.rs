//! What the configuration changes while the server runs.

use std::fs;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    http,
    server::{Server, token, within},
};

/// A server with this configuration file, at which pages of https://one.example may write.
async fn start() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aetherflow.toml");
    fs::write(&file, CONFIG).unwrap();
    Server::prepared(folder, &[("AETHERFLOW_CONFIG", file.to_str().unwrap())]).await
}

const CONFIG: &str = "http.allowed_origins = [\"https://one.example\"]\n";

fn configure(server: &Server, more: &str) {
    fs::write(server.folder().join("aetherflow.toml"), format!("{CONFIG}{more}")).unwrap();
}

/// Waits until the log says it so often.
async fn logged(server: &Server, what: &str, times: usize) {
    within(what, async {
        while server.log().matches(what).count() < times {
            sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// How a page of this origin fares that changes something.
async fn from(server: &Server, origin: &str) -> u16 {
    let origin = format!("{}\r\nOrigin: {origin}", token("owner"));
    server
        .ask("POST", "/v1/documents", Some(&origin), Some(json!({})))
        .await
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_change_live_does_at_sighup_and_what_cannot_is_named() {
    let server = start().await;
    let document = server.document().await;
    let path = format!("/v1/documents/{document}");
    assert_eq!(from(&server, "https://one.example").await, 201);
    assert_eq!(from(&server, "https://two.example").await, 403);
    assert_eq!(write(&server, &path).await, 200);

    let changed = "[access]\ndocument_changes = 1\n[limits]\nframe_bytes = 2048\n[logs]\nfilter = \"debug\"\n[sessions]\nmax = 7\n";
    fs::write(
        server.folder().join("aetherflow.toml"),
        format!("http.allowed_origins = [\"https://two.example\"]\n{changed}"),
    )
    .unwrap();
    let not_let_in = async || server.ask("GET", "/v1/access", Some("x"), None).await.status;
    assert_eq!(not_let_in().await, 401);
    assert!(!server.log().contains("not authenticated"), "that is for debugging");
    server.hang_up();
    logged(&server, "read the configuration again", 1).await;
    assert_eq!(not_let_in().await, 401);
    logged(&server, "not authenticated", 1).await;
    assert_eq!(from(&server, "https://one.example").await, 403);
    assert_eq!(from(&server, "https://two.example").await, 201);
    assert_eq!(
        write(&server, &path).await,
        403,
        "the document has as many changes as it may"
    );
    logged(&server, "not in force before a restart", 1).await;
    let log = server.log();
    let warned = log
        .lines()
        .find(|line| line.contains("not in force before a restart"))
        .unwrap();
    assert!(
        warned.contains("limits.frame_bytes")
            && warned.contains("sessions.max")
            && !warned.contains("document_changes"),
        "{warned}"
    );
}

/// Imports a change.
async fn write(server: &Server, path: &str) -> u16 {
    let mut doc = automerge::AutoCommit::new();
    automerge::transaction::Transactable::put(&mut doc, automerge::ROOT, "imported", 1).unwrap();
    let path = format!("{path}/import");
    http::send(server.address, &path, Some(&token("owner")), &doc.save())
        .await
        .status
}

async fn reload(server: &Server) -> (u16, Value) {
    let answer = within(
        "reloading",
        http::ask(server.admin, "POST", "/v1/admin/reload", None, None),
    )
    .await;
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_no_good_changes_nothing_and_rates_change_both_ways() {
    let server = start().await;
    let document = server.document().await;
    let path = format!("/v1/documents/{document}");
    configure(
        &server,
        "[access.rates]\noperations_per_principal = 5\n[limits]\nconnections = 0\n",
    );
    server.hang_up();
    logged(&server, "nothing has changed", 1).await;
    assert!(server.log().contains("limits.connections"));
    let (status, body) = reload(&server).await;
    assert_eq!(
        (status, &body["type"]),
        (400, &json!("urn:aetherflow:problem:configuration"))
    );
    assert!(
        body["detail"].as_str().unwrap().contains("limits.connections"),
        "{body}"
    );
    // How often a second goes well, of many times in it.
    let refused = async || {
        for _ in 0..300 {
            if server.ask("GET", &path, Some(&token("viewer")), None).await.status == 429 {
                return true;
            }
        }
        false
    };
    assert!(!refused().await, "nothing has changed");

    configure(&server, "[access.rates]\noperations_per_principal = 5\n");
    let (status, body) = reload(&server).await;
    assert_eq!(
        (status, body),
        (
            200,
            json!({"applied": ["access.rates.operations_per_principal"], "restart": []})
        )
    );
    assert!(refused().await);
    configure(&server, "");
    reload(&server).await;
    assert!(!refused().await);
}
