//! Peers that may only read, and what becomes of what they send.

use aetherflow_schema::documents::{At, Documents, PeerFrame};
use automerge::{ROOT, ReadDoc, transaction::Transactable};

use crate::common::{Client, document, eventually, grant, memory, start};

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_peer_that_may_only_read_reach_nobody_and_it_goes_on_reading() {
    let storage = memory();
    let (statesync, _) = start(storage.clone());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    writer.doc.put(ROOT, "n", 0).unwrap();
    writer.until_saved().await;
    let mut reader = Client::open(&statesync, &id).await;
    reader.reads_only = true;
    reader.is_stubborn = true;
    reader.request().await;
    eventually("the reader has the document", async || {
        reader.exchange().await;
        reader.doc.get(ROOT, "n").unwrap().is_some()
    })
    .await;
    let mut refusals = 0;
    for n in 1..=20 {
        reader.doc.put(ROOT, "hidden", n).unwrap();
        reader.doc.commit();
        reader.send_next().await;
        writer.doc.put(ROOT, "n", n).unwrap();
        writer.until_saved().await;
        eventually("the reader has what is new, and its change was refused", async || {
            let frames = reader.receive_all();
            refusals += frames
                .iter()
                .filter(|frame| matches!(frame, PeerFrame::Refused { .. }))
                .count();
            reader.send_next().await;
            reader.doc.get(ROOT, "n").unwrap().unwrap().0.as_i64() == Some(n) && refusals as i64 >= n
        })
        .await;
    }
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!((json.changes, json.content), (21, serde_json::json!({"n": 20})));
    drop(statesync);
    let json = start(storage).0.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.changes, 21, "nothing of it is in the log either");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_may_write_at_last_is_asked_for_what_was_refused() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    writer.doc.put(ROOT, "n", 0).unwrap();
    writer.until_saved().await;
    let mut reader = Client::open(&statesync, &id).await;
    reader.reads_only = true;
    reader.request().await;
    eventually("the reader has the document", async || {
        reader.exchange().await;
        reader.doc.get(ROOT, "n").unwrap().is_some()
    })
    .await;
    reader.doc.put(ROOT, "early", 1).unwrap();
    reader.doc.commit();
    reader.send_next().await;
    eventually("it was refused", async || {
        let refused = |frame: &PeerFrame| matches!(frame, PeerFrame::Refused { .. });
        reader.receive_all().iter().any(refused)
    })
    .await;
    reader.reads_only = false;
    reader.doc.put(ROOT, "later", 2).unwrap();
    reader.until_saved().await;
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.content, serde_json::json!({"n": 0, "early": 1, "later": 2}));
}
