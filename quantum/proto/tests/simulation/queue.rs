//! The event queue: ordered by time, and for the same time by when the event was added.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use quantum_proto::Time;

struct Entry<T> {
    at: Time,
    sequence: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    added: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(crate) fn push(&mut self, at: Time, what: T) {
        self.added += 1;
        self.heap.push(Reverse(Entry {
            at,
            sequence: self.added,
            what,
        }));
    }

    /// The next event, if it is not after the deadline.
    pub(crate) fn pop(&mut self, deadline: Time) -> Option<(Time, T)> {
        if self.heap.peek()?.0.at > deadline {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

#[test]
fn events_come_by_time_and_then_as_they_were_added() {
    let mut queue = Queue::default();
    for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b'), (9, 'e')] {
        queue.push(Time::from_nanos(at), what);
    }
    let mut taken = String::new();
    while let Some((_, what)) = queue.pop(Time::from_nanos(5)) {
        taken.push(what);
    }
    assert_eq!(taken, "abcd");
    assert_eq!(queue.pop(Time::from_nanos(9)), Some((Time::from_nanos(9), 'e')));
}
