//! What is committed but not in the index tables yet.
//!
//! Rows of the indexes follow from the frames, so a commit does not write them: they gather here, in a generation that grows.
//! A full one is sealed, and the index thread writes it out as sorted tables. See `ops/docs/decisions/0006`.
//!
//! **Owns** the generations: one that grows, and the sealed ones, oldest first.
//! **Inputs**: frames after their commit; the index thread's word that the oldest sealed generation is in the tables.
//! **Effects**: the writer waits when too many are sealed; the index thread wakes when there is one.
//! **Invariants**: a committed entry is here, or in the tables, or in both, and never in neither. It leaves only after it
//! can be read from the tables; so whoever looks here first, and into the tables afterwards, finds it. Generations leave
//! oldest first: what is in memory of a document is newer than what is in tables only.
//! **On failure** of the index thread everything stays, and nobody waits any more; opening the store anew rebuilds it.

use std::{
    collections::VecDeque,
    mem,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use aetherflow_schema::{
    id::Offset,
    record::{Frame, RecordError},
};

use crate::{
    generation::{self, Generation, Place, Written},
    keys::OpKey,
};

/// Sealed generations at which the writer waits for the index thread.
const SEALED_MAX: usize = 2;

/// When a generation is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Full {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl Full {
    pub(crate) fn is(self, generation: &Generation) -> bool {
        generation.entries() >= self.entries || generation.bytes() >= self.bytes
    }

    /// Whether a frame would have its operations moved into a larger table, which takes as long as very many commits.
    fn is_too_full_for(self, generation: &Generation, frame: &Frame) -> bool {
        generation.entries() > 0 && generation.entries() + frame.header().count as usize > self.entries
    }
}

struct State {
    growing: Generation,
    sealed: VecDeque<Arc<Generation>>,
    /// Emptied, to be the next that grows.
    spare: Option<Generation>,
    /// The index thread has ended, or is to end.
    ended: bool,
}

impl State {
    fn newest_first(&self) -> impl Iterator<Item = &Generation> {
        [&self.growing]
            .into_iter()
            .chain(self.sealed.iter().rev().map(Arc::as_ref))
    }

    fn oldest_first(&self) -> impl Iterator<Item = &Generation> {
        self.sealed.iter().map(Arc::as_ref).chain([&self.growing])
    }
}

/// See the [module](self).
pub(crate) struct Pending {
    full: Full,
    state: Mutex<State>,
    changed: Condvar,
}

impl Pending {
    /// Begins with what recovery read again.
    pub(crate) fn new(full: Full, growing: Generation) -> Self {
        Self {
            full,
            state: Mutex::new(State {
                growing,
                sealed: VecDeque::new(),
                spare: None,
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.changed
            .wait_while(self.lock(), condition)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the writer back while the index thread is behind; fails once it has ended.
    pub(crate) fn wait_for_room(&self) -> Result<(), String> {
        let state = self.wait_while(|state| state.sealed.len() >= SEALED_MAX && !state.ended);
        match state.ended {
            true => Err("the index is not written any more".to_owned()),
            false => Ok(()),
        }
    }

    /// Takes frames that were committed.
    pub(crate) fn add(&self, frames: &[Frame]) -> Result<(), RecordError> {
        let mut state = self.lock();
        for frame in frames {
            if self.full.is_too_full_for(&state.growing, frame) {
                self.seal(&mut state);
            }
            state.growing.add(frame)?;
        }
        if self.full.is(&state.growing) {
            self.seal(&mut state);
        }
        Ok(())
    }

    fn seal(&self, state: &mut State) {
        let indexed = state.growing.indexed();
        let next = match state.spare.take() {
            Some(spare) => spare.again_after(indexed),
            None => Generation::after(indexed.to_vec(), self.full.entries),
        };
        let full = mem::replace(&mut state.growing, next);
        state.sealed.push_back(Arc::new(full));
        self.changed.notify_all();
    }

    /// Where operations stand, as far as that is known here.
    pub(crate) fn lookup(&self, operations: &[OpKey]) -> Vec<Option<Offset>> {
        let state = self.lock();
        operations
            .iter()
            .map(|key| {
                let op = key.op();
                let hash = generation::hash(key.document(), &op);
                state
                    .newest_first()
                    .find_map(|generation| generation.operation(hash, key.document(), &op))
            })
            .collect()
    }

    /// The entries of a document that stand in frames which begin in this range, in order.
    pub(crate) fn places(&self, document: &[u8], bases: Range<Offset>) -> Vec<Place> {
        let state = self.lock();
        state
            .oldest_first()
            .flat_map(|generation| {
                let places = generation.places(document);
                let from = places.partition_point(|place| place.base < bases.start);
                let to = places.partition_point(|place| place.base < bases.end);
                &places[from..to]
            })
            .copied()
            .collect()
    }

    /// Up to `limit` entries of a principal that begin at `from`, in order.
    pub(crate) fn written(&self, principal: &[u8], from: Written, limit: usize) -> Vec<Written> {
        let state = self.lock();
        let mut written: Vec<Written> = state
            .oldest_first()
            .flat_map(|generation| {
                let written = generation.written(principal);
                let start = written.partition_point(|entry| *entry < from);
                written[start..].iter().take(limit)
            })
            .copied()
            .collect();
        drop(state);
        // Each generation has its own in order; clocks are set back at times.
        written.sort_unstable();
        written.truncate(limit);
        written
    }

    /// The newest entry of a document.
    pub(crate) fn tail(&self, document: &[u8]) -> Option<Offset> {
        let state = self.lock();
        let newest = state
            .newest_first()
            .find_map(|generation| generation.places(document).last());
        newest.map(|place| place.offset())
    }

    /// Up to `limit` documents after `after`, in order, by what their keys begin with.
    pub(crate) fn documents(&self, after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        let state = self.lock();
        let mut documents: Vec<&[u8]> = state
            .newest_first()
            .flat_map(|generation| generation.documents(after, limit))
            .collect();
        documents.sort_unstable();
        documents.dedup();
        documents.into_iter().take(limit).map(<[u8]>::to_vec).collect()
    }

    /// Waits for a sealed generation and returns the oldest; `None` at the end.
    pub(crate) fn next_sealed(&self) -> Option<Arc<Generation>> {
        let state = self.wait_while(|state| state.sealed.is_empty() && !state.ended);
        state.sealed.front().filter(|_| !state.ended).cloned()
    }

    /// The oldest sealed generation, which is this one, is in the tables.
    pub(crate) fn drop_oldest(&self, oldest: Arc<Generation>) {
        self.lock().sealed.pop_front();
        self.changed.notify_all();
        // Not under the lock: it takes a while.
        let spare = Arc::into_inner(oldest).map(Generation::emptied);
        self.lock().spare = spare;
    }

    /// Ends the index thread; nobody waits for it any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
