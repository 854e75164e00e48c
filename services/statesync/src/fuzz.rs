//! Fuzzing: changes as clients send them. `schema/tests/fuzz` says how it is run.

#[path = "../../../quantum/proto/tests/fuzz/run.rs"]
mod run;
#[allow(dead_code, reason = "the transport needs more of it")]
#[path = "../../../quantum/proto/tests/fuzz/source.rs"]
mod source;

use std::sync::LazyLock;

use aetherflow_schema::{
    access::{Author, Caller},
    id::{DocumentId, SessionId},
};
use automerge::{AutoCommit, Automerge, ObjType, ROOT, sync, sync::SyncDoc, transaction::Transactable};
use bytes::Bytes;

use self::{run::seeds, source::Source};
use crate::{contained, guard::bomb, intake};

fn author() -> Author {
    Caller::anonymous(SessionId(Default::default())).author()
}

fn document() -> DocumentId {
    DocumentId::from_bytes(&[7; 16]).unwrap()
}

/// A document, the changes of which are of many kinds.
fn written() -> AutoCommit {
    let mut doc = AutoCommit::new().with_actor(vec![7; 16].into());
    let text = doc.put_object(ROOT, "text", ObjType::Text).unwrap();
    doc.splice_text(&text, 0, 0, &"to be or not to be ".repeat(20)).unwrap();
    doc.commit();
    doc.splice_text(&text, 3, 9, "x").unwrap();
    doc.put(ROOT, "n", -5).unwrap();
    doc.commit();
    doc.delete(ROOT, "n").unwrap();
    doc.put(ROOT, "bytes", vec![0xff; 30]).unwrap();
    doc.commit();
    doc
}

/// The body of a change chunk.
fn body(change: &[u8]) -> &[u8] {
    let mut rest = &change[9..];
    while rest[0] & 0x80 != 0 {
        rest = &rest[1..];
    }
    &rest[1..]
}

/// A change with damage, its checksum made good: what is taken, and can be applied, makes a document that can be saved
/// and loaded, unless it overwrites what is not there.
fn change(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let changes = written().get_changes(&[]);
        changes.iter().map(|change| body(change.raw_bytes()).to_vec()).collect()
    });
    let bytes = bomb::chunk(1, &Source::new(data).nearly(&CORPUS));
    let Ok(weighed) = intake::weigh_changes(vec![Bytes::from(bytes)]) else {
        return;
    };
    let rows = weighed.rows;
    let Ok((changes, _)) = intake::take_changes(&document(), &author(), weighed) else {
        return;
    };
    let change = &changes[0];
    assert!(change.len() as u64 <= rows);
    let mut doc = Automerge::new();
    if !change.deps().is_empty()
        || change
            .decode()
            .operations
            .iter()
            .any(|operation| !operation.pred.is_empty())
    {
        return;
    }
    if contained(|| doc.apply_changes(changes.iter().cloned())).is_ok_and(|applied| applied.is_ok()) {
        let saved = contained(|| doc.save()).unwrap();
        let loaded = contained(|| Automerge::load(&saved)).unwrap().unwrap();
        assert_eq!(loaded.get_heads(), doc.get_heads());
    }
}

/// A sync message, or the file of a document, with damage.
fn message(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let mut doc = written();
        let mut state = sync::State::new();
        let first = doc.sync().generate_sync_message(&mut state).unwrap().encode();
        let whole = sync::Message {
            heads: doc.get_heads(),
            need: Vec::new(),
            have: Vec::new(),
            changes: doc.save().into(),
            flags: None,
            version: sync::MessageVersion::V2,
        };
        vec![first, whole.encode()]
    });
    let mut source = Source::new(data);
    if let Ok(weighed) = intake::weigh_message(&source.nearly(&CORPUS)) {
        let _ = intake::take_in(&document(), &author(), weighed);
    }
    if let Ok(weighed) = intake::weigh_file(source.nearly(&[written().save()]).into()) {
        let _ = intake::take_file(weighed);
    }
}

#[test]
fn any_change() {
    seeds("any_change", 3_000, 200, change);
}

#[test]
fn any_message() {
    seeds("any_message", 2_000, 200, message);
}
