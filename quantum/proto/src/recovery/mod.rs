//! Loss recovery: what is in flight, what was acknowledged, what is lost, and when to probe.
//!
//! Owns the sent packets of all spaces, the RTT estimate and the loss timers.
//! Inputs: packets sent, acknowledgements, the timer.
//! Effects: [`Outcome`]: packets acknowledged and lost, to be handed to what they held.
//! Invariants: a packet is reported at most once as acknowledged and at most once as lost; lost before acknowledged is spurious;
//! bytes in flight are those of packets that count and are neither. Packets that do not ask for an acknowledgement are never reported.
//! On failure: an acknowledgement of what was never sent is a PROTOCOL error, and changes nothing.
//!
//! [`sent`] keeps the packets, [`space`] what belongs to one number space, [`loss`] says when an overtaken packet is lost,
//! [`backoff`] what to do in silence, [`rtt`] measures; [`floor`] and [`skipped`] watch over the header's acknowledgement.

mod backoff;
mod floor;
mod loss;
mod packet;
mod rtt;
mod sent;
mod skipped;
mod space;
#[cfg(test)]
mod tests;

use std::{mem, time::Duration};

use crate::{error::TransportError, frame::Ack, number::PacketNumber, time::Time, types::Space};

use self::{
    backoff::{Backoff, Expiry},
    loss::Reordering,
    space::PacketSpace,
};
pub(crate) use self::{
    packet::{SentFrame, SentPacket},
    rtt::Rtt,
};

/// What an acknowledgement or a timer brought about.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Newly acknowledged, rising.
    pub(crate) acked: Vec<SentPacket>,
    /// Newly lost, rising.
    pub(crate) lost: Vec<SentPacket>,
    /// How many of `acked` had been declared lost.
    pub(crate) spurious: u32,
    /// A sample of the round trip.
    pub(crate) rtt: Option<Duration>,
    /// Packets the peer repaired from parity since the last acknowledgement.
    pub(crate) repaired: u64,
    /// Newly reported as marked CE.
    pub(crate) ecn_ce: u64,
    /// Probes to send now in this space, whatever the congestion window says.
    pub(crate) probe: Option<(Space, u8)>,
    /// The retransmission timeout expired: everything in flight counts as lost and the path starts anew.
    pub(crate) timeout: bool,
}

impl Outcome {
    /// Empties it for another use and keeps its memory.
    pub(crate) fn clear(&mut self) {
        let (mut acked, mut lost) = (mem::take(&mut self.acked), mem::take(&mut self.lost));
        acked.clear();
        lost.clear();
        *self = Self {
            acked,
            lost,
            ..Self::default()
        };
    }
}

/// The longest that a lost packet is remembered, whatever round trip the peer pretends.
const MAX_MEMORY: Duration = Duration::from_secs(3);

/// See the module's documentation.
pub(crate) struct Recovery {
    spaces: [PacketSpace; 3],
    rtt: Rtt,
    reordering: Reordering,
    backoff: Backoff,
    /// The peer's, for application packets.
    max_ack_delay: Duration,
    /// The server may send nothing until it hears from the client.
    blocked: bool,
    confirmed: bool,
    /// Keeps a client talking: see [`Self::set_guard`]. With when it last sent or heard something.
    guard: Option<(Space, Time)>,
}

impl Recovery {
    pub(crate) fn new(initial_rtt: Duration) -> Self {
        Self {
            spaces: Default::default(),
            rtt: Rtt::new(initial_rtt),
            reordering: Reordering::new(),
            backoff: Backoff::default(),
            max_ack_delay: Duration::ZERO,
            blocked: false,
            confirmed: false,
            guard: None,
        }
    }

    /// The number that the next packet of the space will have. Numbers are skipped now and then: see [`Self::skip`].
    pub(crate) fn next_number(&self, space: Space) -> PacketNumber {
        self.space(space).next
    }

    /// Leaves numbers out: the next packet will be `to`. An acknowledgement of them proves a lying peer.
    pub(crate) fn skip(&mut self, space: Space, to: PacketNumber) {
        self.space_mut(space).skip(to);
    }

    /// The packet goes out; its number is [`Self::next_number`]. A FLOOR frame in it says what [`Self::floor`] said before.
    pub(crate) fn on_sent(&mut self, space: Space, packet: SentPacket) {
        if let Some((_, since)) = &mut self.guard {
            *since = packet.sent_at;
        }
        self.space_mut(space).on_sent(packet);
    }

    /// `acknowledgement` is the header's (everything below is settled); `ack` the frame's, if there was one. Adds to `outcome`.
    ///
    /// # Errors
    /// It names numbers that were never sent (PROTOCOL).
    pub(crate) fn on_ack(
        &mut self,
        now: Time,
        space: Space,
        acknowledgement: PacketNumber,
        ack: Option<&Ack>,
        outcome: &mut Outcome,
    ) -> Result<(), TransportError> {
        let blocks = ack.map_or(&[][..], |ack| &ack.blocks);
        let before = outcome.acked.len();
        let Self {
            spaces,
            rtt,
            reordering,
            ..
        } = self;
        let state = &mut spaces[space as usize];
        state.check(acknowledgement, blocks)?;

        let repaired = ack.map_or(0, |ack| state.newly_repaired(ack.repaired));
        outcome.repaired += repaired;
        outcome.ecn_ce += ack.and_then(|ack| ack.ecn).map_or(0, |[.., ce]| state.newly_marked(ce));

        // A packet that was repaired came late because it was lost: that says nothing about reordering.
        let largest = state.largest_acked.filter(|_| ack.is_some() && repaired == 0);
        let base = rtt.loss_base();
        state.settle(acknowledgement, blocks, |packet, was_lost| {
            if let Some(largest) = largest.filter(|largest| *largest > packet.number) {
                reordering.on_late(largest.0 - packet.number.0, now.since(packet.sent_at), base, was_lost);
            }
            outcome.spurious += u32::from(was_lost);
            outcome.acked.push(packet);
        });
        if outcome.acked.len() > before {
            self.on_newly_acked(now, space, ack, outcome);
        }
        self.detect(now, space, outcome);
        self.space_mut(space).sent.forget(now);
        Ok(())
    }

    /// Something was acknowledged: takes the RTT sample and calms the timers.
    fn on_newly_acked(&mut self, now: Time, space: Space, ack: Option<&Ack>, outcome: &mut Outcome) {
        if let Some(newest) = outcome.acked.last()
            && self.spaces[space as usize].may_sample(newest.number)
            && let Some(ack) = ack
        {
            let sample = now.since(newest.sent_at);
            self.rtt.on_sample(sample, self.held(space, ack));
            outcome.rtt = Some(sample);
        }
        self.reordering.on_time(now, self.rtt.smoothed);

        // Until the server has heard from the client twice, its acknowledgements may have run out of allowance and say nothing
        // about the next one. RFC 9002 section 6.2.1.
        if self.guard.is_none() || space != Space::Initial {
            self.backoff.reset();
        }
        match &mut self.guard {
            Some(_) if space == Space::Handshake => self.guard = None,
            Some((_, since)) => *since = now,
            None => {}
        }
    }

    /// How long the peer says it held the acknowledgement, as far as that is believed. RFC 9002 section 5.3.
    fn held(&self, space: Space, ack: &Ack) -> Duration {
        let held = Duration::from_micros(ack.delay_us);
        match space {
            Space::Initial | Space::Handshake => Duration::ZERO,
            // Before it had the keys the peer could not but wait.
            Space::Application if !self.confirmed => held,
            Space::Application => held.min(self.max_ack_delay),
        }
    }

    fn detect(&mut self, now: Time, space: Space, outcome: &mut Outcome) {
        let forget_at = self.forget_at(now);
        let delay = self.reordering.delay(self.rtt.loss_base());
        self.spaces[space as usize].detect(now, self.reordering.packets(), delay, forget_at, &mut outcome.lost);
    }

    /// Until when a packet that is lost now is remembered: two probe timeouts, in which all but the strangest stragglers come in.
    fn forget_at(&self, now: Time) -> Time {
        now + (self.rtt.probe_timeout(self.max_ack_delay) * 2).min(MAX_MEMORY)
    }

    /// When [`Self::on_timeout`] is to be called.
    pub(crate) fn timeout(&self) -> Option<Time> {
        self.loss_time().or_else(|| self.silence().map(|(at, _)| at))
    }

    fn loss_time(&self) -> Option<Time> {
        self.spaces.iter().filter_map(|space| space.loss_time).min()
    }

    /// When the silence has lasted too long, and in which space. RFC 9002 section 6.2.
    fn silence(&self) -> Option<(Time, Space)> {
        if self.blocked {
            return None;
        }
        let expiry = |space: Space, since: Time| {
            let delay = if space == Space::Application {
                self.max_ack_delay
            } else {
                Duration::ZERO
            };
            (since + self.backoff.interval(self.rtt.probe_timeout(delay)), space)
        };
        Space::ALL
            .into_iter()
            .filter(|space| self.space(*space).sent.in_flight() > 0)
            // The peer may not have the keys yet.
            .filter(|space| *space != Space::Application || self.confirmed)
            .map(|space| expiry(space, self.space(space).last_asking_at))
            .min()
            .or_else(|| self.guard.map(|(space, since)| expiry(space, since)))
    }

    /// Harmless when called too early.
    pub(crate) fn on_timeout(&mut self, now: Time, outcome: &mut Outcome) {
        if let Some(at) = self.loss_time() {
            if at <= now {
                Space::ALL
                    .into_iter()
                    .for_each(|space| self.detect(now, space, outcome));
            }
            return;
        }
        let Some((_, space)) = self.silence().filter(|(at, _)| *at <= now) else {
            return;
        };
        match self.backoff.next_expiry() {
            Expiry::Probe(count) => outcome.probe = Some((space, count)),
            Expiry::Retransmit if self.spaces.iter().all(|space| space.sent.in_flight() == 0) => {
                outcome.probe = Some((space, 1));
            }
            Expiry::Retransmit => {
                let forget_at = self.forget_at(now);
                self.spaces
                    .iter_mut()
                    .for_each(|space| space.lose_all(forget_at, &mut outcome.lost));
                outcome.timeout = true;
            }
        }
        self.backoff.on_expired();
        if let Some((_, since)) = &mut self.guard {
            *since = now;
        }
    }

    /// The space's keys are gone: what it had in flight is forgotten.
    pub(crate) fn drop_space(&mut self, space: Space) {
        self.space_mut(space).clear();
        self.backoff.reset();
        self.guard = match self.guard {
            Some((Space::Initial, since)) if space == Space::Initial => Some((Space::Handshake, since)),
            Some((Space::Handshake, _)) if space == Space::Handshake => None,
            guard => guard,
        };
    }

    /// The early packets were refused: they are lost, which is no sign of congestion.
    pub(crate) fn take_in_flight(&mut self, space: Space) -> Vec<SentPacket> {
        let state = self.space_mut(space);
        state.loss_time = None;
        state.sent.take_in_flight()
    }

    /// Those in flight in the space, oldest first: what probes may repeat.
    pub(crate) fn in_flight(&self, space: Space) -> impl Iterator<Item = &SentPacket> {
        self.space(space).sent.iter_in_flight()
    }

    /// The smallest number that this end still waits for, to be told to the peer.
    pub(crate) fn floor(&self, space: Space) -> PacketNumber {
        self.space(space).floor()
    }

    /// The peer waits in vain for numbers below [`Self::floor`]: the next packet should hold a FLOOR frame (which is not worth a
    /// packet of its own).
    pub(crate) fn wants_floor(&self, space: Space) -> bool {
        self.space(space).wants_floor()
    }

    /// The largest number that the peer is known to have received.
    pub(crate) fn largest_acked(&self, space: Space) -> Option<PacketNumber> {
        self.space(space).largest_acked
    }

    /// Of all spaces.
    pub(crate) fn bytes_in_flight(&self) -> u64 {
        self.spaces.iter().map(|space| space.sent.bytes()).sum()
    }

    /// Those of interactive packets among [`Self::bytes_in_flight`].
    pub(crate) fn interactive_in_flight(&self) -> u64 {
        self.space(Space::Application).sent.interactive()
    }

    /// Those that only protect what other packets hold.
    pub(crate) fn copies_in_flight(&self) -> u64 {
        self.space(Space::Application).sent.copies()
    }

    pub(crate) fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// The path is another one: the RTT begins anew. What was sent before gives no samples. RFC 9000 section 9.4.
    pub(crate) fn reset_rtt(&mut self, initial_rtt: Duration) {
        self.rtt = Rtt::new(initial_rtt);
        self.reordering = Reordering::new();
        self.backoff.reset();
        self.spaces.iter_mut().for_each(PacketSpace::on_new_path);
    }

    /// The probe timeout: RFC 9002 section 6.2.
    pub(crate) fn probe_timeout(&self, max_ack_delay: Duration) -> Duration {
        self.rtt.probe_timeout(max_ack_delay)
    }

    /// The peer's, from its transport parameters.
    pub(crate) fn set_max_ack_delay(&mut self, delay: Duration) {
        self.max_ack_delay = delay;
    }

    /// The address is not validated and no more may be sent (server): timers wait.
    pub(crate) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// A client calls this at its start, and again when it has handshake keys. The server may be unable to send until it hears
    /// more; so the client probes in `space` even with nothing in flight, until a handshake packet is acknowledged or the
    /// handshake is confirmed. RFC 9002 section 6.2.2.1.
    pub(crate) fn set_guard(&mut self, now: Time, space: Space) {
        self.guard = Some((space, now));
    }

    /// The handshake is confirmed: application packets may be probed.
    pub(crate) fn on_confirmed(&mut self) {
        self.confirmed = true;
        self.guard = None;
    }

    fn space(&self, space: Space) -> &PacketSpace {
        &self.spaces[space as usize]
    }

    fn space_mut(&mut self, space: Space) -> &mut PacketSpace {
        &mut self.spaces[space as usize]
    }
}
