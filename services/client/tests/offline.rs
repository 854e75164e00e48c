//! A client that reaches nobody: what is decided without a server.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use aetherflow_client::{
    Client, CloseError, Committed, Offset, Options, SubmitError, Tier,
    automerge::{AutomergeError, ROOT, transaction::Transactable},
};
use futures_util::FutureExt;

/// Nobody listens at the discard port.
async fn over_nothing() -> Client {
    Client::connect("ws://127.0.0.1:9", Options::default()).await.unwrap()
}

#[tokio::test]
async fn an_edit_that_changes_nothing_has_its_receipt_at_once_which_says_nothing_of_others() {
    let client = over_nothing().await;
    let document = client.create().await.unwrap();
    let mut before = document.change(|tx| tx.put(ROOT, "a", 1)).await.unwrap();
    let version = *document.changed().borrow();
    let heads = document.heads();
    let nothings = [
        document.change(|_| Ok::<_, AutomergeError>(())).await.unwrap(),
        // What is there already is written no second time.
        document.change(|tx| tx.put(ROOT, "a", 1)).await.unwrap(),
    ];
    for mut nothing in nothings {
        assert_eq!(nothing.hash(), None);
        nothing.kept().await.unwrap();
        let (offset, tier) = (Offset::ZERO, Tier::Durable);
        assert_eq!(nothing.now_or_never(), Some(Ok(Committed { offset, tier })));
    }
    assert_eq!((*document.changed().borrow(), document.heads()), (version, heads));
    assert!((&mut before).now_or_never().is_none(), "it is stored nowhere");
    assert_eq!(client.close(Duration::ZERO).await, Err(CloseError::Lost(1)));
    assert_eq!(before.await, Err(SubmitError::Closed));
    assert!(
        document.change(|_| Ok::<_, AutomergeError>(())).await.is_err(),
        "it is closed"
    );
}
