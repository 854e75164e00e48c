//! Edits without a server, and the death of the client.

use std::{
    collections::BTreeSet,
    env,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use aetherflow_client::{Client, Options, Retry};
use aetherflow_loadtest::server::Server;
use tokio::time::{sleep, timeout};

use super::setup::{WITHIN, document, impatient, keys, over_quantum, over_websocket, put, start, until};

/// Runs as a process of its own, see below: edits without a server, and dies of it.
#[tokio::test]
#[ignore = "a part of another test"]
async fn edits_offline_and_is_killed() {
    let (Ok(store), Ok(id)) = (env::var("SDK_STORE"), env::var("SDK_DOCUMENT")) else {
        return;
    };
    let client = over_nothing(Path::new(&store)).await;
    let document = client.open(&id.parse().unwrap()).await.unwrap();
    let before = document.with(|content| keys(content).len());
    for n in before..before + 50 {
        let mut receipt = put(&document, format!("offline {n}")).await;
        receipt.kept().await.unwrap();
    }
    std::process::abort();
}

/// A client that reaches nobody.
async fn over_nothing(store: &Path) -> Client {
    let options = Options {
        store: Some(store.to_owned()),
        ..impatient()
    };
    // Nobody listens at the discard port.
    Client::connect("ws://127.0.0.1:9", options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_edits_survive_the_death_of_the_client_and_are_delivered_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let id = document();
    for _ in 0..2 {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "offline::edits_offline_and_is_killed"]);
        child.env("SDK_STORE", &store).env("SDK_DOCUMENT", id.to_string());
        let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(!status.success(), "it was to die");
    }
    // They are there before there is a server.
    let expected: BTreeSet<_> = (0..100).map(|n| format!("offline {n}")).collect();
    let client = over_nothing(&store).await;
    let reopened = client.open(&id).await.unwrap();
    reopened.loaded(WITHIN).await.unwrap();
    assert_eq!(reopened.with(keys), expected);
    assert_eq!(client.status().borrow().unsettled, 100);
    drop((reopened, client));

    let server = start(&dir).await;
    let options = || Options {
        store: Some(store.clone()),
        ..impatient()
    };
    // Whether the document is opened or not.
    let client = until_free(&server, options()).await;
    until(client.status(), "all have receipts", |status| {
        status.unsettled == 0 && status.link.is_online()
    })
    .await;
    client.close(WITHIN).await.unwrap();
    // The next client has nothing to send.
    let client = over_nothing(&store).await;
    client.open(&id).await.unwrap();
    assert_eq!(client.status().borrow().unsettled, 0);
    client.close(WITHIN).await.unwrap();
    let client = over_quantum(&server, options()).await;
    let document = client.open(&id).await.unwrap();
    timeout(WITHIN, put(&document, "online").await).await.unwrap().unwrap();
    client.close(WITHIN).await.unwrap();
    assert_eq!(server.verify().await.unwrap(), (Vec::new(), 101));
    let fresh = over_websocket(&server, impatient()).await;
    let document = fresh.open(&id).await.unwrap();
    document.loaded(WITHIN).await.unwrap();
    assert_eq!(document.with(|content| content.get_changes(&[]).len()), 101);
    server.stop().await.unwrap();
}

/// The last client gives the store back when its task has ended.
pub(crate) async fn until_free(server: &Server, options: Options) -> Client {
    for _ in 0..1_000 {
        match Client::connect(&format!("ws://{}", server.address()), options.clone()).await {
            Ok(client) => return client,
            Err(error) if error.retry() == Retry::Same => sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store is still used");
}
