//! The TLS handshake in CRYPTO frames: one byte stream for each level.
//!
//! Owns the TLS session and what it has to say until that is acknowledged. Bounded: 64 KiB out of order for each level.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    crypto::Keyring,
    error::{ConnectError, TransportError},
    params::Params,
    types::Level,
};

/// A piece of a level's byte stream that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoRange {
    pub(crate) level: Level,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Early keys were installed.
    pub(crate) early: bool,
    /// Handshake keys were installed.
    pub(crate) handshake: bool,
    /// Application keys were installed.
    pub(crate) application: bool,
    /// TLS has finished.
    pub(crate) complete: bool,
}

pub(crate) struct Handshake {}

impl Handshake {
    /// Begins; the first flight waits in [`Self::next_crypto`], early keys (if it resumes) are installed in `keys`.
    pub(crate) fn client(
        _tls: Arc<rustls::ClientConfig>,
        _name: &str,
        _params: &Params,
        _keys: &mut Keyring,
    ) -> Result<Self, ConnectError> {
        todo!()
    }

    pub(crate) fn server(_tls: Arc<rustls::ServerConfig>, _params: &Params) -> Result<Self, ConnectError> {
        todo!()
    }

    /// Takes handshake bytes of a level, in any order and more than once; installs the keys that follow from them.
    ///
    /// # Errors
    /// TLS fails (its alert as code), or too much is out of order (LIMIT).
    pub(crate) fn read(
        &mut self,
        _level: Level,
        _offset: u64,
        _data: &[u8],
        _keys: &mut Keyring,
    ) -> Result<Progress, TransportError> {
        todo!()
    }

    /// The next bytes to send at a level, at most `budget` of them; what was lost comes first.
    pub(crate) fn next_crypto(&mut self, _level: Level, _budget: usize) -> Option<(CryptoRange, Bytes)> {
        todo!()
    }

    /// Whether [`Self::next_crypto`] has something.
    pub(crate) fn wants_to_send(&self, _level: Level) -> bool {
        todo!()
    }

    pub(crate) fn on_acked(&mut self, _range: CryptoRange) {
        todo!()
    }

    pub(crate) fn on_lost(&mut self, _range: CryptoRange) {
        todo!()
    }

    /// Starts anew from the first byte (after a retry).
    pub(crate) fn restart(&mut self) {
        todo!()
    }

    /// No longer needed: the level's keys are gone.
    pub(crate) fn drop_level(&mut self, _level: Level) {
        todo!()
    }

    pub(crate) fn is_complete(&self) -> bool {
        todo!()
    }

    /// What the peer said, once it is known; on a resuming client before that what it said the last time. Decoded anew at each call.
    pub(crate) fn peer_params(&self) -> Option<Result<Params, TransportError>> {
        todo!()
    }

    /// On a client that sent early data, once known: whether the server took it.
    pub(crate) fn early_accepted(&self) -> Option<bool> {
        todo!()
    }

    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        todo!()
    }

    /// The peer's certificates, DER, its own first.
    pub(crate) fn peer_certificates(&self) -> Option<Vec<Vec<u8>>> {
        todo!()
    }

    /// The server name that the client asked for (server only).
    pub(crate) fn server_name(&self) -> Option<String> {
        todo!()
    }

    /// RFC 5705.
    pub(crate) fn export_keying_material(&self, _out: &mut [u8], _label: &[u8], _context: &[u8]) -> Result<(), rustls::Error> {
        todo!()
    }
}
