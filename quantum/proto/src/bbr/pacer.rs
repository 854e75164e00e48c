//! Spaces packets in time.
//!
//! Owns a credit in bytes that grows with the pacing rate. Inputs: the rate, packets that went out.
//! Effects: the time at which the next packet may go.
//! Invariants: after idleness no more than one burst goes back to back; what goes before its turn is paid for by what follows. A
//! timer that fires late costs no rate, as long as it is not later than [`LATE`].

use std::time::Duration;

use crate::time::Time;

/// How late a timer may fire at no loss.
const LATE: Duration = Duration::from_millis(2);

/// Credit is counted in bytes times nanoseconds per second, so that no fraction is ever lost.
const SCALE: i128 = 1_000_000_000;

/// Spaces packets in time.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Scaled bytes that may go at `at`; negative: a debt.
    credit: i128,
    at: Time,
    /// Of the last packet.
    bytes: u64,
    /// A packet was told to wait until then.
    waiting: Option<Time>,
    /// What may go beyond a burst since the timer was late, until it is used up; scaled.
    spare: i128,
}

impl Pacer {
    pub(crate) fn new(now: Time) -> Self {
        // More than any burst: the first call cuts it to one.
        Self {
            credit: i128::from(u64::MAX),
            at: now,
            bytes: 0,
            waiting: None,
            spare: 0,
        }
    }

    /// When a packet may go out; `None`: now. `burst` is the most that may go back to back.
    pub(crate) fn release(&mut self, now: Time, rate: u64, burst: u64) -> Option<Time> {
        let rate = i128::from(rate.max(1));
        let most = i128::from(burst) * SCALE;
        let passed = now.since(self.at);
        match self.waiting.take() {
            Some(due) => self.spare = rate * nanos(now.since(due).min(LATE)),
            // Idle since: what was kept back then is of no use to anybody now.
            None if passed > LATE => self.spare = 0,
            None => {}
        }
        self.credit = (self.credit + rate * nanos(passed)).min(most + self.spare);
        self.spare = (self.credit - most).max(0);
        self.at = now;
        let needed = i128::from(self.bytes.min(burst)) * SCALE;
        if self.credit >= needed {
            return None;
        }
        // Rather half a burst at once than a timer for each packet.
        let missing = needed.max(i128::from(burst) * SCALE / 2) - self.credit;
        let wait = u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX);
        let due = now + Duration::from_nanos(wait);
        self.waiting = Some(due);
        Some(due)
    }

    /// Something else than the pacer holds the packets back: when it lets go, no timer was late.
    pub(crate) fn on_held_back(&mut self) {
        self.waiting = None;
    }

    /// A packet went out, in its turn or (interactive) before it: the debt is paid by the next ones.
    pub(crate) fn on_sent(&mut self, _now: Time, bytes: u64) {
        self.credit -= i128::from(bytes) * SCALE;
        self.bytes = bytes;
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX >> 64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u64 = 1_000_000;
    const BURST: u64 = 4000;

    /// Sends packets of 1000 bytes as soon as they may go, until `end`; the timer fires `late`.
    fn run(pacer: &mut Pacer, from: Time, end: Time, late: Duration) -> Vec<Time> {
        run_at(pacer, (RATE, BURST), from, end, late)
    }

    fn run_at(pacer: &mut Pacer, (rate, burst): (u64, u64), from: Time, end: Time, late: Duration) -> Vec<Time> {
        let (mut now, mut sent) = (from, Vec::new());
        while now < end {
            match pacer.release(now, rate, burst) {
                None => {
                    pacer.on_sent(now, 1000);
                    sent.push(now);
                }
                Some(at) => {
                    assert!(at > now);
                    now = at + late;
                }
            }
        }
        sent
    }

    #[test]
    fn keeps_the_rate() {
        let sent = run(
            &mut Pacer::new(Time::ZERO),
            Time::ZERO,
            Time::from_nanos(1_000_000_000),
            Duration::ZERO,
        );
        assert!((1000..=1004).contains(&sent.len()), "{}", sent.len());
    }

    #[test]
    fn a_late_timer_costs_no_rate() {
        // From one burst in 4 ms to one in a quarter of a millisecond, which is much less than the lateness.
        for rate in [RATE, 4 * RATE, 16 * RATE] {
            for late in [100, 700, 1500, 2000].map(Duration::from_micros) {
                let second = Time::from_nanos(1_000_000_000);
                let sent = run_at(&mut Pacer::new(Time::ZERO), (rate, BURST), Time::ZERO, second, late).len() as u64;
                let due = rate / 1000;
                assert!(
                    (due * 99 / 100..=due + 50).contains(&sent),
                    "{sent} of {due}, {late:?} late"
                );
            }
        }
    }

    #[test]
    fn idleness_saves_no_more_than_a_burst() {
        let mut pacer = Pacer::new(Time::ZERO);
        let later = Time::from_nanos(60_000_000_000);
        let sent = run(&mut pacer, later, later + Duration::from_micros(1), Duration::ZERO);
        assert_eq!(sent.len(), 4);
    }

    #[test]
    fn what_goes_before_its_turn_is_paid_for() {
        let mut pacer = Pacer::new(Time::ZERO);
        assert_eq!(pacer.release(Time::ZERO, RATE, BURST), None);
        for _ in 0..14 {
            pacer.on_sent(Time::ZERO, 1000);
        }
        // 10 kB of debt and half a burst.
        assert_eq!(
            pacer.release(Time::ZERO, RATE, BURST),
            Some(Time::from_nanos(12_000_000))
        );
    }

    #[test]
    fn a_packet_larger_than_the_burst_still_goes() {
        let mut pacer = Pacer::new(Time::ZERO);
        assert_eq!(pacer.release(Time::ZERO, RATE, 100), None);
        pacer.on_sent(Time::ZERO, 1000);
        let at = pacer.release(Time::ZERO, RATE, 100).unwrap();
        assert_eq!(pacer.release(at, RATE, 100), None);
    }

    proptest! {
        /// In no interval does more go than a burst, the rate times its length and the lateness made up for.
        #[test]
        fn no_interval_exceeds_rate_and_burst(late in 0u64..5_000_000, skip in 0u64..20) {
            let sent = run(&mut Pacer::new(Time::ZERO), Time::from_nanos(skip), Time::from_nanos(100_000_000), Duration::from_nanos(late));
            for (i, &from) in sent.iter().enumerate() {
                for (j, &to) in sent.iter().enumerate().skip(i) {
                    let bytes = (j - i + 1) as u64 * 1000;
                    let allowed = BURST + (to.since(from) + LATE).as_nanos() as u64 * RATE / 1_000_000_000;
                    prop_assert!(bytes <= allowed, "{bytes} of {allowed}");
                }
            }
        }
    }
}
