//! Repairs packets from parity.
//!
//! Owns the payloads of the latest sources and the blocks that wait for more of their packets.
//! Inputs: opened packets with the flag FEC, in any order: sources and parities.
//! Effects: the packets that can be repaired.
//! Invariants: at most 64 payloads (the highest numbers) and 8 blocks (the latest), each with a copy of what it holds: a datagram's
//! memory is not kept for a part of it.
//! On failure: a malformed PARITY is a FRAME error; a block that contradicts itself is dropped and counted, for it cannot be
//! told which part of it is wrong.

use std::collections::VecDeque;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    error::{CloseCode, TransportError},
    fec::{
        PARITIES, SOURCES,
        code::{Code, LENGTH},
    },
    frame::Parity,
    number::PacketNumber,
};

/// Payloads that are kept.
const PAYLOADS: usize = 64;
/// Blocks that wait.
const BLOCKS: usize = 8;

pub(crate) struct Decoder {
    /// Built for the first repair.
    code: Option<Code>,
    payloads: Payloads,
    /// In the order in which their first parity came.
    blocks: VecDeque<Block>,
    contradictions: u64,
}

/// The payloads of the latest sources, with rising numbers.
#[derive(Default)]
struct Payloads(VecDeque<(PacketNumber, Bytes)>);

/// A block of which a parity came and a source is missing.
struct Block {
    sources: SmallVec<[PacketNumber; SOURCES]>,
    /// All of one length.
    symbols: [Option<Bytes>; PARITIES],
}

/// What a look at a block brought.
enum Look {
    Incomplete,
    /// Nothing is missing any more; what was comes with it.
    Complete(SmallVec<[(PacketNumber, Bytes); PARITIES]>),
    Contradiction,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            code: None,
            payloads: Payloads::default(),
            blocks: VecDeque::new(),
            contradictions: 0,
        }
    }

    /// A packet with the flag FEC that holds no parity arrived. What it lets repair is appended.
    pub(crate) fn on_source(
        &mut self,
        number: PacketNumber,
        payload: Bytes,
        repaired: &mut Vec<(PacketNumber, Bytes)>,
    ) {
        self.payloads.keep(number, payload);
        if self.blocks.iter().any(|block| block.sources.contains(&number)) {
            self.repair(repaired);
        }
    }

    /// A parity arrived. What it lets repair is appended; the caller drops what it had received before, for a payload
    /// may be forgotten here.
    ///
    /// # Errors
    /// The frame is malformed (FRAME).
    pub(crate) fn on_parity(
        &mut self,
        parity: Parity,
        repaired: &mut Vec<(PacketNumber, Bytes)>,
    ) -> Result<(), TransportError> {
        check(&parity)?;
        let Parity { sources, index, symbol } = parity;
        if sources.iter().all(|&number| self.payloads.get(number).is_some()) {
            return Ok(());
        }
        let at = match self
            .blocks
            .iter()
            .position(|block| block.sources.first() == sources.first())
        {
            Some(at) => at,
            None => {
                if self.blocks.len() == BLOCKS {
                    self.blocks.pop_front();
                }
                self.blocks.push_back(Block {
                    sources: sources.clone(),
                    symbols: Default::default(),
                });
                self.blocks.len() - 1
            }
        };
        let Some(block) = self.blocks.get_mut(at) else {
            return Ok(());
        };
        if block.sources != sources || block.symbols.iter().flatten().any(|other| other.len() != symbol.len()) {
            self.drop_contradiction(at);
            return Ok(());
        }
        if let Some(place @ None) = block.symbols.get_mut(usize::from(index)) {
            *place = Some(symbol);
            self.repair(repaired);
        }
        Ok(())
    }

    /// Payloads and blocks that are kept, each with its bound.
    pub(crate) fn kept(&self) -> [(usize, usize); 2] {
        [(self.payloads.0.len(), PAYLOADS), (self.blocks.len(), BLOCKS)]
    }

    /// Blocks that contradicted themselves: the peer's encoder is broken.
    pub(crate) fn contradictions(&self) -> u64 {
        self.contradictions
    }

    /// Repairs what can be repaired. A repaired packet may be a source of another block, so it looks again after each.
    fn repair(&mut self, repaired: &mut Vec<(PacketNumber, Bytes)>) {
        let mut at = 0;
        while at < self.blocks.len() {
            match self.look(at) {
                Look::Incomplete => at += 1,
                Look::Contradiction => self.drop_contradiction(at),
                Look::Complete(packets) => {
                    self.blocks.remove(at);
                    if !packets.is_empty() {
                        at = 0;
                    }
                    for (number, payload) in packets {
                        self.payloads.keep(number, payload.clone());
                        repaired.push((number, payload));
                    }
                }
            }
        }
    }

    fn look(&mut self, at: usize) -> Look {
        let Some(block) = self.blocks.get(at) else {
            return Look::Incomplete;
        };
        let sources: SmallVec<[Option<&Bytes>; SOURCES]> =
            block.sources.iter().map(|&number| self.payloads.get(number)).collect();
        let missing = sources.iter().filter(|source| source.is_none()).count();
        if missing == 0 {
            return Look::Complete(SmallVec::new());
        }
        let longest = sources
            .iter()
            .flatten()
            .map(|payload| LENGTH + payload.len())
            .max()
            .unwrap_or(LENGTH);
        if block.symbols.iter().flatten().any(|symbol| symbol.len() < longest) {
            return Look::Contradiction;
        }
        if missing > block.symbols.iter().flatten().count() {
            return Look::Incomplete;
        }
        let code = self.code.get_or_insert_with(Code::new);
        let Some(payloads) = code.recover(&sources, &block.symbols) else {
            return Look::Contradiction;
        };
        let missing = block
            .sources
            .iter()
            .zip(&sources)
            .filter(|(_, source)| source.is_none());
        Look::Complete(missing.map(|(&number, _)| number).zip(payloads).collect())
    }

    fn drop_contradiction(&mut self, at: usize) {
        self.blocks.remove(at);
        self.contradictions += 1;
    }
}

impl Payloads {
    fn get(&self, number: PacketNumber) -> Option<&Bytes> {
        let at = self.0.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.0.get(at).map(|(_, payload)| payload)
    }

    fn keep(&mut self, number: PacketNumber, payload: Bytes) {
        let Err(at) = self.0.binary_search_by_key(&number, |(number, _)| *number) else {
            return;
        };
        self.0.insert(at, (number, payload));
        if self.0.len() > PAYLOADS {
            self.0.pop_front();
        }
    }
}

/// What must hold for any PARITY frame, whatever else arrived.
fn check(parity: &Parity) -> Result<(), TransportError> {
    let rising = parity
        .sources
        .windows(2)
        .all(|pair| matches!(pair, [first, second] if first < second));
    if parity.sources.is_empty()
        || parity.sources.len() > SOURCES
        || !rising
        || usize::from(parity.index) >= PARITIES
        || parity.symbol.len() < LENGTH
    {
        return Err(TransportError::new(CloseCode::FRAME, "malformed PARITY"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
