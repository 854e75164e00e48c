//! One replica, and a server made of another one.

use automerge::{ROOT, ReadDoc, transaction::Transactable};

use super::*;

fn put(replica: &mut Replica, key: &str) -> NewChange {
    let edited = replica.edit(0, |tx| tx.put(ROOT, key, 1)).unwrap();
    edited.change.unwrap()
}

fn keys(replica: &Replica) -> Vec<String> {
    replica.document().keys(ROOT).collect()
}

fn entry(offset: u64, payload: Bytes) -> Entry {
    Entry {
        offset,
        kind: EntryKind::Change.into(),
        payload,
        ..Entry::default()
    }
}

#[test]
fn an_edit_that_fails_or_does_nothing_leaves_nothing() {
    let mut replica = Replica::new(Automerge::new());
    let failed = replica.edit(0, |tx| {
        tx.put(ROOT, "a", 1)?;
        tx.put(&automerge::ObjId::Root, 7, 1)
    });
    assert!(failed.is_err());
    assert!(replica.edit(0, |_| Ok::<_, ()>(7)).unwrap().change.is_none());
    assert_eq!(keys(&replica), Vec::<String>::new());
}

#[test]
fn what_is_refused_is_taken_out_with_what_was_made_on_top_and_the_rest_stays() {
    let mut other = Replica::new(Automerge::new());
    let theirs = put(&mut other, "theirs");
    let mut replica = Replica::new(Automerge::new());
    put(&mut replica, "a");
    let actor = replica.document().get_actor().clone();
    let refused = put(&mut replica, "b");
    replica.apply(&[entry(1, theirs.bytes)]).unwrap();
    put(&mut replica, "c");
    replica.revert(&[refused.hash]).unwrap();
    assert_eq!(keys(&replica), ["a", "theirs"]);
    assert_ne!(*replica.document().get_actor(), actor);
    put(&mut replica, "d");
    assert_eq!(keys(&replica), ["a", "d", "theirs"]);
}

#[test]
fn what_waits_for_others_still_does_when_something_is_taken_out() {
    let mut other = Replica::new(Automerge::new());
    let (a, b) = (put(&mut other, "a"), put(&mut other, "b"));
    let mut replica = Replica::new(Automerge::new());
    let refused = put(&mut replica, "refused");
    replica.apply(&[entry(1, b.bytes)]).unwrap();
    replica.revert(&[refused.hash]).unwrap();
    replica.apply(&[entry(2, a.bytes)]).unwrap();
    assert_eq!(keys(&replica), ["a", "b"]);
}

#[test]
fn one_bad_entry_does_not_keep_out_the_others() {
    let mut other = Replica::new(Automerge::new());
    let (a, b) = (put(&mut other, "a"), put(&mut other, "b"));
    let mut replica = Replica::new(Automerge::new());
    let nonsense = entry(2, Bytes::from_static(b"nonsense"));
    let chunks = replica
        .apply(&[entry(1, a.bytes), nonsense, entry(3, b.bytes)])
        .unwrap()
        .chunks;
    assert_eq!(replica.heads(), other.heads());
    let mut again = Automerge::new();
    again.load_incremental(&chunks).unwrap();
    assert_eq!(again.get_heads(), other.document().get_heads());
}

#[test]
fn merging_tells_what_the_server_lacks() {
    let mut server = Replica::new(Automerge::new());
    let common = put(&mut server, "common");
    let mut replica = Replica::new(Automerge::new());
    let common_hash = common.hash;
    let applied = replica.apply(&[entry(1, common.bytes)]).unwrap();
    assert_eq!(applied.stored, [(common_hash, Offset(1))]);
    let mine = put(&mut replica, "mine");
    put(&mut server, "theirs");
    let asked = [mine.hash, common_hash, ChangeHash([7; 32])];
    let merged = replica
        .merge(&server.save().unwrap().into(), &server.heads(), &asked)
        .unwrap();
    assert_eq!((merged.lacking, merged.held), (vec![mine], vec![common_hash]));
    assert_eq!(keys(&replica), ["common", "mine", "theirs"]);
    put(&mut server, "more");
    let merged = replica.merge(&Bytes::from_static(b"nonsense"), &server.heads(), &[]);
    assert!(matches!(merged, Err(ReplicaError::Incomplete(_))), "{merged:?}");
}

#[test]
fn what_came_before_what_it_depends_on_is_stored_and_restored() {
    let mut other = Replica::new(Automerge::new());
    let (a, b) = (put(&mut other, "a"), put(&mut other, "b"));
    let mut replica = Replica::new(Automerge::new());
    let early = replica.apply(&[entry(1, b.bytes)]).unwrap().chunks;
    assert_eq!(keys(&replica), Vec::<String>::new());
    let mut restored = Replica::restore(&[Part::Chunks(early.into())]).unwrap().0;
    for replica in [&mut replica, &mut restored] {
        replica.apply(&[entry(2, a.bytes.clone())]).unwrap();
        assert_eq!(keys(replica), ["a", "b"]);
    }
}

#[test]
fn a_change_that_makes_automerge_panic_is_passed_over_and_the_rest_stays() {
    let mut other = Replica::new(Automerge::new());
    let (a, bad, c) = (put(&mut other, "a"), put(&mut other, "bad"), put(&mut other, "c"));
    let mut third = Replica::new(Automerge::new());
    let (late, early) = (put(&mut third, "early"), put(&mut third, "late"));
    let mut replica = Replica::new(Automerge::new());
    put(&mut replica, "mine");
    // Waits for what comes later, and does not get lost on the way.
    replica.apply(&[entry(1, early.bytes)]).unwrap();
    replica.poison.insert(bad.hash);
    let applied = replica
        .apply(&[
            entry(2, a.bytes),
            entry(3, bad.bytes),
            entry(4, c.bytes),
            entry(5, late.bytes),
        ])
        .unwrap();
    assert_eq!(keys(&replica), ["a", "early", "late", "mine"]);
    put(&mut replica, "more");
    let mut restored = Automerge::new();
    restored.load_incremental(&applied.chunks).unwrap();
    assert_eq!(restored.keys(ROOT).collect::<Vec<_>>(), ["a", "early"]);
}

#[test]
fn what_came_again_after_it_was_refused_is_there_and_what_was_refused_last_is_not() {
    let mut replica = Replica::new(Automerge::new());
    let (a, b) = (put(&mut replica, "a"), put(&mut replica, "b"));
    let chunks = |change: &NewChange| Part::Chunks(change.bytes.clone());
    let parts = |order: &[Part]| keys(&Replica::restore(order).unwrap().0);
    let refused = Part::Refused(a.hash);
    assert_eq!(parts(&[chunks(&a), chunks(&b), refused.clone()]), Vec::<String>::new());
    assert_eq!(
        parts(&[chunks(&a), refused.clone(), chunks(&a), chunks(&b)]),
        ["a", "b"]
    );
    // Made before it was known that what it depends on is refused.
    let late = [chunks(&a), refused, chunks(&b), Part::Refused(b.hash), chunks(&a)];
    assert_eq!(parts(&late), ["a"]);
}
