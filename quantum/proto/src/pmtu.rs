//! How large a datagram the path takes. RFC 8899.

use crate::time::Time;

/// Searches upwards from 1,200 bytes; falls back when full-sized packets vanish (a black hole).
pub(crate) struct Pmtu {}

impl Pmtu {
    pub(crate) const BASE: u16 = 1200;

    /// `max` is the smaller of both sides' limits.
    pub(crate) fn new(_max: u16) -> Self {
        todo!()
    }

    /// UDP payload bytes that datagrams may have now.
    pub(crate) fn current(&self) -> u16 {
        todo!()
    }

    /// The size of the probe to send now, if one is due.
    pub(crate) fn probe(&mut self, _now: Time) -> Option<u16> {
        todo!()
    }

    /// When [`Self::probe`] will have something.
    pub(crate) fn next_probe(&self) -> Option<Time> {
        todo!()
    }

    pub(crate) fn on_probe_acked(&mut self, _now: Time, _size: u16) {
        todo!()
    }

    pub(crate) fn on_probe_lost(&mut self, _now: Time, _size: u16) {
        todo!()
    }

    /// A packet that was no probe was acknowledged or lost; returns `true` when a black hole was found and the size fell.
    pub(crate) fn on_packet(&mut self, _now: Time, _size: u16, _lost: bool) -> bool {
        todo!()
    }

    /// The peer's limit has become known.
    pub(crate) fn set_max(&mut self, _max: u16) {
        todo!()
    }

    /// Forgets everything: the path is another one.
    pub(crate) fn reset(&mut self) {
        todo!()
    }
}
