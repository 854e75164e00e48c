//! Documents as a whole: made of JSON, imported, read at any place and exported, while peers have them open.

use aetherflow_schema::{
    documents::{At, DocumentError, Documents},
    id::ChangeHash,
};
use automerge::{AutoCommit, ROOT, ReadDoc, transaction::Transactable};

use crate::common::{Client, document, eventually, grant, grant_write, memory, start};

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_created_imported_read_and_exported_at_any_place() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let missing = statesync.read(grant(&id), At::Now).await;
    assert_eq!(missing.unwrap_err(), DocumentError::NotFound);
    let content = serde_json::json!({"title": "plan", "items": [1, 2, 3]});
    let created = statesync.create(grant_write(&id), Some(content.clone())).await.unwrap();
    assert_eq!(created.heads.len(), 1);

    let file = statesync.export(grant(&id), At::Now).await.unwrap();
    let mut copy = AutoCommit::load(&file).unwrap();
    copy.put(ROOT, "title", "another plan").unwrap();
    let written = statesync
        .import(grant_write(&id), copy.save().into(), None)
        .await
        .unwrap();
    assert_eq!(written.heads, [ChangeHash(copy.get_heads()[0].0)]);

    let now = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(now.content["title"], "another plan");
    let before = statesync
        .read(grant(&id), At::Heads(created.heads.clone()))
        .await
        .unwrap();
    assert_eq!(before.content, content);
    assert_eq!(
        statesync.read(grant(&id), At::Change(1)).await.unwrap().content,
        content
    );
    assert_eq!(
        statesync.read(grant(&id), At::Change(0)).await.unwrap().content,
        serde_json::json!({})
    );
    assert!(matches!(
        statesync.read(grant(&id), At::Change(9)).await,
        Err(DocumentError::NoSuchPlace(_))
    ));
    let old = statesync.export(grant(&id), At::Change(1)).await.unwrap();
    assert_eq!(AutoCommit::load(&old).unwrap().get_heads()[0].0, created.heads[0].0);

    let page = statesync.history(grant(&id), 0, 1).await.unwrap();
    assert_eq!((page.total, page.next, page.changes.len()), (2, Some(1), 1));
    assert!(page.changes[0].offset.is_some() && page.changes[0].committed_ms.is_some());
    let rest = statesync.history(grant(&id), 1, 10).await.unwrap();
    assert_eq!((rest.next, rest.changes[0].index), (None, 2));
    assert_eq!(statesync.list(None, 10).await.unwrap(), std::slice::from_ref(&id));
    let nonsense = statesync
        .import(grant_write(&id), b"no automerge file".as_slice().into(), None)
        .await;
    assert!(matches!(nonsense, Err(DocumentError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_hear_of_an_import_and_of_what_comes_after_it() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut one = Client::open(&statesync, &id).await;
    let mut two = Client::open(&statesync, &id).await;
    for n in 0..5 {
        one.doc.put(ROOT, "n", n).unwrap();
        one.until_saved().await;
        two.exchange().await;
        let file = statesync.export(grant(&id), At::Now).await.unwrap();
        let mut copy = AutoCommit::load(&file).unwrap();
        copy.put(ROOT, format!("imported-{n}"), true).unwrap();
        statesync
            .import(grant_write(&id), copy.save().into(), None)
            .await
            .unwrap();
        one.doc.put(ROOT, format!("after-{n}"), true).unwrap();
        one.doc.commit();
        eventually("both have all of it", async || {
            one.exchange().await;
            two.exchange().await;
            one.doc.get_heads() == two.doc.get_heads() && two.doc.keys(ROOT).count() == 1 + 2 * (n as usize + 1)
        })
        .await;
    }
}
