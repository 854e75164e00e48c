//! Whether a change is one that automerge would have written.
//!
//! A document keeps its operations, not the bytes of its changes: when it is saved, or sent, they are written anew. A
//! change that came otherwise than automerge writes it, or that overwrites what cannot be there, comes out with another
//! hash than it has: the saved document does not load, here or at a peer, though every change of it did. One such change
//! spoils a document for everybody, so it is refused before it is stored.

use automerge::{
    Change, ChangeHash,
    legacy::{ElementId, Key, ObjectId, Op, OpId, OpType},
};

/// Where the checksum is in a chunk, behind the magic number.
const CHECKSUM: std::ops::Range<usize> = 4..8;

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsound {
    #[error("the change's checksum is not that of its bytes")]
    Checksum,
    #[error("the change is not encoded as automerge encodes it")]
    Encoding,
    #[error("an operation of the change refers to one that comes after it")]
    Order,
    #[error("an operation of the change deletes nothing")]
    Deletion,
}

/// Checks a decoded change and the chunk it came in.
pub(crate) fn check(chunk: &[u8], change: &Change) -> Result<(), Unsound> {
    if chunk.get(CHECKSUM) != checksum(&change.hash()) {
        return Err(Unsound::Checksum);
    }
    let expanded = change.decode();
    for (id, operation) in (change.start_op().get()..).zip(&expanded.operations) {
        check_operation(operation, id)?;
    }
    match Change::from(expanded).raw_bytes() == change.raw_bytes() {
        true => Ok(()),
        false => Err(Unsound::Encoding),
    }
}

fn checksum(hash: &ChangeHash) -> Option<&[u8]> {
    hash.0.get(..CHECKSUM.len())
}

/// Checks the operation with the counter `id`: what it refers to is older, and has a lower one.
fn check_operation(operation: &Op, id: u64) -> Result<(), Unsound> {
    let object = match &operation.obj {
        ObjectId::Root => None,
        ObjectId::Id(object) => Some(object),
    };
    let element = match &operation.key {
        Key::Seq(ElementId::Id(element)) => Some(element),
        Key::Seq(ElementId::Head) | Key::Map(_) => None,
    };
    let mut references = object.into_iter().chain(element).chain(operation.pred.iter());
    if references.any(|OpId(counter, _)| *counter == 0 || *counter >= id) {
        return Err(Unsound::Order);
    }
    match operation.action {
        OpType::Delete if operation.pred.is_empty() => Err(Unsound::Deletion),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use automerge::{
        AutoCommit, ObjType, ROOT, ReadDoc, ScalarValue,
        marks::{ExpandMark, Mark},
        transaction::{CommitOptions, Transactable},
    };
    use proptest::prelude::*;

    use super::*;

    /// One edit of a document, of whatever kind fits.
    fn edit(doc: &mut AutoCommit, kind: u8, place: usize, size: usize) {
        let text = match doc.get(ROOT, "text").unwrap() {
            Some((_, text)) => text,
            None => doc.put_object(ROOT, "text", ObjType::Text).unwrap(),
        };
        let list = match doc.get(ROOT, "list").unwrap() {
            Some((_, list)) => list,
            None => doc.put_object(ROOT, "list", ObjType::List).unwrap(),
        };
        let (length, items) = (doc.length(&text), doc.length(&list));
        let at = place.checked_rem(length).unwrap_or(0);
        let item = place.checked_rem(items).unwrap_or(0);
        let rest = size.min(length - at);
        match kind % 14 {
            0..=2 => doc.splice_text(&text, at, 0, &"aé🙂".repeat(size)).unwrap(),
            3 => doc.splice_text(&text, at, rest as isize, "").unwrap(),
            4 if rest > 0 => {
                let mark = Mark::new("bold".into(), true, at, at + rest);
                doc.mark(&text, mark, ExpandMark::Both).unwrap();
            }
            5 if rest > 0 => doc.unmark(&text, "bold", at, at + rest, ExpandMark::None).unwrap(),
            6 => doc.insert(&list, item, place as i64 - 5).unwrap(),
            7 if items > 0 => doc.delete(&list, item).unwrap(),
            8 if items > 0 => doc.put(&list, item, vec![0xff; size]).unwrap(),
            9 => doc.put(ROOT, format!("key {}", place % 3), 1.5 * size as f64).unwrap(),
            10 => doc.delete(ROOT, format!("key {}", place % 3)).unwrap(),
            11 => doc.put(ROOT, "count", ScalarValue::counter(size as i64)).unwrap(),
            12 if doc.get(ROOT, "count").unwrap().is_some() => doc.increment(ROOT, "count", -3).unwrap(),
            13 => {
                let map = doc.insert_object(&list, item, ObjType::Map).unwrap();
                doc.put(&map, "when", ScalarValue::Timestamp(place as i64)).unwrap();
                doc.put(&map, "none", ()).unwrap();
                doc.put(&map, "large", u64::MAX).unwrap();
            }
            _ => {}
        }
    }

    proptest! {
        // Two who edit, and now and then hear of one another.
        #[test]
        fn whatever_automerge_writes_is_sound(
            edits in prop::collection::vec((any::<bool>(), any::<u8>(), 0..200usize, 1..30usize, 0..4u8), 1..60),
        ) {
            let mut here = AutoCommit::new();
            edit(&mut here, 255, 0, 0);
            let mut there = here.fork();
            for (which, kind, place, size, then) in edits {
                let (one, other) = if which { (&mut here, &mut there) } else { (&mut there, &mut here) };
                edit(one, kind, place, size);
                match then {
                    0 => { one.commit_with(CommitOptions::default().with_message("why").with_time(-7)); }
                    1 => { one.merge(other).unwrap(); }
                    2 => { one.empty_change(CommitOptions::default()); }
                    _ => {}
                }
            }
            here.merge(&mut there).unwrap();
            for mut change in here.get_changes(&[]) {
                check(change.raw_bytes(), &change).unwrap();
                let compressed = change.bytes().into_owned();
                check(&compressed, &Change::from_bytes(compressed.clone()).unwrap()).unwrap();
            }
        }
    }
}
