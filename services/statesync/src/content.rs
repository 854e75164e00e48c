//! The document itself, in as much memory as its use needs.

use aetherflow_schema::id::Offset;
use automerge::{Automerge, Change, ChangeHash, ReadDoc, sync, sync::SyncDoc};
use bytes::Bytes;
use tokio::task;

use crate::{contained, intake::Received, recent::Recent};

/// What one change of a live document costs in memory, about: measured on documents of single-character edits.
const LIVE_BYTES_PER_CHANGE: u64 = 900;

/// What goes over all changes of a document with more of them than this is done where it blocks no other.
const LARGE_CHANGES: u64 = 500;

/// The state of a document in memory.
pub(crate) enum Content {
    /// There are no changes in the log.
    Absent,
    /// Bytes and heads, which is enough for peers that have nothing or everything.
    Cold(Cold),
    /// An automerge document.
    Live(Box<Live>),
    /// Whoever works on the automerge document has it, or has not given it back: it is to be built anew from the log.
    Away,
}

/// A document that was not materialized.
pub(crate) struct Cold {
    pub(crate) heads: Vec<ChangeHash>,
    pub(crate) changes: u64,
    /// The whole document as automerge chunks.
    pub(crate) whole: Bytes,
    /// Whether all of it is known to apply. Of a snapshot it is; of what came after one it is not before somebody has
    /// applied it, and then the whole is not to be handed out: it might load nowhere.
    pub(crate) checked: bool,
}

/// A materialized document.
pub(crate) struct Live {
    pub(crate) doc: Automerge,
    pub(crate) changes: u64,
    /// What was applied last: it is sent on as it came.
    pub(crate) recent: Recent,
    /// The document as a file, and the heads it has.
    saved: Option<(Vec<ChangeHash>, Bytes)>,
}

impl Live {
    pub(crate) fn new(doc: Automerge, changes: u64) -> Self {
        Self {
            doc,
            changes,
            recent: Recent::default(),
            saved: None,
        }
    }

    /// The document as a file. Made once for given heads: every peer that has nothing gets the same bytes.
    pub(crate) fn saved(&mut self) -> Bytes {
        let heads = self.doc.get_heads();
        match &self.saved {
            Some((of, bytes)) if *of == heads => bytes.clone(),
            _ => {
                let bytes = Bytes::from(self.over_all(Automerge::save));
                self.saved = Some((heads, bytes.clone()));
                bytes
            }
        }
    }

    /// Does what may go over all changes of the document.
    pub(crate) fn over_all<T>(&self, work: impl FnOnce(&Automerge) -> T) -> T {
        if self.changes > LARGE_CHANGES {
            task::block_in_place(|| work(&self.doc))
        } else {
            work(&self.doc)
        }
    }

    /// Applies committed changes.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Result<(), String> {
        let before = self.doc.get_heads();
        // Changes that wait for others change what is saved, and no heads.
        self.saved = None;
        contained(|| self.doc.apply_changes(changes.iter().cloned()))?.map_err(|error| error.to_string())?;
        self.recent.note(before, changes, &self.doc.get_heads());
        Ok(())
    }

    /// Merges a document whose changes are committed.
    pub(crate) fn merge(&mut self, other: &mut Automerge) -> Result<(), String> {
        self.saved = None;
        contained(|| self.doc.merge(other))?.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Applies a committed sync message.
    ///
    /// Automerge takes a peer that names our heads for one that was told them. It may as well have made them: then it
    /// is owed an answer, for only that says that they are saved.
    pub(crate) fn receive(&mut self, state: &mut sync::State, received: Received) -> Result<(), String> {
        if received.carries_changes() {
            self.saved = None;
        }
        let Received { message, changes } = received;
        let told = (!message.heads.is_empty()).then(|| state.last_sent_heads.clone());
        let before = self.doc.get_heads();
        let apply = || {
            if !changes.is_empty() {
                self.doc.apply_changes(changes.iter().cloned())?;
            }
            self.doc.receive_sync_message(state, message)
        };
        contained(apply)?.map_err(|error| error.to_string())?;
        if let Some(told) = told {
            state.last_sent_heads = told;
        }
        self.recent.note(before, &changes, &self.doc.get_heads());
        Ok(())
    }
}

impl Content {
    /// Whether there are changes that wait for others: they are in no heads. A cold document has none.
    pub(crate) fn has_waiting(&self) -> bool {
        match self {
            Self::Absent | Self::Away | Self::Cold(_) => false,
            Self::Live(live) => !live.doc.get_missing_deps(&[]).is_empty(),
        }
    }

    /// Whether there may be something in it that cannot be applied.
    pub(crate) fn is_unchecked(&self) -> bool {
        matches!(self, Self::Cold(cold) if !cold.checked)
    }

    pub(crate) fn heads(&self) -> Vec<ChangeHash> {
        match self {
            Self::Absent | Self::Away => Vec::new(),
            Self::Cold(cold) => cold.heads.clone(),
            Self::Live(live) => live.doc.get_heads(),
        }
    }

    /// Keeps bytes and heads of a live document alone. What waits for others must be nothing.
    pub(crate) fn cool(&mut self) {
        let Self::Live(live) = self else { return };
        let heads = live.doc.get_heads();
        *self = if heads.is_empty() {
            Self::Absent
        } else {
            Self::Cold(Cold {
                heads,
                changes: live.changes,
                whole: live.saved(),
                checked: true,
            })
        };
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn memory(&self) -> u64 {
        match self {
            Self::Absent | Self::Away => 0,
            Self::Cold(cold) => cold.whole.len() as u64,
            Self::Live(live) => {
                let saved = live.saved.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
                live.changes * LIVE_BYTES_PER_CHANGE + saved
            }
        }
    }

    /// The bytes for somebody who has nothing; `None` when there is nothing to give. Not while it is unchecked.
    pub(crate) fn whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Absent | Self::Away => None,
            Self::Cold(cold) => Some(cold.whole.clone()),
            Self::Live(live) => Some(live.saved()),
        }
    }
}

/// An entry that could not be applied, and why.
pub(crate) type SetAside = (Offset, String);

/// A position in the log and a document that contains everything up to there.
pub(crate) struct Loaded {
    pub(crate) content: Content,
    /// The newest entry of the document.
    pub(crate) offset: Offset,
    /// Changes after the newest snapshot.
    pub(crate) unsaved: u64,
    /// Entries that could not be applied, and why.
    pub(crate) set_aside: Vec<SetAside>,
}
