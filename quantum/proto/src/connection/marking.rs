//! Whether packets are marked as ECN-capable. RFC 9000 section 13.4.2.
//!
//! Owns what is known of the path in this respect. Inputs: acknowledgements, and timeouts. Effect: [`Marking::mark`].
//! Invariants: everything is marked until marks are known to do harm or to be of no use; then nothing is, until the path is another one.
//! On failure: a path that swallows marked packets, or a peer whose counts do not add up, gets packets without marks.

use crate::{frame::Ack, types::Ecn};

/// Probes without any answer after which the marks may be to blame.
const SILENCES_MAX: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Marking {
    works: bool,
    /// A packet was acknowledged on this path: marked ones pass.
    heard: bool,
    /// Probes since the path began, until something was heard.
    silences: u8,
    /// Packets of this path that ACK frames acknowledged.
    acked: u64,
    /// What the latest of them has reported: packets that arrived with a mark, or were repaired.
    reported: u64,
    /// The same when the path began.
    before: u64,
}

impl Marking {
    pub(super) fn new() -> Self {
        Self {
            works: true,
            heard: false,
            silences: 0,
            acked: 0,
            reported: 0,
            before: 0,
        }
    }

    /// What datagrams are marked with.
    pub(super) fn mark(&self) -> Option<Ecn> {
        self.works.then_some(Ecn::Ect0)
    }

    /// The path is another one, and what holds there is to be found out.
    pub(super) fn on_new_path(&mut self) {
        *self = Self {
            reported: self.reported,
            before: self.reported,
            ..Self::new()
        };
    }

    /// A packet that was sent on this path was acknowledged.
    pub(super) fn on_heard(&mut self) {
        self.heard = true;
    }

    /// An ACK frame of the application space that names a larger number than all before it: `acked` packets of this path are
    /// acknowledged by it for the first time. All of them were marked, as long as anything is.
    pub(super) fn on_ack(&mut self, frame: &Ack, acked: u64) {
        self.acked += acked;
        let marked = frame.ecn.map(|[ect0, _, ce]| ect0.saturating_add(ce));
        // What was repaired did not arrive, so that nobody saw its mark.
        let told = marked.unwrap_or(0).saturating_add(frame.repaired);
        self.reported = self.reported.max(told);
        // Sent with ECT(0): that it arrived with ECT(1) is somebody's fault.
        let altered = frame.ecn.is_some_and(|[_, ect1, _]| ect1 > 0);
        if acked > 0 && (marked.is_none() || told.saturating_sub(self.before) < self.acked || altered) {
            self.works = false;
        }
    }

    /// The peer is silent: a probe goes out, or everything in flight counts as lost.
    pub(super) fn on_silence(&mut self, timeout: bool) {
        self.silences = self.silences.saturating_add(1);
        if !self.heard && (timeout || self.silences >= SILENCES_MAX) {
            self.works = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(ecn: Option<[u64; 3]>, repaired: u64) -> Ack {
        Ack {
            ecn,
            repaired,
            ..Ack::default()
        }
    }

    #[test]
    fn counts_that_add_up_keep_the_marks() {
        let mut marking = Marking::new();
        marking.on_ack(&ack(Some([5, 0, 0]), 0), 5);
        marking.on_ack(&ack(Some([7, 0, 2]), 0), 4);
        // More arrived than were acknowledged: some did not ask for it.
        marking.on_ack(&ack(Some([17, 0, 2]), 0), 3);
        marking.on_ack(&ack(Some([17, 0, 2]), 3), 10);
        assert_eq!(marking.mark(), Some(Ecn::Ect0));
        // Nothing new was acknowledged, so nothing can be missing.
        marking.on_ack(&ack(None, 0), 0);
        assert_eq!(marking.mark(), Some(Ecn::Ect0));
    }

    #[test]
    fn counts_that_are_missing_too_low_or_of_other_marks_end_them() {
        for frame in [
            ack(None, 0),
            ack(Some([9, 0, 0]), 0),
            ack(Some([4, 0, 4]), 1),
            ack(Some([10, 1, 0]), 0),
        ] {
            let mut marking = Marking::new();
            marking.on_ack(&frame, 10);
            assert_eq!(marking.mark(), None, "{frame:?}");
            marking.on_new_path();
            assert_eq!(marking.mark(), Some(Ecn::Ect0), "another path may be better");
        }
    }

    #[test]
    fn counts_of_an_earlier_path_do_not_help_this_one() {
        let mut marking = Marking::new();
        marking.on_ack(&ack(Some([1000, 0, 0]), 0), 1000);
        marking.on_new_path();
        marking.on_ack(&ack(Some([1002, 0, 0]), 0), 2);
        assert_eq!(marking.mark(), Some(Ecn::Ect0));
        marking.on_ack(&ack(Some([1002, 0, 0]), 0), 1);
        assert_eq!(marking.mark(), None);
    }

    #[test]
    fn silence_ends_the_marks_only_where_nothing_was_ever_heard() {
        let mut marking = Marking::new();
        marking.on_silence(false);
        assert_eq!(marking.mark(), Some(Ecn::Ect0));
        marking.on_silence(false);
        assert_eq!(marking.mark(), None);
        marking.on_new_path();
        marking.on_silence(true);
        assert_eq!(marking.mark(), None);
        marking.on_new_path();
        marking.on_heard();
        (0..10).for_each(|_| marking.on_silence(true));
        assert_eq!(marking.mark(), Some(Ecn::Ect0));
    }
}
