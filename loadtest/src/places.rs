//! Where the server said that changes stand, and whether its log has them there.
//!
//! Owns: what was said, by receipts and to followers, each change once and for ever; and the comparison with the log, which is read
//! as history. A receipt names a place in the partition of its document: two documents of one partition never share one.

use std::collections::{BTreeMap, HashMap};

use aetherflow_schema::{
    id::{DocumentId, Offset, PartitionId},
    native::{
        ClientFrame, Fetch, RequestId,
        wire::{Entry, EntryKind, RejectCode, server_frame::Kind},
    },
};
use automerge::{Automerge, Change, ChangeHash};

use crate::{
    audit::Violation,
    native::Connection,
    wire::{Endpoint, WireError},
};

/// Where a change is said to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    There(Offset),
    ThereOrBefore(Offset),
}

impl Place {
    fn offset(self) -> Offset {
        let (Self::There(offset) | Self::ThereOrBefore(offset)) = self;
        offset
    }

    fn is(self, offset: Offset) -> bool {
        match self {
            Self::There(there) => offset == there,
            Self::ThereOrBefore(latest) => offset <= latest,
        }
    }

    /// What both say together; `None` if they contradict each other.
    fn and(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::There(offset), place) | (place, Self::There(offset)) => {
                place.is(offset).then_some(Self::There(offset))
            }
            (Self::ThereOrBefore(one), Self::ThereOrBefore(other)) => Some(Self::ThereOrBefore(one.min(other))),
        }
    }
}

/// What the server said of one document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    said: HashMap<ChangeHash, Place>,
    /// Said of one change, first and later.
    contradictions: Vec<(ChangeHash, Offset, Offset)>,
    /// It had told everything up to there, and later did not know the place.
    forgotten: Vec<Offset>,
}

impl Places {
    /// The change stands there.
    pub fn hear(&mut self, change: ChangeHash, offset: Offset) {
        self.note(change, Place::There(offset));
    }

    /// The change stands there, unless it stands somewhere before: whole documents repeat what is there already.
    pub fn hear_again(&mut self, change: ChangeHash, offset: Offset) {
        self.note(change, Place::ThereOrBefore(offset));
    }

    fn note(&mut self, change: ChangeHash, place: Place) {
        let known = self.said.entry(change).or_insert(place);
        match known.and(place) {
            Some(both) => *known = both,
            None => self.contradictions.push((change, known.offset(), place.offset())),
        }
    }

    /// The server does not know a place that it named.
    pub fn forgot(&mut self, place: Offset) {
        self.forgotten.push(place);
    }

    /// Whether the server did not know a place that it had named.
    pub fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// Adds what somebody else was told.
    pub fn add(&mut self, other: &Self) {
        other.said.iter().for_each(|(change, place)| self.note(*change, *place));
        self.contradictions.extend(&other.contradictions);
        self.forgotten.extend(&other.forgotten);
    }

    /// How many changes.
    pub fn len(&self) -> usize {
        self.said.len()
    }

    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && self.contradictions.is_empty() && self.forgotten.is_empty()
    }

    /// What does not fit, by itself and with the log.
    pub fn violations(&self, document: &DocumentId, log: &Log) -> Vec<Violation> {
        let document = || document.clone();
        let forgotten = self.forgotten.iter().map(|place| Violation::Forgotten {
            document: document(),
            place: *place,
        });
        let contradicted = self
            .contradictions
            .iter()
            .map(|(change, first, second)| Violation::Contradicted {
                document: document(),
                change: *change,
                places: [*first, *second],
            });
        let stands = |(change, place): &(&ChangeHash, &Place)| log.0.get(*change).is_some_and(|at| place.is(*at));
        let wrong: Vec<_> = self.said.iter().filter(|said| !stands(said)).collect();
        let misplaced = wrong.first().map(|(change, place)| Violation::Misplaced {
            document: document(),
            wrong: wrong.len(),
            change: **change,
            said: place.offset(),
            found: log.0.get(*change).copied(),
        });
        forgotten.chain(contradicted).chain(misplaced).collect()
    }
}

/// Where the log of one document has its changes, each in its first place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log(HashMap<ChangeHash, Offset>);

impl Log {
    /// Reads a document's history from the server; empty when it has none.
    ///
    /// # Errors
    /// When it cannot be read, or is not in order.
    pub async fn read(endpoint: &Endpoint, document: &DocumentId) -> Result<Self, WireError> {
        let name = format!("reader-{:016x}", rand::random::<u64>());
        let mut connection = Connection::open(endpoint, &name).await?;
        let fetch = Fetch {
            request: RequestId(1),
            document: document.clone(),
            from: Offset(1),
            until: None,
        };
        connection.say(ClientFrame::Fetch(fetch)).await?;
        let (mut log, mut last) = (Self::default(), Offset::ZERO);
        loop {
            match connection.hear().await? {
                Kind::Ops(ops) => {
                    for entry in &ops.entries {
                        let offset = Offset(entry.offset);
                        if offset <= last {
                            return Err(WireError::Nonsense(format!("history has {offset} after {last}")));
                        }
                        last = offset;
                        log.take(entry)?;
                    }
                    if ops.last {
                        return Ok(log);
                    }
                }
                Kind::Reject(reject) if reject.code() == RejectCode::NotFound => return Ok(log),
                other => return Err(WireError::Refused(format!("{other:?}"))),
            }
        }
    }

    fn take(&mut self, entry: &Entry) -> Result<(), WireError> {
        let offset = Offset(entry.offset);
        let nonsense = |error: &dyn std::fmt::Display| WireError::Nonsense(format!("entry {offset}: {error}"));
        match entry.kind() {
            EntryKind::Change => {
                let change = Change::from_bytes(entry.payload.to_vec()).map_err(|error| nonsense(&error))?;
                self.0.entry(change.hash()).or_insert(offset);
            }
            EntryKind::Document => {
                let document = Automerge::load(&entry.payload).map_err(|error| nonsense(&error))?;
                for change in document.get_changes(&[]) {
                    self.0.entry(change.hash()).or_insert(offset);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Documents of one partition that have something in the same place. `partitions`: how many there are.
pub fn shared<'a>(logs: impl IntoIterator<Item = (&'a DocumentId, &'a Log)>, partitions: u16) -> Vec<Violation> {
    let mut taken: BTreeMap<(PartitionId, Offset), &DocumentId> = BTreeMap::new();
    let mut violations = Vec::new();
    for (document, log) in logs {
        let partition = document.partition(partitions);
        for offset in log.0.values() {
            let first = *taken.entry((partition, *offset)).or_insert(document);
            if first != document {
                violations.push(Violation::Shared {
                    partition,
                    offset: *offset,
                    documents: [first.clone(), document.clone()],
                });
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> ChangeHash {
        ChangeHash([n; 32])
    }

    fn id(n: u8) -> DocumentId {
        DocumentId::from_bytes(&[n; 16]).unwrap()
    }

    fn log(places: &[(u8, u64)]) -> Log {
        let places = places.iter().map(|(n, offset)| (hash(*n), Offset(*offset)));
        Log(places.collect())
    }

    #[test]
    fn what_stands_elsewhere_or_nowhere_is_found_and_nothing_else() {
        let mut places = Places::default();
        for (n, offset) in [(1, 5), (2, 9), (1, 5)] {
            places.hear(hash(n), Offset(offset));
        }
        places.hear_again(hash(2), Offset(70));
        assert_eq!(places.violations(&id(1), &log(&[(1, 5), (2, 9), (3, 11)])), []);
        for (others, found) in [(vec![(1, 5)], None), (vec![(1, 5), (2, 10)], Some(Offset(10)))] {
            let misplaced = Violation::Misplaced {
                document: id(1),
                wrong: 1,
                change: hash(2),
                said: Offset(9),
                found,
            };
            assert_eq!(places.violations(&id(1), &log(&others)), [misplaced]);
        }
    }

    #[test]
    fn what_is_said_differently_or_forgotten_is_found() {
        let mut places = Places::default();
        places.hear(hash(1), Offset(5));
        let mut others = Places::default();
        others.hear(hash(1), Offset(6));
        others.forgot(Offset(6));
        places.add(&others);
        let expected = [
            Violation::Forgotten {
                document: id(1),
                place: Offset(6),
            },
            Violation::Contradicted {
                document: id(1),
                change: hash(1),
                places: [Offset(5), Offset(6)],
            },
        ];
        assert_eq!(places.violations(&id(1), &log(&[(1, 5)])), expected);
    }

    #[test]
    fn what_a_whole_document_repeats_may_stand_before() {
        let (mut exact, mut again) = (Places::default(), Places::default());
        exact.hear(hash(1), Offset(5));
        again.hear_again(hash(1), Offset(70));
        assert_eq!(again.violations(&id(1), &log(&[(1, 5)])), []);
        assert_eq!(again.violations(&id(1), &log(&[(1, 71)])).len(), 1);
        for (one, other) in [(&exact, &again), (&again, &exact)] {
            let mut both = one.clone();
            both.add(other);
            assert_eq!(both.violations(&id(1), &log(&[(1, 5)])), []);
            assert_eq!(
                both.violations(&id(1), &log(&[(1, 6)])).len(),
                1,
                "a receipt says exactly where"
            );
        }
        again.hear_again(hash(1), Offset(4));
        again.add(&exact);
        let contradicted = |violation: &Violation| matches!(violation, Violation::Contradicted { .. });
        assert!(again.violations(&id(1), &log(&[(1, 4)])).iter().any(contradicted));
    }

    #[test]
    fn a_place_is_of_one_document() {
        let (one, two) = (log(&[(1, 5), (2, 6)]), log(&[(3, 6)]));
        let both = || [(&id(1), &one), (&id(2), &two)].map(|(id, log)| (id.clone(), log.clone()));
        let check = |partitions| {
            let both = both();
            shared(both.iter().map(|(id, log)| (id, log)), partitions).len()
        };
        assert_eq!(check(1), 1);
        let apart = (2..).find(|count| id(1).partition(*count) != id(2).partition(*count));
        assert_eq!(check(apart.unwrap()), 0);
    }
}
