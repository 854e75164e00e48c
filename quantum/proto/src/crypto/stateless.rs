//! Packets that a server seals without keeping anything of the connection: retry and refusal. `quantum/SPEC.md` section 8.
//!
//! The keys follow from the connection id: the tag keeps damage and blind guesses away, it proves nothing to somebody who
//! saw the client's first packet.

use super::{
    initial_keys, initial_suite,
    key::{Opener, Sealer},
};
use crate::{
    error::TransportError,
    number::PacketNumber,
    types::{ConnectionId, Side},
};

/// The number of every such packet; far above those of a handshake.
pub(crate) const STATELESS_NUMBER: PacketNumber = PacketNumber(0xffff_ffff);

/// Seals in place: `packet` from `payload_at` on are the frames, to which the tag is appended.
///
/// # Errors
/// The payload is longer than the AEAD takes (INTERNAL).
pub(crate) fn seal_stateless(
    id: ConnectionId,
    header: &[u8],
    packet: &mut Vec<u8>,
    payload_at: usize,
) -> Result<(), TransportError> {
    let keys = initial_keys(initial_suite(), id, Side::Server);
    Sealer::new(keys.local.packet).seal(STATELESS_NUMBER, header, packet, payload_at)
}

/// Opens in place; the length of the frames at the beginning of `payload`, or `None` when the packet is to be ignored.
pub(crate) fn open_stateless(id: ConnectionId, header: &[u8], payload: &mut [u8]) -> Option<usize> {
    let keys = initial_keys(initial_suite(), id, Side::Client);
    Opener::new(keys.remote.packet).open(STATELESS_NUMBER, header, payload)
}
