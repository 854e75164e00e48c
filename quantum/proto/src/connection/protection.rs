//! Protection of interactive messages as the connection carries it out: repeats in later packets, parity of blocks.
//!
//! Bounded: at most 64 repeats and six parities wait; what does not fit is not protected.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    channel::Chunk,
    error::TransportError,
    fec::{Decoder, Encoder, Plan, Planner},
    frame::Parity,
    number::PacketNumber,
    recovery::SentPacket,
    time::Time,
};

const REPEATS_MAX: usize = 64;
const PARITIES_MAX: usize = 6;

pub(super) struct Protection {
    enabled: bool,
    /// The peer makes use of parity.
    peer_repairs: bool,
    planner: Planner,
    encoder: Encoder,
    decoder: Decoder,
    /// How the open block is to be closed.
    open: Option<Open>,
    /// Parities and when they go out.
    parities: VecDeque<(Time, Parity)>,
    /// Interactive packets that were sent.
    sent: u64,
    /// What is to be repeated in which of them.
    repeats: BTreeMap<u64, SmallVec<[Chunk; 2]>>,
}

struct Open {
    close_at: Time,
    parities: u8,
    spread: Duration,
}

impl Protection {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            peer_repairs: true,
            planner: Planner::new(),
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            open: None,
            parities: VecDeque::new(),
            sent: 0,
            repeats: BTreeMap::new(),
        }
    }

    pub(super) fn set_peer_repairs(&mut self, repairs: bool) {
        self.peer_repairs = repairs;
    }

    pub(super) fn loss(&self) -> f64 {
        self.planner.loss()
    }

    /// How the next interactive packet is protected; `None`: not at all.
    pub(super) fn plan(&self, now: Time, rtt: Duration) -> Option<Plan> {
        if !self.enabled {
            return None;
        }
        let mut plan = self.planner.plan(now, rtt);
        if !self.peer_repairs {
            plan.parities = 0;
        }
        (plan.parities > 0 || !plan.repeat_after.is_empty()).then_some(plan)
    }

    /// The chunks to repeat in the interactive packet that is being built.
    pub(super) fn repeats(&mut self) -> SmallVec<[Chunk; 2]> {
        self.repeats.remove(&self.sent).unwrap_or_default()
    }

    /// An interactive packet with these chunks (repeats not among them) goes out. Returns whether it is a source of a block.
    pub(super) fn on_interactive(
        &mut self,
        now: Time,
        number: PacketNumber,
        payload: &[u8],
        chunks: &[Chunk],
        plan: Option<&Plan>,
    ) -> bool {
        self.planner.on_interactive(now, payload.len());
        self.sent += 1;
        let Some(plan) = plan else { return false };
        for after in &plan.repeat_after {
            let waiting = self.repeats.entry(self.sent + u64::from(*after) - 1).or_default();
            waiting.extend_from_slice(chunks);
        }
        while self.repeats.len() > REPEATS_MAX {
            self.repeats.pop_first();
        }
        if plan.parities == 0 {
            return false;
        }
        self.open = Some(Open { close_at: now + plan.close_after, parities: plan.parities, spread: plan.spread });
        if self.encoder.add(number, payload) {
            self.close(now);
        }
        true
    }

    /// When a block closes or a parity goes out.
    pub(super) fn due(&self) -> Option<Time> {
        let close = self.open.as_ref().map(|open| open.close_at);
        let parity = self.parities.front().map(|(at, _)| *at);
        close.into_iter().chain(parity).min()
    }

    /// The parity to send now.
    pub(super) fn parity(&mut self, now: Time) -> Option<Parity> {
        if self.open.as_ref().is_some_and(|open| open.close_at <= now) {
            self.close(now);
        }
        self.parities.pop_front_if(|(at, _)| *at <= now).map(|(_, parity)| parity)
    }

    fn close(&mut self, now: Time) {
        let Some(open) = self.open.take() else { return };
        let mut at = now;
        for parity in self.encoder.close(usize::from(open.parities)) {
            if self.parities.len() < PARITIES_MAX {
                self.parities.push_back((at, parity));
            }
            at += open.spread;
        }
    }

    /// What became of a packet: the planner learns from it.
    pub(super) fn on_fate(&mut self, _packet: &SentPacket, lost: bool) {
        self.planner.on_fate(lost);
    }

    /// A packet with FEC that holds no parity arrived.
    pub(super) fn on_source(&mut self, number: PacketNumber, payload: Bytes, repaired: &mut Vec<(PacketNumber, Bytes)>) {
        self.decoder.on_source(number, payload, repaired);
    }

    pub(super) fn on_parity(
        &mut self,
        parity: Parity,
        repaired: &mut Vec<(PacketNumber, Bytes)>,
    ) -> Result<(), TransportError> {
        self.decoder.on_parity(parity, repaired)
    }
}
