//! When presence ends by itself.

use std::collections::{BTreeSet, HashMap};

use aetherflow_schema::id::DocumentId;
use tokio::time::Instant;

/// Documents with a time each, ordered by it. One entry for each document, however often its time is moved.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    times: HashMap<DocumentId, Instant>,
    order: BTreeSet<(Instant, DocumentId)>,
}

impl Expiry {
    /// The document's time is now this.
    pub(super) fn set(&mut self, document: &DocumentId, at: Instant) {
        self.remove(document);
        self.times.insert(document.clone(), at);
        self.order.insert((at, document.clone()));
    }

    /// The document has no time any more; whether it had one.
    pub(super) fn remove(&mut self, document: &DocumentId) -> bool {
        match self.times.remove(document) {
            Some(at) => self.order.remove(&(at, document.clone())),
            None => false,
        }
    }

    pub(super) fn contains(&self, document: &DocumentId) -> bool {
        self.times.contains_key(document)
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// The earliest time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out a document whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<DocumentId> {
        if self.next()? > now {
            return None;
        }
        let (_, document) = self.order.pop_first()?;
        self.times.remove(&document);
        Some(document)
    }

    /// Takes out all.
    pub(super) fn drain(&mut self) -> Vec<DocumentId> {
        self.order.clear();
        self.times.drain().map(|(document, _)| document).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_that_gives_the_earliest_first(steps in prop::collection::vec((0u8..8, 0u64..100, 0u8..4), 1..200)) {
            let start = Instant::now();
            let mut expiry = Expiry::default();
            let mut model: HashMap<DocumentId, u64> = HashMap::new();
            for (n, at, what) in steps {
                let document = DocumentId::from_bytes(&[n + 1]).unwrap();
                match what {
                    0 => prop_assert_eq!(expiry.remove(&document), model.remove(&document).is_some()),
                    1 => {
                        while let Some(document) = expiry.pop(start + Duration::from_millis(at)) {
                            let earliest = model.values().min().copied();
                            let found = model.remove(&document);
                            prop_assert!(found == earliest && found.unwrap() <= at);
                        }
                        prop_assert!(model.values().all(|time| *time > at));
                    }
                    _ => {
                        expiry.set(&document, start + Duration::from_millis(at));
                        model.insert(document, at);
                    }
                }
                prop_assert_eq!(expiry.len(), model.len());
                let next = model.values().min().map(|at| start + Duration::from_millis(*at));
                prop_assert_eq!(expiry.next(), next);
            }
        }
    }
}
