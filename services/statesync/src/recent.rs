//! The changes that were applied last, as bytes.
//!
//! Most peers of a document stand where it was a moment ago. What they lack is what was applied since, and those bytes are at
//! hand: the message for them is made by copying, without asking automerge to find the changes and to encode them again.

use std::collections::{BTreeSet, VecDeque};

use automerge::{Change, ChangeHash};

/// Bytes of changes that are kept.
const KEPT_BYTES: usize = 64 << 10;
/// Steps that are kept.
const KEPT_STEPS: usize = 64;

/// From one state of the document to the next.
struct Step {
    before: Vec<ChangeHash>,
    hashes: Vec<ChangeHash>,
    bytes: Vec<u8>,
}

/// The last steps, without gaps, up to the present state.
#[derive(Default)]
pub(crate) struct Recent {
    steps: VecDeque<Step>,
    bytes: usize,
    /// Where the last step led.
    end: Vec<ChangeHash>,
}

/// What a peer lacks.
pub(crate) struct Since {
    pub(crate) hashes: Vec<ChangeHash>,
    pub(crate) bytes: Vec<u8>,
}

impl Recent {
    /// Notes what led from `before` to `after`.
    pub(crate) fn note(&mut self, before: Vec<ChangeHash>, changes: &[Change], after: &[ChangeHash]) {
        if before == after {
            return;
        }
        if self.end != before {
            // Something else has moved the document, such as an import: what is kept does not lead here.
            self.steps.clear();
            self.bytes = 0;
        }
        self.end = after.to_vec();
        // Some changes may have been there before, or wait for others: then the heads are not those of exactly these
        // changes, and automerge has to be asked.
        let mut heads: BTreeSet<ChangeHash> = before.iter().copied().collect();
        for change in changes {
            change.deps().iter().for_each(|dep| {
                heads.remove(dep);
            });
            heads.insert(change.hash());
        }
        if !heads.iter().eq(after) {
            self.steps.clear();
            self.bytes = 0;
            return;
        }
        let step = Step {
            before,
            hashes: changes.iter().map(Change::hash).collect(),
            bytes: changes.iter().map(Change::raw_bytes).collect::<Vec<_>>().concat(),
        };
        self.bytes += step.bytes.len();
        self.steps.push_back(step);
        while self.bytes > KEPT_BYTES || self.steps.len() > KEPT_STEPS {
            let Some(oldest) = self.steps.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Whether the document had these heads, not long ago.
    pub(crate) fn passed(&self, heads: &[ChangeHash]) -> bool {
        self.steps.iter().any(|step| step.before == heads)
    }

    /// What led from these heads to the `present` ones; `None` when that is too long ago or is not known.
    pub(crate) fn since(&self, heads: &[ChangeHash], present: &[ChangeHash]) -> Option<Since> {
        if self.end != present {
            return None;
        }
        let first = self.steps.iter().rposition(|step| step.before == heads)?;
        let steps: Vec<_> = self.steps.range(first..).collect();
        Some(Since {
            hashes: steps.iter().flat_map(|step| &step.hashes).copied().collect(),
            bytes: steps.iter().map(|step| &*step.bytes).collect::<Vec<_>>().concat(),
        })
    }
}

#[cfg(test)]
mod tests {
    use automerge::{AutoCommit, ROOT, transaction::Transactable};

    use super::*;

    #[test]
    fn what_was_applied_since_leads_to_the_present() {
        let mut doc = AutoCommit::new();
        let mut recent = Recent::default();
        let mut heads = Vec::new();
        let mut past = Vec::new();
        for n in 0..20 {
            doc.put(ROOT, "n", n).unwrap();
            doc.commit();
            let changes = doc.get_changes(&heads);
            let after = doc.get_heads();
            recent.note(heads.clone(), &changes, &after);
            past.push((heads, doc.clone()));
            heads = after;
        }
        for (before, _) in &past[1..] {
            let since = recent.since(before, &heads).unwrap();
            let mut then = doc.fork_at(before).unwrap();
            then.load_incremental(&since.bytes).unwrap();
            assert_eq!(then.get_heads(), heads);
            assert_eq!(since.hashes.last(), Some(&heads[0]));
        }
        assert!(recent.since(&heads, &heads).is_none());
        assert!(
            recent.since(&past[5].0, &past[7].0).is_none(),
            "the document was moved by something else"
        );
    }

    #[test]
    fn a_change_that_is_not_applied_yet_makes_it_ask_automerge() {
        let mut doc = AutoCommit::new();
        doc.put(ROOT, "a", 1).unwrap();
        doc.commit();
        let first = doc.get_heads();
        doc.put(ROOT, "b", 1).unwrap();
        doc.commit();
        let second = doc.get_changes(&first);
        let mut recent = Recent::default();
        let other = vec![ChangeHash([1; 32])];
        recent.note(other.clone(), &second, &[ChangeHash([2; 32])]);
        assert!(recent.since(&other, &[ChangeHash([2; 32])]).is_none());
    }
}
