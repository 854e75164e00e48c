//! The block that is being filled.

use crate::{frame::Parity, number::PacketNumber};

pub(crate) struct Encoder {}

impl Encoder {
    pub(crate) fn new() -> Self {
        todo!()
    }

    /// A packet with this opened payload was sent as a source. Returns `true` when the block is full.
    pub(crate) fn add(&mut self, _number: PacketNumber, _payload: &[u8]) -> bool {
        todo!()
    }

    /// How many sources the open block has.
    pub(crate) fn len(&self) -> usize {
        todo!()
    }

    /// Closes the block: its first `count` parities, at most 3.
    pub(crate) fn close(&mut self, _count: usize) -> Vec<Parity> {
        todo!()
    }
}
