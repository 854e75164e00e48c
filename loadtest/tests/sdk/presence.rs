//! Who is present.

use std::time::Duration;

use super::setup::{WITHIN, document, impatient, over_quantum, over_websocket, start, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_present_is_seen_to_come_to_change_and_to_leave() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let id = document();
    let (one, two) = (
        over_quantum(&server, impatient()).await,
        over_websocket(&server, impatient()).await,
    );
    let (first, second) = (one.open(&id).await.unwrap(), two.open(&id).await.unwrap());
    for document in [&first, &second] {
        document.loaded(WITHIN).await.unwrap();
    }
    let hour = Duration::from_secs(3600);
    let shows = |state: &'static str| {
        let watched = second.presence().subscribe();
        async move {
            until(watched, state, |everybody| match state {
                "" => everybody.is_empty(),
                _ => everybody.values().any(|present| present.state == state),
            })
            .await
        }
    };
    first.presence().set("cursor at 1", hour).await.unwrap();
    assert_eq!(shows("cursor at 1").await.len(), 1);
    first.presence().set("cursor at 2", hour).await.unwrap();
    assert_eq!(shows("cursor at 2").await.len(), 1);
    first.presence().clear().await.unwrap();
    shows("").await;
    first.presence().set("back", hour).await.unwrap();
    shows("back").await;
    assert!(first.presence().everybody().is_empty(), "one does not see oneself");
    // Long before its hour is over.
    one.close(WITHIN).await.unwrap();
    shows("").await;
    server.stop().await.unwrap();
}
