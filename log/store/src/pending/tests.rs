use std::thread;

use aetherflow_log_core::{
    Effect, Partition, Tail,
    conformance::{document_in, entry},
    partition::Quorum,
};
use aetherflow_schema::id::PartitionId;

use super::*;
use crate::keys;

fn pending(entries: usize) -> Pending {
    let full = Full {
        entries,
        bytes: usize::MAX,
    };
    Pending::new(full, Generation::after(vec![Offset::ZERO; 4], entries))
}

/// Frames of one entry each, one after the other.
fn frames(count: u64) -> Vec<Frame> {
    let mut core = Partition::lead(PartitionId(0), 0, Tail::default(), Quorum { needed: 1 });
    let mut effects = Vec::new();
    for n in 0..count {
        core.submit(1, (), &[entry(&document_in(0, 1), n, b"x")], &[None], &mut effects);
        core.seal(&mut effects);
    }
    let frames = effects.into_iter().filter_map(|effect| match effect {
        Effect::Publish(frame) => Some(frame),
        _ => None,
    });
    frames.collect()
}

fn key(n: u64) -> OpKey {
    let document = document_in(0, 1);
    OpKey::new(PartitionId(0), document.as_bytes(), entry(&document, n, b"").op_id())
}

#[test]
fn the_writer_waits_while_the_index_thread_is_behind() {
    let pending = pending(1);
    let frames = frames(50);
    thread::scope(|scope| {
        scope.spawn(|| {
            for frame in &frames {
                pending.wait_for_room().unwrap();
                pending.add(std::slice::from_ref(frame)).unwrap();
                assert!(pending.lock().sealed.len() <= SEALED_MAX, "the memory is bounded");
            }
        });
        for n in 1..=50 {
            let generation = pending.next_sealed().unwrap();
            assert_eq!(generation.indexed()[0], Offset(n), "oldest first");
            assert_eq!(pending.lookup(&[key(n - 1)]), [Some(Offset(n))], "still here");
            pending.drop_oldest(generation);
            assert_eq!(pending.lookup(&[key(n - 1)]), [None]);
        }
    });
}

#[test]
fn a_frame_that_does_not_fit_begins_the_next_generation() {
    let mut core = Partition::lead(PartitionId(0), 0, Tail::default(), Quorum { needed: 1 });
    let mut effects = Vec::new();
    let mut frame = |first: u64, count: u64| {
        let entries: Vec<_> = (first..first + count)
            .map(|n| entry(&document_in(0, 1), n, b"x"))
            .collect();
        core.submit(1, (), &entries, &vec![None; entries.len()], &mut effects);
        core.seal(&mut effects);
        effects.drain(..).find_map(|effect| match effect {
            Effect::Publish(frame) => Some(frame),
            _ => None,
        })
    };
    let frames: Vec<Frame> = [frame(0, 3), frame(3, 2), frame(5, 9)].into_iter().flatten().collect();
    let pending = pending(4);
    pending.add(&frames).unwrap();
    let entries = |state: &State| -> Vec<usize> { state.oldest_first().map(Generation::entries).collect() };
    assert_eq!(
        entries(&pending.lock()),
        [3, 2, 9, 0],
        "the last is larger than any generation"
    );
    let everything: Vec<_> = (1..=14).map(|offset| Some(Offset(offset))).collect();
    assert_eq!(pending.lookup(&(0..14).map(key).collect::<Vec<_>>()), everything);
}

#[test]
fn a_generation_grows_in_the_memory_of_one_that_left() {
    let pending = pending(2);
    let frames = frames(7);
    pending.add(&frames[..3]).unwrap();
    pending.drop_oldest(pending.next_sealed().unwrap());
    assert!(pending.lock().spare.is_some());
    pending.add(&frames[3..4]).unwrap();
    assert!(pending.lock().spare.is_none(), "it grows");
    pending.add(&frames[4..5]).unwrap();
    let known = pending.lookup(&(0..7).map(key).collect::<Vec<_>>());
    let known: Vec<_> = known.into_iter().map(|offset| offset.map(|offset| offset.0)).collect();
    assert_eq!(
        known,
        [None, None, Some(3), Some(4), Some(5), None, None],
        "nothing of the one that left"
    );
    let indexed: Vec<u64> = pending.lock().oldest_first().map(|one| one.indexed()[0].0).collect();
    assert_eq!(indexed, [4, 5]);
}

#[test]
fn nobody_waits_for_an_index_thread_that_has_ended() {
    let pending = pending(1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            frames(SEALED_MAX as u64 + 5).iter().all(|frame| {
                let room = pending.wait_for_room().is_ok();
                pending.add(std::slice::from_ref(frame)).unwrap();
                room
            })
        });
        pending.end();
        assert!(!writer.join().unwrap(), "the writer hears of it");
    });
    assert!(pending.next_sealed().is_none());
    assert_eq!(pending.lookup(&[key(0)]), [Some(Offset(1))], "everything stays");
}

#[test]
fn a_document_is_read_across_generations() {
    let pending = pending(4);
    let document = keys::document(PartitionId(0), document_in(0, 1).as_bytes());
    let add = |frames: &[Frame]| frames.chunks(1).for_each(|frame| pending.add(frame).unwrap());
    add(&frames(10));
    let offsets = |bases| -> Vec<u64> {
        let places = pending.places(&document, bases);
        places.iter().map(|place| place.offset().0).collect()
    };
    assert_eq!(offsets(Offset(3)..Offset(u64::MAX)), (3..=10).collect::<Vec<_>>());
    assert_eq!(offsets(Offset(5)..Offset(6)), [5]);
    assert_eq!(pending.tail(&document), Some(Offset(10)));
    assert_eq!(
        pending.documents(None, 5),
        std::slice::from_ref(&document),
        "once, although in three"
    );
    assert!(pending.documents(Some(&document), 5).is_empty());
    assert!(pending.documents(None, 0).is_empty());
}
