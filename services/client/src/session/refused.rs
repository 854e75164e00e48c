//! What was refused: an edit that the application made before it heard of that depends on it, and is on its way.
//!
//! Remembered also when nothing else of the document is. Bounded: what was refused first is forgotten first, long after the
//! edits that were made before are here.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aetherflow_schema::id::{ChangeHash, DocumentId};

/// Changes remembered.
const REMEMBERED: usize = 1 << 16;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Each with the one that the server refused, on which it depends or which it is.
    documents: BTreeMap<DocumentId, HashMap<ChangeHash, ChangeHash>>,
    /// In the order in which they were refused.
    order: VecDeque<(DocumentId, ChangeHash)>,
}

impl Refused {
    /// Adds one, which depends on another that the server refused, or is that one.
    pub(super) fn add(&mut self, document: &DocumentId, hash: ChangeHash, on: ChangeHash) {
        let known = self.documents.entry(document.clone()).or_default();
        if known.insert(hash, on).is_some() {
            return;
        }
        self.order.push_back((document.clone(), hash));
        if self.order.len() > REMEMBERED
            && let Some((document, hash)) = self.order.pop_front()
        {
            self.forget(&document, [&hash]);
        }
    }

    /// What the server refused, if this one was refused for that.
    pub(super) fn why(&self, document: &DocumentId, hash: &ChangeHash) -> Option<ChangeHash> {
        self.documents.get(document)?.get(hash).copied()
    }

    /// All of one document.
    pub(super) fn of(&self, document: &DocumentId) -> impl Iterator<Item = ChangeHash> {
        self.documents
            .get(document)
            .into_iter()
            .flat_map(HashMap::keys)
            .copied()
    }

    /// The server has these; returns those that were known.
    pub(super) fn forget<'a>(
        &mut self,
        document: &DocumentId,
        hashes: impl IntoIterator<Item = &'a ChangeHash>,
    ) -> Vec<ChangeHash> {
        let Some(known) = self.documents.get_mut(document) else {
            return Vec::new();
        };
        let forgotten = hashes
            .into_iter()
            .filter(|hash| known.remove(*hash).is_some())
            .copied()
            .collect();
        if known.is_empty() {
            self.documents.remove(document);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first_and_what_the_server_has_at_once() {
        let document = DocumentId::from_bytes(&[1; 16]).unwrap();
        let hash = |n: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_le_bytes());
            ChangeHash(hash)
        };
        let mut refused = Refused::default();
        for n in 0..=REMEMBERED {
            refused.add(&document, hash(n), hash(7));
        }
        let why = |refused: &Refused, n| refused.why(&document, &hash(n));
        assert_eq!((why(&refused, 0), why(&refused, 1)), (None, Some(hash(7))));
        assert_eq!(refused.forget(&document, [&hash(0), &hash(1)]), [hash(1)]);
        assert_eq!(why(&refused, 1), None);
        assert_eq!(refused.of(&document).count(), REMEMBERED - 1);
        let rest: Vec<_> = refused.of(&document).collect();
        assert_eq!(refused.forget(&document, &rest).len(), REMEMBERED - 1);
        assert!(refused.documents.is_empty());
    }
}
