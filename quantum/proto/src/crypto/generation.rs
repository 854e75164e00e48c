//! The generations of the application keys: a packet's number says which one sealed it.
//!
//! Owns the secrets from which the next generation follows, once for each direction: each goes at its own pace, and neither
//! makes the other keep keys. Invariant: the keys to open the next generation are there before its first packet, so that the time it
//! takes to refuse a packet says nothing (RFC 9001 section 6.3).

use std::{fmt, mem};

use rustls::quic::{Keys, Secrets};

use super::key::{Opener, Sealer};
use crate::number::PacketNumber;

pub(super) struct Generations {
    sending: Sending,
    receiving: Receiving,
}

struct Sending {
    generation: u64,
    sealer: Sealer,
    /// Of the generation after this one.
    secrets: Secrets,
}

struct Receiving {
    /// That of the largest number accepted.
    generation: u64,
    previous: Option<Opener>,
    current: Opener,
    next: Opener,
    /// Of the generation after the next one.
    secrets: Secrets,
}

impl Generations {
    /// `next`: the secrets of generation 1.
    pub(super) fn new(keys: Keys, next: Secrets) -> Self {
        let mut secrets = next.clone();
        Self {
            sending: Sending {
                generation: 0,
                sealer: Sealer::new(keys.local.packet),
                secrets: next,
            },
            receiving: Receiving {
                generation: 0,
                previous: None,
                current: Opener::new(keys.remote.packet),
                next: Opener::new(secrets.next_packet_keys().remote),
                secrets,
            },
        }
    }

    /// What seals this number.
    ///
    /// # Panics
    /// The number is neither of the present generation nor of the next.
    pub(super) fn sealer(&mut self, number: PacketNumber) -> &mut Sealer {
        let sending = &mut self.sending;
        let generation = number.generation();
        if generation != sending.generation {
            assert_eq!(
                generation,
                sending.generation + 1,
                "generations are sealed one after the other"
            );
            sending.sealer = Sealer::new(sending.secrets.next_packet_keys().local);
            sending.generation = generation;
        }
        &mut sending.sealer
    }

    /// What opens this number; `None` when its generation is not due.
    pub(super) fn opener(&self, number: PacketNumber) -> Option<&Opener> {
        let receiving = &self.receiving;
        let generation = number.generation();
        if generation == receiving.generation {
            Some(&receiving.current)
        } else if generation == receiving.generation + 1 {
            Some(&receiving.next)
        } else if generation + 1 == receiving.generation {
            receiving.previous.as_ref()
        } else {
            None
        }
    }

    /// Steps when the number, which was opened, is of the next generation.
    pub(super) fn on_accepted(&mut self, number: PacketNumber) {
        let receiving = &mut self.receiving;
        if number.generation() == receiving.generation + 1 {
            let after = Opener::new(receiving.secrets.next_packet_keys().remote);
            let current = mem::replace(&mut receiving.next, after);
            receiving.previous = Some(mem::replace(&mut receiving.current, current));
            receiving.generation += 1;
        }
    }

    pub(super) fn integrity_limit(&self) -> u64 {
        self.receiving.current.integrity_limit()
    }
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generations")
            .field("sending", &self.sending.generation)
            .field("receiving", &self.receiving.generation)
            .finish()
    }
}
