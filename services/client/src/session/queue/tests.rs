//! The queue of one document.

use super::*;

const LIMITS: BatchLimits = BatchLimits {
    changes: 3,
    bytes: 100,
    change_bytes: 200,
};

fn hash(n: u8) -> ChangeHash {
    ChangeHash([n; 32])
}

/// Changes 1, 2, 3, each of which depends on the one before.
fn queue(lengths: &[usize]) -> Queue {
    let mut queue = Queue::default();
    for (n, length) in (1..).zip(lengths) {
        let change = NewChange {
            hash: hash(n),
            deps: vec![hash(n - 1)],
            bytes: vec![n; *length].into(),
            fencing: None,
        };
        assert!(queue.push(change.clone(), false));
        assert!(!queue.push(change, false));
    }
    queue
}

fn batch(queue: &mut Queue, request: u64) -> Vec<u8> {
    match queue.batch(RequestId(request), LIMITS) {
        Batch::Nothing => Vec::new(),
        Batch::Submit(batch, _) => batch.iter().map(|(hash, _)| hash.0[0]).collect(),
        Batch::TooLarge(..) => panic!("too large"),
    }
}

fn settled(queue: &mut Queue) -> Vec<u8> {
    std::iter::from_fn(|| queue.settle())
        .map(|(hash, ..)| hash.0[0])
        .collect()
}

fn stored(queue: &mut Queue, request: u64, changes: &[u8]) {
    let places = changes.iter().map(|n| (hash(*n), Offset(u64::from(*n))));
    queue.stored(RequestId(request), places, Tier::Durable);
}

#[test]
fn batches_are_bounded_by_number_and_bytes_and_what_is_longer_goes_alone() {
    let mut queue = queue(&[10, 10, 10, 10, 95, 150, 50, 50, 50]);
    for (request, expected) in (1..).zip([vec![1, 2, 3], vec![4], vec![5], vec![6], vec![7, 8], vec![9], vec![]]) {
        assert_eq!(batch(&mut queue, request), expected);
    }
    assert!(!queue.is_waiting());
}

#[test]
fn what_nobody_takes_is_found_when_its_turn_comes() {
    let mut queue = queue(&[10, 300]);
    assert_eq!(batch(&mut queue, 1), [1]);
    assert_eq!(queue.batch(RequestId(2), LIMITS), Batch::TooLarge(hash(2), 300));
}

#[test]
fn receipts_come_in_order_whatever_the_answers_do() {
    let mut queue = queue(&[60; 3]);
    for request in 1..=3 {
        assert_eq!(batch(&mut queue, request).len(), 1);
    }
    stored(&mut queue, 3, &[3]);
    stored(&mut queue, 2, &[2]);
    assert_eq!(settled(&mut queue), [0; 0]);
    queue.send_again(RequestId(1), &[hash(1)], false, false);
    assert_eq!(batch(&mut queue, 4), [1]);
    stored(&mut queue, 1, &[1]);
    assert_eq!(settled(&mut queue), [0; 0], "the answer to a request that was given up");
    stored(&mut queue, 4, &[1]);
    assert_eq!(settled(&mut queue), [1, 2, 3]);
    assert_eq!(queue.len(), 0);
}

#[test]
fn what_was_sent_with_an_invalid_change_goes_alone() {
    let mut queue = queue(&[10; 4]);
    assert_eq!(batch(&mut queue, 1), [1, 2, 3]);
    queue.send_again(RequestId(1), &[hash(1), hash(2), hash(3)], true, false);
    for (request, expected) in [(2, 1), (3, 2), (4, 3), (5, 4)] {
        assert_eq!(batch(&mut queue, request), [expected]);
    }
    assert_eq!(queue.doom(&[hash(2)]), [hash(2), hash(3), hash(4)]);
    stored(&mut queue, 2, &[1]);
    assert_eq!(settled(&mut queue), [1]);
}

#[test]
fn a_new_connection_sends_everything_that_is_not_settled() {
    let mut queue = queue(&[60; 3]);
    batch(&mut queue, 1);
    batch(&mut queue, 2);
    stored(&mut queue, 2, &[2]);
    queue.send_all_again();
    assert_eq!(batch(&mut queue, 3), [1]);
    assert_eq!(batch(&mut queue, 4), [2]);
    assert_eq!(batch(&mut queue, 5), [3]);
}
