//! Packets as an attacker sees and makes them: the clear header, and the initial keys that everybody has.
//!
//! Written from the specification alone, so that a mistake of the crate is not repeated here.

use quantum_proto::Flags;
use rustls::{
    Side,
    crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    quic::{DirectionalKeys, Keys, Version},
};

pub(crate) const HEADER: usize = 32;
pub(crate) const TAG: usize = 16;
const MAGIC: &[u8] = b"QUNT";

/// The header's fields in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Clear {
    pub(crate) version: u8,
    pub(crate) flags: u8,
    pub(crate) id: [u8; 16],
    pub(crate) number: u32,
    pub(crate) ack: u32,
    /// Of the payload, tag included.
    pub(crate) len: u16,
}

impl Clear {
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..HEADER)?;
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let id = <[u8; 16]>::try_from(&header[6..22]).ok()?;
        header.starts_with(MAGIC).then(|| Self {
            version: header[4],
            flags: header[5],
            id,
            number: word(22),
            ack: word(26),
            len: u16::from_be_bytes([header[30], header[31]]),
        })
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&[self.version, self.flags]);
        header.extend_from_slice(&self.id);
        header.extend_from_slice(&self.number.to_be_bytes());
        header.extend_from_slice(&self.ack.to_be_bytes());
        header.extend_from_slice(&self.len.to_be_bytes());
        header
    }

    pub(crate) fn has(&self, flags: Flags) -> bool {
        Flags(self.flags).has(flags)
    }

    /// Sealed with keys that anybody can make, or not at all: proves no address.
    pub(crate) fn proves_nothing(&self) -> bool {
        self.has(Flags::RST) || (self.has(Flags::SYN) && !self.has(Flags::PSH))
    }

    pub(crate) fn is_application(&self) -> bool {
        !self.has(Flags::SYN) && !self.has(Flags::RST)
    }
}

/// The headers of all packets of a datagram.
pub(crate) fn packets(datagram: &[u8]) -> impl Iterator<Item = Clear> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let clear = Clear::read(rest)?;
        rest = rest.get(HEADER + usize::from(clear.len)..)?;
        Some(clear)
    })
}

/// The first packet's header.
pub(crate) fn first(datagram: &[u8]) -> Option<Clear> {
    Clear::read(datagram)
}

fn initial_keys(id: &[u8; 16], side: Side) -> DirectionalKeys {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let keys = Keys::initial(Version::V1, suite, suite.quic.unwrap(), id, Side::Client);
    if side == Side::Client { keys.local } else { keys.remote }
}

/// The payload of a datagram's first packet, which is an initial packet sent by that side.
pub(crate) fn open_initial(datagram: &[u8], from: Side) -> Option<Vec<u8>> {
    let clear = Clear::read(datagram)?;
    let mut payload = datagram.get(HEADER..HEADER + usize::from(clear.len))?.to_vec();
    let keys = initial_keys(&clear.id, from);
    let plain = keys
        .packet
        .decrypt_in_place(clear.number.into(), &datagram[..HEADER], &mut payload)
        .ok()?
        .len();
    payload.truncate(plain);
    Some(payload)
}

/// An initial packet from that side. The header's length is filled in.
pub(crate) fn seal_initial(clear: Clear, from: Side, mut payload: Vec<u8>) -> Vec<u8> {
    let mut packet = Clear {
        len: (payload.len() + TAG) as u16,
        ..clear
    }
    .write();
    let keys = initial_keys(&clear.id, from);
    let tag = keys
        .packet
        .encrypt_in_place(clear.number.into(), &packet, &mut payload)
        .unwrap();
    packet.extend_from_slice(&payload);
    packet.extend_from_slice(tag.as_ref());
    packet
}

/// Makes first flights out of one that was seen.
pub(crate) struct Forger {
    clear: Clear,
    payload: Vec<u8>,
    /// Where the payload names the connection id: in the ClientHello's transport parameters, in clear.
    places: Vec<usize>,
}

impl Forger {
    pub(crate) fn new(first_flight: &[u8]) -> Self {
        let clear = Clear::read(first_flight).unwrap();
        let payload = open_initial(first_flight, Side::Client).unwrap();
        let places = (0..payload.len() - 16)
            .filter(|at| payload[*at..*at + 16] == clear.id)
            .collect();
        Self { clear, payload, places }
    }

    /// The same flight under another connection id.
    pub(crate) fn with_id(&self, id: [u8; 16]) -> Vec<u8> {
        let mut payload = self.payload.clone();
        for at in &self.places {
            payload[*at..*at + 16].copy_from_slice(&id);
        }
        seal_initial(Clear { id, ..self.clear }, Side::Client, payload)
    }
}

#[test]
fn a_first_flight_can_be_given_another_id() {
    let clear = Clear {
        version: 1,
        flags: Flags::SYN.0,
        id: [7; 16],
        number: 3,
        ack: 0,
        len: 0,
    };
    let mut payload = vec![0; 100];
    payload[40..56].copy_from_slice(&[7; 16]);
    let packet = seal_initial(clear, Side::Client, payload.clone());
    assert_eq!(Clear::read(&packet).unwrap(), Clear { len: 116, ..clear });
    assert_eq!(open_initial(&packet, Side::Client).unwrap(), payload);
    assert_eq!(open_initial(&packet, Side::Server), None);
    let other = Forger::new(&packet).with_id([9; 16]);
    payload[40..56].copy_from_slice(&[9; 16]);
    assert_eq!(open_initial(&other, Side::Client).unwrap(), payload);
    let mut two = other.clone();
    two.extend_from_slice(&packet);
    assert_eq!(packets(&two).map(|clear| clear.id[0]).collect::<Vec<_>>(), [9, 7]);
}
