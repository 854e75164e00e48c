//! Documents nested so deep that whoever descends into them by recursion runs out of stack.

use aetherflow_schema::{
    documents::{At, DocumentError, Documents},
    native::Start,
};
use automerge::{AutoCommit, ObjType, ROOT, transaction::Transactable};

use crate::common::{Client, document, eventually, follower::Listener, grant, grant_write, memory, start};

/// As many levels as a thread of the runtime has no stack for.
const LEVELS: usize = 100_000;

fn nested(doc: &mut AutoCommit, levels: usize, kind: impl Fn(usize) -> ObjType) {
    let mut object = ROOT;
    let mut outer = ObjType::Map;
    for level in 0..levels {
        object = match outer {
            ObjType::List => doc.insert_object(&object, 0, kind(level)).unwrap(),
            _ => doc.put_object(&object, "k", kind(level)).unwrap(),
        };
        outer = kind(level);
    }
    doc.commit();
}

fn assert_too_deep<T: std::fmt::Debug>(read: Result<T, DocumentError>) {
    let Err(DocumentError::Invalid(reason)) = read else {
        panic!("{read:?}");
    };
    assert!(reason.contains("deep"), "{reason}");
}

/// It is written, applied, synced, exported, imported, and loaded again; only its JSON is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_nested_without_end_is_refused_as_json_and_harms_nobody() {
    let storage = memory();
    let (statesync, _) = start(storage.clone());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    nested(&mut writer.doc, LEVELS, |_| ObjType::Map);
    writer.until_saved().await;
    assert_too_deep(statesync.read(grant(&id), At::Now).await);
    writer.doc.put(ROOT, "later", true).unwrap();
    writer.until_saved().await;
    assert_too_deep(statesync.read(grant(&id), At::Change(1)).await);

    let (statesync, _) = start(storage);
    assert_too_deep(statesync.read(grant(&id), At::Now).await);
    assert_eq!(statesync.history(grant(&id), 0, 10).await.unwrap().total, 2);
    statesync.export(grant(&id), At::Change(1)).await.unwrap();
    let file = statesync.export(grant(&id), At::Now).await.unwrap();
    let copy = document(2);
    statesync.import(grant_write(&copy), file, None).await.unwrap();
    assert_too_deep(statesync.read(grant(&copy), At::Now).await);
    let mut late = Client::open(&statesync, &id).await;
    late.request().await;
    let follower = Listener::follow(&statesync, &copy, Start::Snapshot);
    eventually("others get it whole", async || {
        late.exchange().await;
        late.doc.get_heads() == writer.doc.get_heads() && follower.document().get_heads() == writer.doc.get_heads()
    })
    .await;
    writer.doc.delete(ROOT, "k").unwrap();
    let mut writer_again = Client::open(&statesync, &id).await;
    writer_again.doc = writer.doc;
    writer_again.until_saved().await;
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.content, serde_json::json!({"later": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_maps_within_one_another_are_read_as_deep_as_json_goes() {
    let (statesync, _) = start(memory());
    for (n, levels) in [(1, 512), (2, 513)] {
        let id = document(n);
        let mut writer = Client::open(&statesync, &id).await;
        let kind = |level| [ObjType::List, ObjType::Map][level % 2];
        nested(&mut writer.doc, levels, kind);
        writer.until_saved().await;
        let read = statesync.read(grant(&id), At::Now).await;
        if levels > 512 {
            assert_too_deep(read);
            continue;
        }
        let mut value = &read.unwrap().content;
        for _ in 0..levels {
            value = value.get("k").or_else(|| value.get(0)).unwrap();
        }
        assert_eq!(*value, serde_json::json!({}));
    }
}
