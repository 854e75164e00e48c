//! Chooses the protection of interactive messages from deadline, loss and burst length.

use std::time::Duration;

use smallvec::SmallVec;

use crate::time::Time;

/// How a packet with interactive messages is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Repeat its chunks in the packets this many packets later.
    pub(crate) repeat_after: SmallVec<[u8; 3]>,
    /// Parities when its block closes; 0: it is no source.
    pub(crate) parities: u8,
    /// The block closes after this much quiet.
    pub(crate) close_after: Duration,
    /// Time between the parities, against bursts.
    pub(crate) spread: Duration,
}

/// Watches the path and the flow of messages.
pub(crate) struct Planner {}

impl Planner {
    pub(crate) fn new() -> Self {
        todo!()
    }

    /// A packet's fate is known, in the order of numbers: loss rate and burst length are learned from it.
    pub(crate) fn on_fate(&mut self, _lost: bool) {
        todo!()
    }

    /// A packet with interactive messages goes out: learns the interval between them.
    pub(crate) fn on_interactive(&mut self, _now: Time, _bytes: usize) {
        todo!()
    }

    /// Fraction of packets lost of late.
    pub(crate) fn loss(&self) -> f64 {
        todo!()
    }

    /// Mean length of a burst of losses, in packets.
    pub(crate) fn burst(&self) -> f64 {
        todo!()
    }

    /// `rtt`: smoothed.
    pub(crate) fn plan(&self, _now: Time, _rtt: Duration) -> Plan {
        todo!()
    }
}
