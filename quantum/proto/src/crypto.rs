//! Packet protection: which keys seal and open what.
//!
//! Owns the keys of all levels and the generations of the application level.

use crate::{
    error::TransportError,
    number::PacketNumber,
    types::{ConnectionId, Level, Side},
};

/// The keys of a connection. Levels come and go as the handshake proceeds.
pub(crate) struct Keyring {}

/// Why a packet was not opened. None of these is an error of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The keys of its level are not there yet, or no longer.
    NoKeys,
    /// Of a generation that is not due.
    Generation,
    /// Forged or damaged.
    Forged,
}

impl Keyring {
    /// With the initial keys only.
    pub(crate) fn initial(_id: ConnectionId, _side: Side) -> Self {
        todo!()
    }

    pub(crate) fn install_early(&mut self, _keys: rustls::quic::DirectionalKeys) {
        todo!()
    }

    pub(crate) fn install_handshake(&mut self, _keys: rustls::quic::Keys) {
        todo!()
    }

    pub(crate) fn install_application(&mut self, _keys: rustls::quic::Keys, _next: rustls::quic::Secrets) {
        todo!()
    }

    pub(crate) fn drop_level(&mut self, _level: Level) {
        todo!()
    }

    /// Whether packets of the level can be sealed.
    pub(crate) fn can_seal(&self, _level: Level) -> bool {
        todo!()
    }

    /// Seals in place: `payload` is the plaintext, to which the tag is appended. Steps to the next generation when the number
    /// belongs to it.
    ///
    /// # Errors
    /// A key was used for as many packets as it may (KEYS).
    pub(crate) fn seal(
        &mut self,
        _level: Level,
        _number: PacketNumber,
        _packet: &mut Vec<u8>,
        _start: usize,
    ) -> Result<(), TransportError> {
        todo!()
    }

    /// Opens in place; returns the length of the plaintext at the beginning of `payload`.
    pub(crate) fn open(
        &mut self,
        _level: Level,
        _number: PacketNumber,
        _header: &[u8],
        _payload: &mut [u8],
    ) -> Result<usize, OpenError> {
        todo!()
    }

    /// To be called for an opened application packet that is no duplicate and is the largest so far: steps the receiving generation when it has begun.
    pub(crate) fn on_accepted(&mut self, _number: PacketNumber) {
        todo!()
    }

    /// More packets failed to open than the AEAD's integrity limit allows: the connection must end with KEYS.
    pub(crate) fn integrity_exhausted(&self) -> bool {
        todo!()
    }
}
