//! The channels in use, found by id.

use std::{
    collections::BTreeMap,
    ops::{Index, IndexMut},
};

use crate::types::ChannelId;

/// Ids below this are found by index. It bounds the index to 16 KiB, however ids are chosen.
const NEAR: usize = 4096;
/// No channel there.
const NONE: u32 = u32::MAX;

/// Channels, in slots numbered as they were first used. A slot stays: its number may be kept elsewhere.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// Slots by channel id.
    near: Vec<u32>,
    /// The same for the other ids.
    far: BTreeMap<u32, u32>,
    channels: Vec<T>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Self {
            near: Vec::new(),
            far: BTreeMap::new(),
            channels: Vec::new(),
        }
    }

    pub(super) fn find(&self, id: ChannelId) -> Option<u32> {
        match id.0 as usize {
            near @ ..NEAR => self.near.get(near).copied().filter(|&slot| slot != NONE),
            _ => self.far.get(&id.0).copied(),
        }
    }

    pub(super) fn find_or_insert(&mut self, id: ChannelId, channel: impl FnOnce() -> T) -> u32 {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        let slot = self.channels.len() as u32;
        assert!(slot != NONE, "there are fewer slots than ids");
        self.channels.push(channel());
        match id.0 as usize {
            near @ ..NEAR => {
                if self.near.len() <= near {
                    self.near.resize(near + 1, NONE);
                }
                self.near[near] = slot;
            }
            _ => {
                self.far.insert(id.0, slot);
            }
        }
        slot
    }

    /// How many slots.
    pub(super) fn len(&self) -> u32 {
        self.channels.len() as u32
    }
}

impl<T> Index<u32> for Table<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        &self.channels[slot as usize]
    }
}

impl<T> IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.channels[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_its_own_slot() {
        let mut table = Table::new();
        let ids = [5, 0, 4095, 4096, u32::MAX, 70_000];
        for id in ids {
            assert_eq!(table.find(ChannelId(id)), None);
            let slot = table.find_or_insert(ChannelId(id), || id);
            assert_eq!(
                table.find_or_insert(ChannelId(id), || unreachable!("it is there")),
                slot
            );
        }
        for id in ids {
            assert_eq!(table[table.find(ChannelId(id)).unwrap()], id);
        }
        assert_eq!(table.len(), ids.len() as u32);
        assert_eq!(table.near.len(), NEAR, "the index is bounded");
    }
}
