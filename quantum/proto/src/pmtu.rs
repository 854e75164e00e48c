//! How large a datagram the path takes. RFC 8899.
//!
//! Owns the size in use, the search for a larger one and the suspicion that it is too large by now.
//! Inputs: the fate of probes and of all other packets. Effects: [`Pmtu::probe`] and [`Pmtu::current`].
//! Invariants: `BASE <= current <= ceiling <= max`; a size above the base was acknowledged; at most one probe is in flight.
//! On failure: a size that is lost three times is too large, until the search is repeated.

use std::time::Duration;

use crate::time::Time;

/// Probes of a size that must be lost before it counts as too large. RFC 8899 section 5.1.2, MAX_PROBES.
const TRIES: u8 = 3;
/// The search is over when less than this could be won.
const RESOLUTION: u16 = 16;
/// The path may take more by now. RFC 8899 section 5.1.1, PMTU_RAISE_TIMER.
const RAISE_AFTER: Duration = Duration::from_secs(600);
/// What just vanished is not tried again for this long.
const COOL_DOWN: Duration = Duration::from_secs(60);
/// Large packets that must be lost in a row for a black hole,
const BLACK_HOLE_LOSSES: u32 = 4;
/// and over how long: the burst that a full queue drops is followed by large packets that arrive.
const BLACK_HOLE_SPAN: Duration = Duration::from_millis(500);

/// Searches upwards from 1,200 bytes; falls back when full-sized packets vanish (a black hole).
///
/// The largest size is tried first, since most paths take it; below that the search halves what is left.
pub(crate) struct Pmtu {
    max: u16,
    current: u16,
    /// The largest size that is not known to be too large.
    ceiling: u16,
    /// The probe that is in flight.
    in_flight: Option<u16>,
    /// Probes of the present candidate that were lost.
    losses: u8,
    /// When to probe next, unless one is in flight. `None`: there is nothing to search for.
    due: Option<Time>,
    suspicion: Option<Suspicion>,
}

/// Large packets were lost, and none arrived since.
struct Suspicion {
    since: Time,
    losses: u32,
    /// The smallest of them.
    size: u16,
    /// A smaller packet arrived meanwhile.
    smaller_arrives: bool,
}

impl Pmtu {
    pub(crate) const BASE: u16 = 1200;
    /// What fits a UDP datagram over IPv4.
    pub(crate) const MOST: u16 = 65_507;

    /// `max` is the smaller of both sides' limits.
    pub(crate) fn new(max: u16) -> Self {
        let max = max.clamp(Self::BASE, Self::MOST);
        let due = (max > Self::BASE).then_some(Time::ZERO);
        Self {
            max,
            current: Self::BASE,
            ceiling: max,
            in_flight: None,
            losses: 0,
            due,
            suspicion: None,
        }
    }

    /// UDP payload bytes that datagrams may have now.
    pub(crate) fn current(&self) -> u16 {
        self.current
    }

    /// The size of the probe to send now, if one is due. It must be sent, and its fate be told.
    pub(crate) fn probe(&mut self, now: Time) -> Option<u16> {
        if self.next_probe().is_none_or(|due| now < due) {
            return None;
        }
        if self.candidate().is_none() {
            // The search was over; it begins anew.
            self.ceiling = self.max;
        }
        self.in_flight = self.candidate();
        self.in_flight
    }

    /// When [`Self::probe`] will have something.
    pub(crate) fn next_probe(&self) -> Option<Time> {
        if self.in_flight.is_some() { None } else { self.due }
    }

    /// A probe of this size arrived. Old ones, whose loss was told, are ignored.
    pub(crate) fn on_probe_acked(&mut self, now: Time, size: u16) {
        if self.in_flight.take_if(|in_flight| *in_flight == size).is_some() {
            self.current = size;
            self.losses = 0;
            self.schedule(now);
        }
    }

    /// A probe of this size was lost.
    pub(crate) fn on_probe_lost(&mut self, now: Time, size: u16) {
        if self.in_flight.take_if(|in_flight| *in_flight == size).is_some() {
            self.losses += 1;
            if self.losses == TRIES {
                self.losses = 0;
                self.ceiling = size - 1;
            }
            self.schedule(now);
        }
    }

    /// A packet that was no probe was acknowledged or lost; returns `true` when a black hole was found and the size fell. `size` counts the
    /// whole datagram.
    pub(crate) fn on_packet(&mut self, now: Time, size: u16, lost: bool) -> bool {
        // What was in flight when the size fell says nothing new.
        if self.current == Self::BASE {
            return false;
        }
        if !lost {
            match &mut self.suspicion {
                Some(suspicion) if size < suspicion.size => suspicion.smaller_arrives = true,
                suspicion => *suspicion = None,
            }
            return false;
        }
        if size <= Self::BASE {
            return false;
        }
        let suspicion = self.suspicion.get_or_insert(Suspicion {
            since: now,
            losses: 0,
            size,
            smaller_arrives: false,
        });
        suspicion.losses += 1;
        suspicion.size = suspicion.size.min(size);
        let is_black_hole = suspicion.smaller_arrives
            && suspicion.losses >= BLACK_HOLE_LOSSES
            && now.since(suspicion.since) >= BLACK_HOLE_SPAN;
        if is_black_hole {
            self.reset();
            self.due = Some(now + COOL_DOWN);
        }
        is_black_hole
    }

    /// Forgets everything: the path is another one.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.max);
    }

    /// The size to probe next; `None` when the search is over.
    fn candidate(&self) -> Option<u16> {
        let left = self.ceiling - self.current;
        if self.ceiling == self.max {
            return (left > 0).then_some(self.max);
        }
        (left >= RESOLUTION).then(|| self.current + left.div_ceil(2))
    }

    fn schedule(&mut self, now: Time) {
        self.due = match self.candidate() {
            Some(_) => Some(now),
            None if self.current < self.max => Some(now + RAISE_AFTER),
            None => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    /// Searches until nothing is due at once, on a path that takes `mtu`. Of the probes that fit, those numbered in `dropped` are lost
    /// nevertheless. Returns the probes.
    fn search(pmtu: &mut Pmtu, now: &mut Time, mtu: u16, dropped: &[usize]) -> Vec<u16> {
        let mut probes = Vec::new();
        while let Some(size) = pmtu.probe(*now) {
            assert_eq!((pmtu.probe(*now), pmtu.next_probe()), (None, None), "one at a time");
            *now += RTT;
            if size <= mtu && !dropped.contains(&probes.len()) {
                pmtu.on_probe_acked(*now, size);
            } else {
                pmtu.on_probe_lost(*now, size);
            }
            probes.push(size);
            assert!(probes.len() < 60, "the search does not end: {probes:?}");
        }
        probes
    }

    fn searched(max: u16, mtu: u16) -> (Pmtu, Time) {
        let (mut pmtu, mut now) = (Pmtu::new(max), Time::ZERO);
        search(&mut pmtu, &mut now, mtu, &[]);
        (pmtu, now)
    }

    #[test]
    fn an_open_path_takes_one_probe() {
        let (mut pmtu, mut now) = (Pmtu::new(1452), Time::ZERO);
        assert_eq!(pmtu.current(), Pmtu::BASE);
        assert_eq!(search(&mut pmtu, &mut now, 9000, &[]), [1452]);
        assert_eq!((pmtu.current(), pmtu.next_probe()), (1452, None));
    }

    #[test]
    fn what_no_datagram_can_hold_is_not_tried() {
        for max in [u16::MAX, Pmtu::MOST] {
            assert_eq!(Pmtu::new(max).probe(Time::ZERO), Some(Pmtu::MOST));
        }
        assert_eq!(Pmtu::new(0).current(), Pmtu::BASE);
        assert_eq!(Pmtu::new(0).probe(Time::ZERO), None);
    }

    #[test]
    fn a_size_is_too_large_after_three_losses() {
        let (mut pmtu, mut now) = (Pmtu::new(1452), Time::ZERO);
        assert_eq!(search(&mut pmtu, &mut now, 1452, &[0, 1]), [1452; 3]);
        assert_eq!(pmtu.current(), 1452);

        let (mut pmtu, mut now) = (Pmtu::new(1452), Time::ZERO);
        let probes = search(&mut pmtu, &mut now, 1372, &[]);
        assert_eq!(probes[..3], [1452; 3]);
        assert!(probes[3] < 1452);
        assert!((1357..=1372).contains(&pmtu.current()), "{}", pmtu.current());
    }

    #[test]
    fn the_search_is_repeated_later() {
        let (mut pmtu, mut now) = searched(1452, 1300);
        let found = pmtu.current();
        assert!(found < 1452);
        assert_eq!(pmtu.next_probe(), Some(now + RAISE_AFTER));
        assert_eq!(pmtu.probe(now + RAISE_AFTER - Duration::from_nanos(1)), None);
        now += RAISE_AFTER;
        assert_eq!(search(&mut pmtu, &mut now, 1500, &[]), [1452]);
        assert_eq!((pmtu.current(), pmtu.next_probe()), (1452, None));
    }

    #[test]
    fn no_search_without_room() {
        for max in [0, 1199, 1200] {
            let mut pmtu = Pmtu::new(max);
            assert_eq!(
                (pmtu.current(), pmtu.next_probe(), pmtu.probe(Time::ZERO)),
                (Pmtu::BASE, None, None)
            );
        }
    }

    #[test]
    fn fates_of_old_probes_are_ignored() {
        let mut pmtu = Pmtu::new(1452);
        assert_eq!(pmtu.probe(Time::ZERO), Some(1452));
        pmtu.reset();
        pmtu.on_probe_acked(Time::ZERO, 1452);
        pmtu.on_probe_lost(Time::ZERO, 1452);
        assert_eq!(pmtu.current(), Pmtu::BASE);
        assert_eq!(
            pmtu.probe(Time::ZERO),
            Some(1452),
            "the new path is probed from the start"
        );
    }

    #[test]
    fn a_black_hole_is_found() {
        let (mut pmtu, mut now) = searched(1452, 1452);
        let mut fell = false;
        for round in 0..20 {
            now += Duration::from_millis(200);
            assert!(!pmtu.on_packet(now, 300, false));
            fell = pmtu.on_packet(now, 1452, true);
            if fell {
                assert_eq!(round, 3, "the fourth loss");
                break;
            }
        }
        assert!(fell);
        assert_eq!(pmtu.current(), Pmtu::BASE);
        assert!(!pmtu.on_packet(now, 1452, true), "it falls once");
        // After a while the size that the path takes now is found.
        assert_eq!(pmtu.next_probe(), Some(now + COOL_DOWN));
        now += COOL_DOWN;
        search(&mut pmtu, &mut now, 1400, &[]);
        assert!(pmtu.current() > 1384);
    }

    #[test]
    fn losses_without_a_black_hole() {
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        let lossy = |packets: &[(u64, u16, bool)]| {
            let (mut pmtu, _) = searched(1452, 1452);
            packets
                .iter()
                .any(|&(millis, size, lost)| pmtu.on_packet(at(1000 + millis), size, lost))
        };
        let (large, small) = (1452, 200);
        let lost = |millis| (millis, large, true);
        assert!(
            lossy(&[lost(0), lost(200), lost(400), (450, small, false), lost(600)]),
            "this one is"
        );
        assert!(
            !lossy(&[lost(0), lost(200), lost(400), lost(600), lost(800)]),
            "nothing arrives at all"
        );
        assert!(
            !lossy(&[(0, small, false), lost(1), lost(200), lost(400), lost(600)]),
            "the small one was before"
        );
        assert!(
            !lossy(&[
                lost(0),
                lost(200),
                (300, small, false),
                lost(400),
                (450, large, false),
                lost(600),
                lost(800)
            ]),
            "a large one arrives"
        );
        assert!(
            !lossy(&[
                lost(0),
                lost(1),
                lost(2),
                lost(3),
                (4, small, false),
                (90, large, false)
            ]),
            "a burst"
        );
        assert!(
            !lossy(&[
                lost(0),
                lost(1),
                lost(2),
                lost(3),
                (4, small, false),
                (600, small, false)
            ]),
            "a burst after which nothing large is sent"
        );
        let small_lost = [0, 200, 400, 600, 800].map(|millis| (millis, Pmtu::BASE, true));
        assert!(
            !lossy(&[&small_lost[..], &[(900, small, false)]].concat()),
            "the base is never too large"
        );
    }

    proptest! {
        /// Whatever the path takes is found, and never more.
        #[test]
        fn finds_what_the_path_takes(max in 1200..=u16::MAX, mtu in 1200..=u16::MAX, dropped in prop::option::of(0..30usize)) {
            let (mut pmtu, mut now) = (Pmtu::new(max), Time::ZERO);
            let best = mtu.min(max);
            let dropped: Vec<usize> = dropped.into_iter().flat_map(|at| [at, at + 1]).collect();
            search(&mut pmtu, &mut now, mtu, &dropped);
            prop_assert!(pmtu.current() <= best);
            prop_assert!(best - pmtu.current() < RESOLUTION, "{} of {}", pmtu.current(), best);
            prop_assert_eq!(pmtu.next_probe().is_none(), pmtu.current() == max);
        }
    }
}
