//! Packet protection: which keys seal and open what. RFC 9001 section 5, without header protection.
//!
//! Owns the keys of all levels and the generations of the application level. Takes packet numbers in full, headers (the
//! AEAD's associated data) and payloads; has no effect but on the payload.
//!
//! Invariants: a number is sealed at most once with a key; what fails to open changes nothing but a counter; on a server no
//! application packet is opened before TLS has finished, so that nothing of an unproven client is taken for proven (RFC 9001
//! section 5.7). Nothing of a key is in the `Debug` output.

use std::fmt;

use rustls::quic::{DirectionalKeys, Keys, Secrets, Version};

use self::{
    generation::Generations,
    key::{Opener, Sealer},
};
use crate::{
    error::TransportError,
    number::PacketNumber,
    types::{ConnectionId, Level, Side},
};

#[cfg(test)]
mod first_flight;
mod generation;
mod key;
mod stateless;
#[cfg(test)]
mod tests;

pub(crate) use self::stateless::{STATELESS_NUMBER, open_stateless, seal_stateless};

/// The suite of the initial keys, whatever TLS agrees on later. RFC 9001 section 5.2.
pub(crate) fn initial_suite() -> &'static rustls::Tls13CipherSuite {
    match rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13() {
        Some(suite) => suite,
        None => unreachable!("TLS13_AES_128_GCM_SHA256 is a suite of TLS 1.3"),
    }
}

/// The keys that follow from the connection id alone.
fn initial_keys(suite: &'static rustls::Tls13CipherSuite, id: ConnectionId, side: Side) -> Keys {
    let Some(algorithm) = suite.quic else {
        panic!("the suite {:?} cannot seal packets", suite.common.suite);
    };
    let side = match side {
        Side::Client => rustls::Side::Client,
        Side::Server => rustls::Side::Server,
    };
    Keys::initial(Version::V1, suite, algorithm, id.0.as_bytes(), side)
}

/// The keys of a connection. Levels come and go as the handshake proceeds.
pub(crate) struct Keyring {
    side: Side,
    initial: LevelKeys,
    handshake: LevelKeys,
    early: LevelKeys,
    application: Option<Generations>,
    /// Whether application packets may be opened.
    tls_finished: bool,
    /// Packets that did not open, over all keys. RFC 9001 section 6.6.
    forged: u64,
    /// The least of what the AEADs in use allow.
    integrity_limit: u64,
}

/// Keys that never change while their level lasts.
#[derive(Default)]
struct LevelKeys {
    sealer: Option<Sealer>,
    opener: Option<Opener>,
}

impl LevelKeys {
    fn both(keys: Keys) -> Self {
        Self {
            sealer: Some(Sealer::new(keys.local.packet)),
            opener: Some(Opener::new(keys.remote.packet)),
        }
    }

    fn integrity_limit(&self) -> u64 {
        self.opener.as_ref().map_or(u64::MAX, Opener::integrity_limit)
    }
}

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
    ///
    /// # Panics
    /// The suite has no packet protection; [`initial_suite`] has.
    pub(crate) fn new(suite: &'static rustls::Tls13CipherSuite, id: ConnectionId, side: Side) -> Self {
        let initial = LevelKeys::both(initial_keys(suite, id, side));
        Self {
            side,
            integrity_limit: initial.integrity_limit(),
            initial,
            handshake: LevelKeys::default(),
            early: LevelKeys::default(),
            application: None,
            tls_finished: false,
            forged: 0,
        }
    }

    /// Clients seal with them, servers open.
    pub(crate) fn install_early(&mut self, keys: DirectionalKeys) {
        self.early = match self.side {
            Side::Client => LevelKeys {
                sealer: Some(Sealer::new(keys.packet)),
                opener: None,
            },
            Side::Server => LevelKeys {
                sealer: None,
                opener: Some(Opener::new(keys.packet)),
            },
        };
        self.integrity_limit = self.integrity_limit.min(self.early.integrity_limit());
    }

    pub(crate) fn install_handshake(&mut self, keys: Keys) {
        self.handshake = LevelKeys::both(keys);
        self.integrity_limit = self.integrity_limit.min(self.handshake.integrity_limit());
    }

    /// Generation 0, and the secrets of generation 1. Packets can be sealed from now on, opened after
    /// [`Self::on_tls_finished`].
    pub(crate) fn install_application(&mut self, keys: Keys, next: Secrets) {
        let generations = Generations::new(keys, next);
        self.integrity_limit = self.integrity_limit.min(generations.integrity_limit());
        self.application = Some(generations);
    }

    /// The peer's Finished message was verified: its application packets can be opened.
    pub(crate) fn on_tls_finished(&mut self) {
        self.tls_finished = true;
    }

    pub(crate) fn drop_level(&mut self, level: Level) {
        match level {
            Level::Initial => self.initial = LevelKeys::default(),
            Level::Handshake => self.handshake = LevelKeys::default(),
            Level::Early => self.early = LevelKeys::default(),
            Level::Application => self.application = None,
        }
    }

    /// Whether packets of the level can be sealed.
    pub(crate) fn can_seal(&self, level: Level) -> bool {
        match level {
            Level::Initial => self.initial.sealer.is_some(),
            Level::Handshake => self.handshake.sealer.is_some(),
            Level::Early => self.early.sealer.is_some(),
            Level::Application => self.application.is_some(),
        }
    }

    /// Whether packets of the level can be opened.
    pub(crate) fn can_open(&self, level: Level) -> bool {
        match level {
            Level::Initial => self.initial.opener.is_some(),
            Level::Handshake => self.handshake.opener.is_some(),
            Level::Early => self.early.opener.is_some(),
            Level::Application => self.application.is_some() && self.tls_finished,
        }
    }

    /// Seals in place: `packet` from `payload_at` on is the plaintext, to which the tag is appended. Steps to the next
    /// generation when the number belongs to it.
    ///
    /// # Errors
    /// A key was used for as many packets as it may (KEYS).
    ///
    /// # Panics
    /// The level has no keys to seal with, its numbers do not rise, or a generation is left out.
    pub(crate) fn seal(
        &mut self,
        level: Level,
        number: PacketNumber,
        header: &[u8],
        packet: &mut Vec<u8>,
        payload_at: usize,
    ) -> Result<(), TransportError> {
        let sealer = match level {
            Level::Initial => self.initial.sealer.as_mut(),
            Level::Handshake => self.handshake.sealer.as_mut(),
            Level::Early => self.early.sealer.as_mut(),
            Level::Application => self.application.as_mut().map(|generations| generations.sealer(number)),
        };
        let Some(sealer) = sealer else {
            panic!("a packet of level {level:?} is to be sealed without keys");
        };
        sealer.seal(number, header, packet, payload_at)
    }

    /// The application key may seal only so many packets more.
    #[cfg(test)]
    pub(crate) fn use_up(&mut self, number: PacketNumber, left: u64) {
        if let Some(generations) = &mut self.application {
            generations.sealer(number).use_up(left);
        }
    }

    /// Opens in place; returns the length of the plaintext at the beginning of `payload`. When it fails, what `payload`
    /// holds is of no use.
    pub(crate) fn open(
        &mut self,
        level: Level,
        number: PacketNumber,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<usize, OpenError> {
        let opener = match level {
            Level::Initial => self.initial.opener.as_ref(),
            Level::Handshake => self.handshake.opener.as_ref(),
            Level::Early => self.early.opener.as_ref(),
            Level::Application => match &self.application {
                Some(generations) if self.tls_finished => {
                    Some(generations.opener(number).ok_or(OpenError::Generation)?)
                }
                _ => None,
            },
        };
        let opened = opener.ok_or(OpenError::NoKeys)?.open(number, header, payload);
        opened.ok_or_else(|| {
            self.forged += 1;
            OpenError::Forged
        })
    }

    /// To be called for an opened application packet that is no duplicate and is the largest so far: steps the receiving
    /// generation when it has begun.
    pub(crate) fn on_accepted(&mut self, number: PacketNumber) {
        if let Some(generations) = &mut self.application {
            generations.on_accepted(number);
        }
    }

    /// More packets failed to open than the AEAD's integrity limit allows: the connection must end with KEYS.
    pub(crate) fn integrity_exhausted(&self) -> bool {
        self.forged > self.integrity_limit
    }
}

impl fmt::Debug for LevelKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.sealer, &self.opener) {
            (None, None) => "none",
            (Some(_), None) => "seal",
            (None, Some(_)) => "open",
            (Some(_), Some(_)) => "both",
        })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("side", &self.side)
            .field("initial", &self.initial)
            .field("handshake", &self.handshake)
            .field("early", &self.early)
            .field("application", &self.application)
            .field("tls_finished", &self.tls_finished)
            .field("forged", &self.forged)
            .finish_non_exhaustive()
    }
}
