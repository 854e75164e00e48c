//! Protection: parity blocks, their repair, and the plan when to use which protection.

mod code;
mod decoder;
mod encoder;
mod flow;
mod loss;
mod planner;
#[cfg(test)]
mod simulation;

pub(crate) use self::{
    decoder::Decoder,
    encoder::Encoder,
    planner::{MIN_RTT, Plan, Planner},
};

/// Source symbols of a full block.
pub(crate) const SOURCES: usize = 10;
/// Parity symbols of a block.
pub(crate) const PARITIES: usize = 3;
/// Bytes that PARITY takes beyond its symbol at most, and the symbol beyond its payload.
pub(crate) const PARITY_OVERHEAD: usize = 1 + 8 + 1 + 9 * 2 + 1 + 2 + 2;
