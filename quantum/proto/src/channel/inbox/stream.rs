//! The messages of one channel and kind as they come in.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use bytes::Bytes;

use super::assembly::Assembly;
use crate::{
    channel::{ID_WINDOW, MESSAGE_COST},
    error::{CloseCode, TransportError},
    types::Delivery,
};

/// Where a chunk stands; `end` is within the limit for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) offset: u32,
    pub(super) end: u32,
    pub(super) fin: bool,
}

/// A message of which something arrived.
#[derive(Debug)]
enum Pending {
    Partial {
        bytes: Assembly,
        /// The largest offset seen: what the peer was charged.
        largest: u32,
        /// Its length, once known.
        len: Option<u32>,
    },
    /// It waits for those ahead of it.
    Whole(Bytes),
}

/// What a chunk means.
pub(super) enum Verdict {
    /// Nothing new.
    Duplicate,
    /// It is to be charged so much, and then to be stored.
    New(u64),
}

/// See the module. Each entry of `pending` was charged at least [`MESSAGE_COST`], about a quarter of what it may take at worst, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Ordered: the next to deliver. Unordered: the oldest incomplete one.
    first: u64,
    pending: BTreeMap<u64, Pending>,
    /// Of an unordered stream.
    delivered: Delivered,
}

impl Stream {
    /// Compares a chunk with what is known.
    ///
    /// # Errors
    /// The id is too far ahead (FLOW_CONTROL), or the message's length is contradicted (PROTOCOL).
    pub(super) fn examine(&self, place: Place) -> Result<Verdict, TransportError> {
        let Place { id, end, fin, .. } = place;
        if id < self.first || self.delivered.contains(id) {
            return Ok(Verdict::Duplicate);
        }
        if id - self.first > ID_WINDOW {
            return Err(TransportError::new(
                CloseCode::FLOW_CONTROL,
                "a message id too far ahead",
            ));
        }
        let (largest, len) = match self.pending.get(&id) {
            None => return Ok(Verdict::New(u64::from(end) + MESSAGE_COST)),
            Some(Pending::Partial { largest, len, .. }) => (*largest, *len),
            Some(Pending::Whole(data)) => (data.len() as u32, Some(data.len() as u32)),
        };
        let contradicted = match len {
            Some(len) => end > len || (fin && end != len),
            None => fin && end < largest,
        };
        if contradicted {
            return Err(TransportError::new(CloseCode::PROTOCOL, "a message with two lengths"));
        }
        match self.pending.get(&id) {
            Some(Pending::Whole(_)) => Ok(Verdict::Duplicate),
            _ => Ok(Verdict::New(u64::from(end.saturating_sub(largest)))),
        }
    }

    /// Stores a chunk that was examined and charged. Returns the message if that made it whole.
    pub(super) fn store(&mut self, place: Place, data: Bytes) -> Option<Bytes> {
        let mut entry = match self.pending.entry(place.id) {
            Entry::Vacant(_) if place.offset == 0 && place.fin => {
                // A copy: a slice would keep all that was received with it, and flow control counts only the message.
                return Some(Bytes::copy_from_slice(&data));
            }
            Entry::Vacant(entry) => entry.insert_entry(Pending::Partial {
                bytes: Assembly::default(),
                largest: 0,
                len: None,
            }),
            Entry::Occupied(entry) => entry,
        };
        let Pending::Partial { bytes, largest, len } = entry.get_mut() else {
            panic!("a chunk of a whole message is a duplicate")
        };
        *largest = place.end.max(*largest);
        if place.fin {
            *len = Some(place.end);
        }
        bytes.write(place.offset as usize, &data);
        if len.is_none_or(|len| bytes.contiguous() < len as usize) {
            return None;
        }
        match entry.remove() {
            Pending::Partial { bytes, .. } => Some(bytes.into_bytes()),
            Pending::Whole(data) => Some(data),
        }
    }

    /// A message is whole: hands those that may be delivered now to `deliver`, in order.
    pub(super) fn complete(&mut self, delivery: Delivery, id: u64, data: Bytes, mut deliver: impl FnMut(u64, Bytes)) {
        if delivery == Delivery::Unordered {
            self.first = self.delivered.insert(id);
            return deliver(id, data);
        }
        if id != self.first {
            self.pending.insert(id, Pending::Whole(data));
            return;
        }
        deliver(id, data);
        self.first += 1;
        while let Some(next) = self.pending.first_entry()
            && *next.key() == self.first
            && matches!(next.get(), Pending::Whole(_))
        {
            if let Pending::Whole(data) = next.remove() {
                deliver(self.first, data);
            }
            self.first += 1;
        }
    }

    /// Bytes of memory that incomplete messages hold, and those that wait for them.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let each = |pending: &Pending| match pending {
            Pending::Partial { bytes, .. } => bytes.memory(),
            Pending::Whole(data) => data.len(),
        };
        self.pending
            .values()
            .map(|pending| each(pending) + 2 * size_of::<(u64, Pending)>())
            .sum::<usize>()
            + 8 * self.delivered.words.capacity()
    }
}

/// Ids of the unordered messages that were delivered: all below a bound, and others within the window above it, a bit for each. At
/// most 8 KiB.
#[derive(Debug, Default)]
struct Delivered {
    /// Everything below `64 * base` was delivered.
    base: u64,
    words: VecDeque<u64>,
}

impl Delivered {
    fn contains(&self, id: u64) -> bool {
        let Some(word) = (id / 64).checked_sub(self.base) else {
            return true;
        };
        self.words
            .get(word as usize)
            .is_some_and(|bits| bits & (1 << (id % 64)) != 0)
    }

    /// `id` lies in the window. Returns the smallest id that was not delivered.
    fn insert(&mut self, id: u64) -> u64 {
        let word = (id / 64 - self.base) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (id % 64);
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.base += 1;
        }
        self.base * 64 + self.words.front().map_or(0, |bits| u64::from(bits.trailing_ones()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delivered_ids_are_a_set(steps in prop::collection::vec(0u64..400, 0..500)) {
            let mut delivered = Delivered::default();
            let mut model = std::collections::BTreeSet::new();
            for id in steps {
                if delivered.contains(id) {
                    prop_assert!(model.contains(&id));
                    continue;
                }
                prop_assert!(model.insert(id));
                let oldest = (0..).find(|id| !model.contains(id)).unwrap();
                prop_assert_eq!(delivered.insert(id), oldest);
            }
        }
    }
}
