//! What the peer was told, by FLOOR frames, not to wait for any longer. `quantum/SPEC.md` section 4.
//!
//! Owns the largest FLOOR that was sent and the largest acknowledgement that came in a header. FLOOR frames are not acknowledged:
//! that one was lost shows when the peer knows later packets and still waits.

use crate::number::PacketNumber;

#[derive(Debug, Default)]
pub(super) struct Floor {
    /// The largest that was sent: the peer may call everything below settled, whether it arrived or not.
    told: PacketNumber,
    /// The packet that carried it last, until it is known to be lost.
    carrier: Option<PacketNumber>,
    /// The peer waits for this number.
    awaited: PacketNumber,
}

impl Floor {
    pub(super) fn told(&self) -> PacketNumber {
        self.told
    }

    pub(super) fn on_sent(&mut self, carrier: PacketNumber, floor: PacketNumber) {
        self.told = self.told.max(floor);
        self.carrier = Some(carrier);
    }

    /// `largest` is the largest number known to have arrived.
    pub(super) fn on_ack(&mut self, acknowledgement: PacketNumber, largest: Option<PacketNumber>) {
        self.awaited = self.awaited.max(acknowledgement);
        if self.awaited < self.told && self.carrier <= largest {
            self.carrier = None;
        }
    }

    /// Whether the peer waits in vain and is to be told `floor`.
    pub(super) fn is_wanted(&self, floor: PacketNumber, largest: Option<PacketNumber>) -> bool {
        // Where nothing later has arrived the peer has no gap to wait for.
        let gap = largest.is_some_and(|largest| largest >= self.awaited);
        gap && self.awaited < floor && (self.told < floor || self.carrier.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn n(number: u64) -> PacketNumber {
        PacketNumber(number)
    }

    #[test]
    fn wanted_while_the_peer_waits_in_vain() {
        let mut floor = Floor::default();
        assert!(!floor.is_wanted(n(5), None), "nothing arrived");
        floor.on_ack(n(5), Some(n(4)));
        assert!(!floor.is_wanted(n(8), Some(n(4))), "no gap");
        assert!(!floor.is_wanted(n(5), Some(n(7))), "this end waits too");
        assert!(floor.is_wanted(n(8), Some(n(7))));
        floor.on_sent(n(9), n(8));
        assert!(!floor.is_wanted(n(8), Some(n(7))), "told");
        assert!(floor.is_wanted(n(9), Some(n(7))), "it has risen");
    }

    #[test]
    fn told_again_when_it_was_lost() {
        let mut floor = Floor::default();
        floor.on_ack(n(2), Some(n(7)));
        floor.on_sent(n(9), n(8));
        floor.on_ack(n(2), Some(n(8)));
        assert!(!floor.is_wanted(n(8), Some(n(8))), "it may be under way");
        floor.on_ack(n(2), Some(n(10)));
        assert!(floor.is_wanted(n(8), Some(n(10))), "lost or late");
        floor.on_sent(n(11), n(8));
        floor.on_ack(n(8), Some(n(12)));
        assert!(!floor.is_wanted(n(8), Some(n(12))));
        assert_eq!(floor.told(), n(8));
    }
}
