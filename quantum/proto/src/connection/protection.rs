//! Protection of interactive messages as the connection carries it out: repeats in later packets, parity of blocks, and a rescue of what was
//! sent before there was protection.
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
    connection::rescue::Rescue,
    error::TransportError,
    fec::{Decoder, Encoder, Plan, Planner},
    frame::Parity,
    number::PacketNumber,
    recovery::{Outcome, SentPacket},
    time::Time,
};

const REPEATS_MAX: usize = 64;
const PARITIES_MAX: usize = 6;
/// Chunks that go out in a packet of repeats.
const LATE_MAX: usize = 6;

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
    repeats: BTreeMap<u64, Repeats>,
    /// When no interactive packet can be waited for any longer.
    quiet_at: Option<Time>,
    pub(super) rescue: Rescue,
}

type Repeats = SmallVec<[Chunk; 2]>;

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
            quiet_at: None,
            rescue: Rescue::default(),
        }
    }

    pub(super) fn set_peer_repairs(&mut self, repairs: bool) {
        self.peer_repairs = repairs;
    }

    /// The path is another one: what was learned of its losses does not hold, and what was measured of it spaces no copies.
    pub(super) fn on_new_path(&mut self) {
        self.planner = Planner::new();
        self.rescue.give_up();
    }

    pub(super) fn burst(&self) -> f64 {
        self.planner.burst()
    }

    pub(super) fn contradictions(&self) -> u64 {
        self.decoder.contradictions()
    }

    pub(super) fn loss(&self) -> f64 {
        self.planner.loss()
    }

    /// Whether interactive packets may be protected at present.
    pub(super) fn may_protect(&self) -> bool {
        self.enabled && self.planner.may_protect()
    }

    /// How an interactive packet with these chunks, which goes out now, is protected; `None`: not at all.
    pub(super) fn plan(&mut self, now: Time, rtt: Duration, chunks: &[Chunk]) -> Option<Plan> {
        self.planner
            .on_interactive(now, chunks.iter().map(|chunk| chunk.len as usize).sum());
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
    pub(super) fn repeats(&mut self) -> Repeats {
        self.sent += 1;
        self.repeats.remove(&self.sent).unwrap_or_default()
    }

    /// What waits to be repeated although no interactive packet came to carry it.
    pub(super) fn late_repeats(&mut self, now: Time) -> Repeats {
        if self.quiet_at.take_if(|at| *at <= now).is_none() {
            return Repeats::new();
        }
        let mut late: Repeats = std::mem::take(&mut self.repeats).into_values().flatten().collect();
        late.dedup();
        late.truncate(LATE_MAX);
        late
    }

    /// The packet of [`Self::plan`] goes out. Returns whether it is a source of a block.
    pub(super) fn on_interactive(
        &mut self,
        now: Time,
        number: PacketNumber,
        payload: &[u8],
        chunks: &[Chunk],
        plan: Option<&Plan>,
    ) -> bool {
        let Some(plan) = plan else { return false };
        for after in &plan.repeat_after {
            let waiting = self.repeats.entry(self.sent + u64::from(*after)).or_default();
            waiting.extend_from_slice(chunks);
        }
        while self.repeats.len() > REPEATS_MAX {
            self.repeats.pop_first();
        }
        let quiet_at = now + plan.close_after;
        self.quiet_at = (plan.parities == 0 && !self.repeats.is_empty()).then_some(quiet_at);
        if plan.parities == 0 {
            return false;
        }
        self.open = Some(Open {
            close_at: quiet_at,
            parities: plan.parities,
            spread: plan.spread,
        });
        if self.encoder.add(number, payload) {
            self.close(now);
        }
        true
    }

    /// When a block closes or a parity goes out.
    pub(super) fn due(&self) -> Option<Time> {
        let close = self.open.as_ref().map(|open| open.close_at);
        let parity = self.parities.front().map(|(at, _)| *at);
        [close, parity, self.quiet_at, self.rescue.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The parity to send now.
    pub(super) fn parity(&mut self, now: Time) -> Option<Parity> {
        if self.open.as_ref().is_some_and(|open| open.close_at <= now) {
            self.close(now);
        }
        self.parities
            .pop_front_if(|(at, _)| *at <= now)
            .map(|(_, parity)| parity)
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

    /// What became of packets: the planner learns from those of this path, which `began` with that number. Returns whether there is protection from now
    /// on, and was none.
    pub(super) fn learn(&mut self, outcome: &Outcome, began: PacketNumber) -> bool {
        let before = self.may_protect();
        self.planner.on_repaired(outcome.repaired);
        for (packets, lost) in [(&outcome.acked, false), (&outcome.lost, true)] {
            let tells = |packet: &&SentPacket| packet.asks_for_ack && packet.number >= began && !packet.is_mtu_probe();
            for packet in packets.iter().filter(tells) {
                self.planner.on_fate(packet.number, lost);
            }
        }
        self.planner.on_spurious(outcome.spurious);
        let after = self.may_protect();
        if !after {
            self.rescue.give_up();
        }
        after && !before
    }

    /// What is kept, each with its bound.
    pub(super) fn kept(&self) -> [(usize, usize); 5] {
        let [payloads, blocks] = self.decoder.kept();
        [
            payloads,
            blocks,
            (self.repeats.len(), REPEATS_MAX),
            (self.parities.len(), PARITIES_MAX),
            self.rescue.kept(),
        ]
    }

    /// A packet with FEC that holds no parity arrived.
    pub(super) fn on_source(
        &mut self,
        number: PacketNumber,
        payload: Bytes,
        repaired: &mut Vec<(PacketNumber, Bytes)>,
    ) {
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
