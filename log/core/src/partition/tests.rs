use std::collections::BTreeMap;

use aetherflow_schema::id::OpId;
use proptest::prelude::*;

use super::*;
use crate::conformance::{document_in, entry};

type Effects = Vec<Effect<u64>>;

fn partition(needed: usize) -> Partition<u64> {
    Partition::lead(PartitionId(0), 0, Tail::default(), Quorum { needed })
}

fn submit(partition: &mut Partition<u64>, ticket: u64, ops: &[u64]) -> Effects {
    let document = document_in(0, 1);
    let entries: Vec<_> = ops.iter().map(|n| entry(&document, *n, b"x")).collect();
    let mut effects = Vec::new();
    partition.submit(1, ticket, &entries, &vec![None; ops.len()], &mut effects);
    effects
}

fn completed(effects: &Effects) -> Vec<(u64, Result<Vec<Offset>, AppendError>)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Complete(ticket, result) => Some((*ticket, result.clone().map(|a| a.offsets))),
            _ => None,
        })
        .collect()
}

#[test]
fn nobody_hears_of_success_before_the_frame_is_sequenced_and_stored() {
    let mut partition = partition(1);
    assert!(submit(&mut partition, 1, &[1]).is_empty());
    let mut effects = Vec::new();
    partition.seal(&mut effects);
    assert!(matches!(effects.as_slice(), [Effect::Publish(_)]));
    effects.clear();
    partition.on_sequenced(&mut effects);
    assert!(matches!(effects.as_slice(), [Effect::Store(_)]));
    assert_eq!(partition.committed(), Offset::ZERO);
    effects.clear();
    partition.on_stored(Offset(1), &mut effects);
    assert!(matches!(effects[0], Effect::Committed(_, Offset(1))));
    assert_eq!(completed(&effects), [(1, Ok(vec![Offset(1)]))]);
}

#[test]
fn a_quorum_of_two_waits_for_another_replica() {
    let mut partition = partition(2);
    submit(&mut partition, 1, &[1, 2]);
    let mut effects = Vec::new();
    partition.seal(&mut effects);
    partition.on_sequenced(&mut effects);
    partition.on_stored(Offset(2), &mut effects);
    assert!(completed(&effects).is_empty());
    partition.on_replica_stored(7, Offset(1), &mut effects);
    assert_eq!(partition.committed(), Offset(1));
    assert!(completed(&effects).is_empty());
    partition.on_replica_stored(8, Offset(2), &mut effects);
    assert_eq!(completed(&effects), [(1, Ok(vec![Offset(1), Offset(2)]))]);
}

#[test]
fn a_repeated_operation_in_flight_gets_the_same_offset_and_waits_too() {
    let mut partition = partition(1);
    submit(&mut partition, 1, &[1, 2]);
    assert!(submit(&mut partition, 2, &[1]).is_empty());
    let mut effects = Vec::new();
    partition.seal(&mut effects);
    partition.on_sequenced(&mut effects);
    partition.on_stored(Offset(2), &mut effects);
    assert_eq!(
        completed(&effects),
        [(1, Ok(vec![Offset(1), Offset(2)])), (2, Ok(vec![Offset(1)]))]
    );
}

#[test]
fn an_operation_known_to_the_store_is_answered_at_once_with_its_offset() {
    let mut partition = Partition::lead(
        PartitionId(0),
        0,
        Tail {
            offset: Offset(9),
            ..Tail::default()
        },
        Quorum { needed: 1 },
    );
    let mut effects: Effects = Vec::new();
    partition.submit(
        1,
        5,
        &[entry(&document_in(0, 1), 1, b"x")],
        &[Some(Offset(4))],
        &mut effects,
    );
    assert_eq!(completed(&effects), [(5, Ok(vec![Offset(4)]))]);
}

#[test]
fn a_failure_reports_everything_in_flight_as_unknown_and_takes_nothing_more() {
    let mut partition = partition(1);
    submit(&mut partition, 1, &[1]);
    let mut effects = Vec::new();
    partition.seal(&mut effects);
    partition.on_sequenced(&mut effects);
    submit(&mut partition, 2, &[2]);
    effects.clear();
    partition.on_failure("the disk is full", &mut effects);
    let reason = || Err(AppendError::Unknown("the disk is full".to_owned()));
    assert_eq!(completed(&effects), [(1, reason()), (2, reason())]);
    effects.clear();
    partition.on_stored(Offset(2), &mut effects);
    assert!(effects.is_empty(), "nothing commits after a failure");
    let refused = submit(&mut partition, 3, &[3]);
    assert!(matches!(
        completed(&refused).as_slice(),
        [(3, Err(AppendError::ReadOnly(_)))]
    ));
}

#[derive(Debug, Clone)]
enum Step {
    Submit(Vec<u64>),
    Seal,
    Sequenced,
    Stored,
    Replica(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0..60u64, 1..5).prop_map(Step::Submit),
        3 => Just(Step::Seal),
        3 => Just(Step::Sequenced),
        3 => Just(Step::Stored),
        3 => (0..3u64).prop_map(Step::Replica),
    ]
}

proptest! {
    /// Whatever the order of events: each operation has one offset, offsets are dense, frames are chained, nothing is
    /// reported above the watermark, the watermark keeps to the commit rule and everyone is answered once.
    #[test]
    fn the_invariants_hold_in_every_order_of_events(steps in prop::collection::vec(step(), 1..120), needed in 1..4usize) {
        let mut partition = partition(needed);
        let mut publishing = VecDeque::new();
        let mut storing = VecDeque::new();
        let (mut stored, mut committed) = (Offset::ZERO, Offset::ZERO);
        let mut replicas = [Offset::ZERO; 3];
        let mut tickets = 0;
        let mut asked: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut frames: Vec<Frame> = Vec::new();
        let mut offset_of: BTreeMap<OpId, Offset> = BTreeMap::new();
        for step in steps {
            let mut effects = Vec::new();
            match step {
                Step::Submit(ops) => {
                    let document = document_in(0, 1);
                    let entries: Vec<_> = ops.iter().map(|n| entry(&document, *n, b"x")).collect();
                    let known: Vec<_> = entries.iter().map(|e| offset_of.get(&e.op_id()).copied().filter(|o| *o <= stored)).collect();
                    asked.insert(tickets, ops);
                    partition.submit(1, tickets, &entries, &known, &mut effects);
                    tickets += 1;
                }
                Step::Seal => partition.seal(&mut effects),
                Step::Sequenced => if publishing.pop_front().is_some() { partition.on_sequenced(&mut effects) },
                Step::Stored => if let Some(frame) = storing.pop_front() {
                    let frame: Frame = frame;
                    stored = frame.header().last();
                    for (id, offset) in frame.ids().zip(frame.header().base.0..) {
                        prop_assert!(offset_of.insert(id.unwrap().1, Offset(offset)).is_none(), "an operation was placed twice");
                    }
                    partition.on_stored(stored, &mut effects);
                }
                Step::Replica(n) => {
                    replicas[n as usize] = stored;
                    partition.on_replica_stored(n, stored, &mut effects);
                }
            }
            for effect in effects {
                match effect {
                    Effect::Publish(frame) => {
                        frame.verify_chain().unwrap();
                        let (last, chain) = frames.last().map_or((Offset::ZERO, ChainHash::default()), |f| (f.header().last(), f.header().chain_after));
                        prop_assert_eq!(frame.header().base, last.next());
                        prop_assert_eq!(frame.header().chain_before, chain);
                        frames.push(frame.clone());
                        publishing.push_back(frame);
                    }
                    Effect::Store(frame) => storing.push_back(frame),
                    Effect::Committed(_, offset) => {
                        prop_assert!(offset > committed && offset <= stored);
                        let copies = 1 + replicas.iter().filter(|r| **r >= offset).count();
                        prop_assert!(copies >= needed);
                        committed = offset;
                    }
                    Effect::Complete(ticket, result) => {
                        let appended = result.unwrap();
                        prop_assert!(appended.last() <= committed);
                        let document = document_in(0, 1);
                        for (op, offset) in asked.remove(&ticket).expect("answered once").iter().zip(&appended.offsets) {
                            prop_assert_eq!(offset_of.get(&entry(&document, *op, b"x").op_id()), Some(offset));
                        }
                    }
                }
            }
        }
    }
}
