//! What losses teach of the path. draft-ietf-ccwg-bbr section 5.5.10.
//!
//! Owns the bounds on the model: for long, how much fits into the path (`inflight_longterm`); for short, what it takes at present.
//! Inputs: losses, ECN marks, the delivery of the last round.
//! Invariants: a bound is never set below 0.7 of what it was, nor below what was just delivered; what turned out to be no
//! loss is undone.

use std::time::Duration;

use super::{Bbr, State, noise::Noise, sampler::RateSample};
use crate::time::Time;

/// Fraction of loss, beyond the path's own, that is congestion where a queue stands.
pub(super) const LOSS_THRESHOLD: f64 = 0.02;
/// The same where none stands: a policer, or a very short queue.
const LOSS_THRESHOLD_QUIET: f64 = 0.1;
/// Packets whose loss says nothing.
const CHANCE: u64 = 2;
/// Fraction of loss without a queue that ends Startup, chance left aside.
const STARTUP_QUIET: f64 = 0.2;
const BETA: f64 = 0.7;
const HEADROOM: f64 = 0.15;
/// So many rounds of giving way in vain show a queue of others, who do not.
pub(super) const PATIENCE: u32 = 11;
/// Of what was delivered, what is sent while a queue stands; and the least of the bandwidth that it takes away.
const YIELD: f64 = 0.98;
const YIELD_FLOOR: f64 = 0.8;

#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) inflight_longterm: u64,
    pub(super) inflight_shortterm: u64,
    pub(super) bandwidth_shortterm: u64,
    /// The best of this round trip.
    bandwidth_latest: u64,
    pub(super) inflight_latest: u64,
    /// The round trip over which losses are judged, which begins with the first of them.
    round_delivered: u64,
    pub(super) round_start: bool,
    loss_in_round: bool,
    /// The recent round trip as it was a round ago.
    rtt_last: Duration,
    /// Rounds of this lap in which this flow gave way and the queue did not.
    pub(super) in_vain: u32,
    pub(super) tally: Tally,
    undo: Undo,
}

/// What was before the loss, should it turn out to be none.
#[derive(Debug, Default)]
struct Undo {
    state: Option<State>,
    inflight_longterm: u64,
    inflight_shortterm: u64,
    bandwidth_shortterm: u64,
    /// Packets lost since, and those of them that arrived.
    lost: u32,
    spurious: u32,
}

impl Bounds {
    pub(super) fn new() -> Self {
        Self {
            inflight_longterm: u64::MAX,
            inflight_shortterm: u64::MAX,
            bandwidth_shortterm: u64::MAX,
            bandwidth_latest: 0,
            inflight_latest: 0,
            round_delivered: 0,
            round_start: false,
            loss_in_round: false,
            rtt_last: Duration::ZERO,
            in_vain: 0,
            tally: Tally::default(),
            undo: Undo::default(),
        }
    }

    pub(super) fn reset_short_term(&mut self) {
        self.inflight_shortterm = u64::MAX;
        self.bandwidth_shortterm = u64::MAX;
    }

    pub(super) fn reset_signals(&mut self) {
        self.loss_in_round = false;
        self.bandwidth_latest = 0;
        self.inflight_latest = 0;
        self.tally.reset();
    }

    pub(super) fn advance_latest(&mut self, sample: &RateSample) {
        if self.round_start {
            self.bandwidth_latest = sample.rate;
            self.inflight_latest = sample.volume;
        }
    }

    /// The state that loss is about to end, to be taken up again if it was none.
    pub(super) fn note_undo(&mut self, state: State) {
        self.undo.state = Some(state);
    }
}

/// Losses of one round trip, apart by whether a queue stood.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Of the acknowledgement at hand: bytes delivered and lost, packets of both.
    acked: (u64, u32),
    lost: (u64, u32),
    queued_lost: u64,
    queued_settled: u64,
    all_lost: u64,
    all_settled: u64,
    marked: u64,
    /// Acknowledgements of this round that reported losses.
    events: u32,
}

impl Tally {
    pub(super) fn acked(&mut self, bytes: u64) {
        self.acked.0 += bytes;
        self.acked.1 += 1;
    }

    pub(super) fn lost(&mut self, bytes: u64) {
        self.lost.0 += bytes;
        self.lost.1 += 1;
    }

    pub(super) fn marked(&mut self, packets: u64) {
        self.marked += packets;
    }

    fn reset(&mut self) {
        *self = Self {
            acked: self.acked,
            lost: self.lost,
            ..Self::default()
        };
    }

    /// The acknowledgement is complete: returns packets lost, and lost or acknowledged.
    fn classify(&mut self, queued: bool) -> (u32, u32) {
        let (acked, lost) = (std::mem::take(&mut self.acked), std::mem::take(&mut self.lost));
        self.all_lost += lost.0;
        self.all_settled += lost.0 + acked.0;
        if queued {
            self.queued_lost += lost.0;
            self.queued_settled += lost.0 + acked.0;
        }
        self.events += u32::from(lost.1 > 0);
        (lost.1, lost.1 + acked.1)
    }

    /// The round lost more than the path's own loss explains, by the given fractions with and without a queue.
    fn congested(&self, noise: &Noise, packet: u64, queued: f64, quiet: f64) -> bool {
        let exceeds = |lost, settled, fraction| {
            let excess = noise.excess(lost, settled, packet);
            excess > 0 && excess as f64 > settled as f64 * fraction
        };
        self.marked > 0
            || exceeds(self.queued_lost, self.queued_settled, queued)
            || exceeds(self.all_lost, self.all_settled, quiet)
    }
}

impl Bbr {
    /// A round trip with congestion begins, unless one is under way.
    pub(super) fn note_congestion(&mut self) {
        let bounds = &mut self.bounds;
        if !bounds.loss_in_round {
            bounds.round_delivered = self.sampler.delivered;
            self.control.save_window(self.state);
            bounds.undo = Undo {
                state: None,
                inflight_longterm: bounds.inflight_longterm,
                inflight_shortterm: bounds.inflight_shortterm,
                bandwidth_shortterm: bounds.bandwidth_shortterm,
                lost: 0,
                spurious: 0,
            };
        }
        bounds.loss_in_round = true;
    }

    pub(super) fn note_lost(&mut self) {
        self.note_congestion();
        self.bounds.undo.lost += 1;
    }

    /// Once per acknowledgement: whether its losses came with a queue. Those that no full queue explains teach the path's own loss.
    pub(super) fn classify_loss(&mut self, rtt: Option<Duration>) {
        let queued = self.rtt.queued(8);
        let (lost, settled) = self.bounds.tally.classify(queued);
        self.calm.on_settled(lost, settled);
        let unforced = rtt.is_some_and(|rtt| (!queued && self.rtt.quiet(rtt)) || self.rtt.below_half(rtt));
        if self.cycle.steady() && unforced {
            self.noise.learn(lost, settled);
        }
    }

    pub(super) fn update_latest(&mut self, sample: &RateSample) {
        let bounds = &mut self.bounds;
        bounds.round_start = false;
        bounds.bandwidth_latest = bounds.bandwidth_latest.max(sample.rate);
        bounds.inflight_latest = bounds.inflight_latest.max(sample.volume);
        if sample.prior_delivered >= bounds.round_delivered {
            bounds.round_delivered = self.sampler.delivered;
            bounds.round_start = true;
        }
    }

    /// Once per round: slows down to what the path takes when it loses more than it should.
    pub(super) fn adapt_short_term(&mut self) {
        if !self.bounds.round_start {
            return;
        }
        if self.state == State::Startup {
            self.check_startup_loss();
        } else if !self.state.probes_bandwidth() && self.bounds.loss_in_round && self.congested() {
            if self.rival.present() {
                self.rival.on_congestion(self.packet);
            } else {
                self.lower_short_term();
            }
        }
        self.bounds.loss_in_round = false;
        self.bounds.tally.reset();
        self.yield_to_queue();
    }

    /// Whether this round lost more than it should: with a queue, anything beyond the path's own loss.
    fn congested(&self) -> bool {
        let tally = &self.bounds.tally;
        tally.congested(&self.noise, self.packet, 0.0, LOSS_THRESHOLD_QUIET)
    }

    /// A queue that does not shrink though this flow makes none comes of estimates that together exceed the link: each holder of one gives a
    /// little. Where that does not help either, the queue is of those who never give way, and giving way is over for this lap.
    fn yield_to_queue(&mut self) {
        let recent = self.rtt.recent();
        let last = std::mem::replace(&mut self.bounds.rtt_last, recent);
        // At 0.9 of the bandwidth, a tenth of the round trip should go in each.
        let shrinking = match self.state {
            State::Down => last > recent + self.rtt.min().unwrap_or_default() / 20,
            State::Cruise => last > recent,
            _ => return,
        };
        if self.rival.present() || !self.cycle.steady() || self.bounds.in_vain >= PATIENCE {
            return;
        }
        if shrinking || !self.rtt.queued(8) {
            self.bounds.in_vain = 0;
            return;
        }
        self.bounds.in_vain += 1;
        if self.bounds.in_vain == PATIENCE {
            self.bounds.reset_short_term();
            return;
        }
        let latest = self.bounds.bandwidth_latest as f64 / self.state.pacing_gain();
        let floor = self.max_bandwidth.max() as f64 * YIELD_FLOOR;
        let target = (latest * YIELD).max(floor) as u64;
        self.bounds.bandwidth_shortterm = self.bounds.bandwidth_shortterm.min(target);
    }

    fn lower_short_term(&mut self) {
        let bounds = &mut self.bounds;
        let bandwidth = if bounds.bandwidth_shortterm == u64::MAX {
            self.max_bandwidth.max()
        } else {
            bounds.bandwidth_shortterm
        };
        let inflight = if bounds.inflight_shortterm == u64::MAX {
            self.control.window
        } else {
            bounds.inflight_shortterm
        };
        bounds.bandwidth_shortterm = bounds.bandwidth_latest.max((bandwidth as f64 * BETA) as u64);
        bounds.inflight_shortterm = bounds.inflight_latest.max((inflight as f64 * BETA) as u64);
    }

    /// The draft's three conditions for leaving Startup by loss; the first, a whole round in recovery, is that this is judged once per round.
    fn check_startup_loss(&mut self) {
        let tally = &self.bounds.tally;
        // Of the few packets of an early round a path that loses a tenth may lose a quarter, and Startup ends only once.
        let packets = (tally.all_settled / self.packet).max(1) as f64;
        let chance = 2.0 * (STARTUP_QUIET * (1.0 - STARTUP_QUIET) / packets).sqrt();
        let many = tally.marked >= 6
            || (tally.events >= 6 && tally.congested(&self.noise, self.packet, LOSS_THRESHOLD, STARTUP_QUIET + chance));
        if many {
            self.bounds.note_undo(State::Startup);
            self.full_pipe.reached = true;
            self.bounds.inflight_longterm = self.bdp(1.0).max(self.bounds.inflight_latest);
        }
    }

    /// Whether the loss since a packet was sent says that too much was in flight.
    fn too_high(&self, lost: u64, settled: u64, in_flight: u64) -> bool {
        // A queue that was once twice as long did not overflow: of many probes on a path that loses at random, some lose much by chance.
        let threshold = if self.rtt.queued(8) && !self.rtt.below_half(self.rtt.recent()) {
            LOSS_THRESHOLD
        } else {
            LOSS_THRESHOLD_QUIET
        };
        // Of few packets in flight, one or two are lost by chance.
        let most = (in_flight as f64 * threshold).max((CHANCE * self.packet) as f64);
        self.noise.excess(lost, settled, self.packet) as f64 > most
    }

    pub(super) fn sample_too_high(&self, sample: &RateSample) -> bool {
        self.too_high(sample.lost, sample.settled, sample.in_flight)
    }

    /// A packet of a probe was lost: perhaps the probe went too high.
    pub(super) fn check_probe_too_high(&mut self, now: Time, bytes: u64, packet: &super::Snapshot) {
        if !self.cycle.probing {
            return;
        }
        let lost = self.sampler.lost.saturating_sub(packet.lost);
        let settled = lost + self.sampler.delivered.saturating_sub(packet.delivered);
        if !self.too_high(lost, settled, packet.in_flight) {
            return;
        }
        self.cycle.too_high = true;
        self.cycle.probing = false;
        if !packet.app_limited {
            // What was in flight before this packet still fitted.
            let safe = packet.in_flight.saturating_sub(bytes);
            let target = self.bdp(1.0).min(self.control.window);
            self.bounds.inflight_longterm = safe.max((target as f64 * BETA) as u64).max(self.min_window());
        }
        if self.state == State::Up {
            self.bounds.note_undo(State::Up);
            self.start_down(now);
        }
    }

    /// draft section 5.5.11: if all packets of an episode of loss arrived, it is as if it had not been.
    pub(super) fn undo_if_spurious(&mut self, count: u32) {
        let undo = &mut self.bounds.undo;
        undo.spurious = undo.spurious.saturating_add(count);
        if undo.lost == 0 || undo.spurious < undo.lost {
            return;
        }
        let undo = std::mem::take(undo);
        let bounds = &mut self.bounds;
        bounds.loss_in_round = false;
        bounds.bandwidth_shortterm = bounds.bandwidth_shortterm.max(undo.bandwidth_shortterm);
        bounds.inflight_shortterm = bounds.inflight_shortterm.max(undo.inflight_shortterm);
        bounds.inflight_longterm = bounds.inflight_longterm.max(undo.inflight_longterm);
        self.control.restore_window();
        self.full_pipe.restart(0);
        match undo.state {
            Some(State::Startup) if self.state != State::Startup => {
                self.full_pipe.reached = false;
                if self.state != State::ProbeRtt {
                    self.enter_startup();
                }
            }
            Some(State::Up) if !matches!(self.state, State::Up | State::ProbeRtt) => self.start_refill(),
            _ => {}
        }
    }

    /// draft: leaves room for others in the bottleneck's buffer.
    pub(super) fn inflight_with_headroom(&self) -> u64 {
        let longterm = self.bounds.inflight_longterm;
        if longterm == u64::MAX {
            return u64::MAX;
        }
        let headroom = ((longterm as f64 * HEADROOM) as u64).max(self.packet);
        longterm.saturating_sub(headroom).max(self.min_window())
    }
}
