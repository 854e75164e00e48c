//! The receiving side of acknowledgement: which numbers arrived, and when to say so.
//!
//! Owns the set of received numbers of one space. Bounded: 256 ranges; when there are more, the lowest are given up, and what is below is
//! taken for a duplicate.

use std::time::Duration;

use crate::{frame::Ack, number::PacketNumber, time::Time, types::Ecn};

pub(crate) struct Receipts {}

impl Receipts {
    /// `max_delay` is zero in the handshake spaces.
    pub(crate) fn new(_max_delay: Duration) -> Self {
        todo!()
    }

    /// Whether the number arrived before, or is too old to tell.
    pub(crate) fn is_duplicate(&self, _number: PacketNumber) -> bool {
        todo!()
    }

    /// The number that is expected next, to extend short ones.
    pub(crate) fn expected(&self) -> PacketNumber {
        todo!()
    }

    /// A packet was opened that is no duplicate. `asks`: it is to be acknowledged; `at_once`: it says so (PSH).
    pub(crate) fn on_packet(&mut self, _now: Time, _number: PacketNumber, _asks: bool, _at_once: bool, _ecn: Option<Ecn>) {
        todo!()
    }

    /// A packet was repaired from parity. It is acknowledged at once.
    pub(crate) fn on_repaired(&mut self, _now: Time, _number: PacketNumber) {
        todo!()
    }

    /// The peer's FLOOR.
    pub(crate) fn on_floor(&mut self, _floor: PacketNumber) {
        todo!()
    }

    /// When an acknowledgement must be sent at the latest; a time in the past: at once.
    pub(crate) fn due(&self) -> Option<Time> {
        todo!()
    }

    /// Whether anything was received that has not been reported in a sent ACK.
    pub(crate) fn has_news(&self) -> bool {
        todo!()
    }

    /// The header's acknowledgement: `None` before anything arrived.
    pub(crate) fn acknowledgement(&self) -> Option<PacketNumber> {
        todo!()
    }

    /// The ACK frame for now. The blocks nearest to the largest number.
    pub(crate) fn ack(&self, _now: Time) -> Ack {
        todo!()
    }

    /// The frame of [`Self::ack`] was put into a packet that goes out.
    pub(crate) fn on_ack_sent(&mut self) {
        todo!()
    }

    /// Sets the peer-independent rule: acknowledge every `packets` packets (2 at the start; more in a steady bulk flow).
    pub(crate) fn set_frequency(&mut self, _packets: u32) {
        todo!()
    }
}
