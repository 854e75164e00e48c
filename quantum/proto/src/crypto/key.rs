//! One key for one direction.
//!
//! Owns the count of what was sealed with it. Invariant: each number is sealed at most once, for a second packet under the
//! same nonce would give the key away.

use rustls::quic::PacketKey;

use crate::{
    error::{CloseCode, TransportError},
    number::PacketNumber,
};

pub(super) struct Sealer {
    key: Box<dyn PacketKey>,
    /// Packets that it may still seal. RFC 9001 section 6.6.
    left: u64,
    /// The smallest number that was not sealed or passed over.
    next: PacketNumber,
}

impl Sealer {
    pub(super) fn new(key: Box<dyn PacketKey>) -> Self {
        Self {
            left: key.confidentiality_limit(),
            next: PacketNumber::ZERO,
            key,
        }
    }

    pub(super) fn seal(
        &mut self,
        number: PacketNumber,
        header: &[u8],
        packet: &mut Vec<u8>,
        payload_at: usize,
    ) -> Result<(), TransportError> {
        assert!(
            number >= self.next,
            "packet {number} is sealed after one of a higher number"
        );
        self.left = (self.left.checked_sub(1))
            .ok_or_else(|| TransportError::new(CloseCode::KEYS, "a key has sealed as many packets as it may"))?;
        self.next = number.next();
        let tag = (self.key.encrypt_in_place(number.0, header, &mut packet[payload_at..]))
            .map_err(|_| TransportError::new(CloseCode::INTERNAL, "a packet is too long to be sealed"))?;
        packet.extend_from_slice(tag.as_ref());
        Ok(())
    }
}

#[cfg(test)]
impl Sealer {
    /// As if it had sealed all but so many packets.
    pub(super) fn use_up(&mut self, left: u64) {
        self.left = left;
    }
}

pub(super) struct Opener {
    key: Box<dyn PacketKey>,
}

impl Opener {
    pub(super) fn new(key: Box<dyn PacketKey>) -> Self {
        Self { key }
    }

    /// Opens in place; the length of the plaintext, or `None` when it is not what the peer sealed.
    pub(super) fn open(&self, number: PacketNumber, header: &[u8], payload: &mut [u8]) -> Option<usize> {
        self.key
            .decrypt_in_place(number.0, header, payload)
            .ok()
            .map(<[u8]>::len)
    }

    /// Packets that may fail to open. RFC 9001 section 6.6.
    pub(super) fn integrity_limit(&self) -> u64 {
        self.key.integrity_limit()
    }
}
