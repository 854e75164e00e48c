//! Repairs packets from parity.
//!
//! Bounded: the payloads of the last 64 FEC packets and 8 blocks that wait.

use bytes::Bytes;

use crate::{error::TransportError, frame::Parity, number::PacketNumber};

pub(crate) struct Decoder {}

impl Decoder {
    pub(crate) fn new() -> Self {
        todo!()
    }

    /// A packet with the flag FEC that holds no parity arrived. What it lets repair is appended.
    pub(crate) fn on_source(&mut self, _number: PacketNumber, _payload: Bytes, _repaired: &mut Vec<(PacketNumber, Bytes)>) {
        todo!()
    }

    /// A parity arrived. `have` tells whether a number was received (its payload may be gone).
    pub(crate) fn on_parity(
        &mut self,
        _parity: Parity,
        _repaired: &mut Vec<(PacketNumber, Bytes)>,
    ) -> Result<(), TransportError> {
        todo!()
    }
}
