//! Documents that are longer than what a client takes.

use std::time::Duration;

use aetherflow_client::{
    Client, Document, Link, LoadError, Options, RejectCode, Retry,
    automerge::{ROOT, transaction::Transactable},
};
use tokio::time::timeout;

use super::setup::{WITHIN, has, impatient, keys, over_quantum, over_websocket, put, start, until};

/// An edit of so many bytes, of noise, since changes are compressed.
async fn grow(document: &Document, key: &str, bytes: usize) {
    let noise: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
    let grown = document.change(|tx| tx.put(ROOT, key, noise)).await.unwrap();
    timeout(WITHIN, grown).await.unwrap().unwrap();
}

async fn refused(document: &Document) {
    let state = until(document.state(), "it is refused", |state| state.refusal.is_some()).await;
    let refusal = state.refusal.unwrap();
    assert_eq!(
        (refusal.code, refusal.retry()),
        (RejectCode::TooLarge, Retry::AfterRefresh)
    );
    assert!(refusal.message.contains("1048576"), "{refusal}");
}

/// The session, and that there was no other one.
async fn session(client: &Client) -> String {
    let status = until(client.status(), "online", |status| status.link.is_online()).await;
    let Link::Online { session, .. } = status.link else {
        panic!("not online");
    };
    session.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_longer_than_a_client_takes_is_refused_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let author = over_websocket(&server, impatient()).await;
    let large = author.create().await.unwrap();
    grow(&large, "noise", 2_000_000).await;
    let options = || Options {
        message_bytes: Some(1 << 20),
        ..impatient()
    };
    for reader in [
        over_websocket(&server, options()).await,
        over_quantum(&server, options()).await,
    ] {
        let growing = author.create().await.unwrap();
        timeout(WITHIN, put(&growing, "small").await).await.unwrap().unwrap();
        let before = session(&reader).await;
        let mut link = reader.status();
        let refused_at_once = reader.open(large.id()).await.unwrap();
        assert!(matches!(
            refused_at_once.loaded(WITHIN).await,
            Err(LoadError::Refused(_))
        ));
        refused(&refused_at_once).await;
        let followed = reader.open(growing.id()).await.unwrap();
        followed.loaded(WITHIN).await.unwrap();
        link.mark_unchanged();
        grow(&growing, "noise", 2_000_000).await;
        refused(&followed).await;
        // What is made here is stored all the same, and others go on.
        timeout(WITHIN, put(&followed, "by the reader").await)
            .await
            .unwrap()
            .unwrap();
        let other = reader.create().await.unwrap();
        timeout(WITHIN, put(&other, "goes on").await).await.unwrap().unwrap();
        assert_eq!(session(&reader).await, before);
        assert!(link.borrow().link.is_online());
        // One that takes more has all of it.
        has(&growing, "the reader's edit came", |content| {
            keys(content).contains("by the reader")
        })
        .await;
        reader.close(Duration::from_secs(10)).await.unwrap();
    }
    server.stop().await.unwrap();
}
