//! The worked example in `vectors/first_flight.txt`: what is sealed and opened here is, byte for byte, what it says.

use std::collections::BTreeMap;

use bytes::Bytes;
use ring::{aead, hkdf};

use super::{tests::derive, *};
use crate::{
    frame::{
        Frame, Frames,
        vectors::{Kind, vectors},
    },
    header::{Flags, HEADER_LEN, Header, TAG_LEN},
};

struct Example(BTreeMap<String, Vec<u8>>);

impl Example {
    fn read() -> Self {
        let all = vectors(include_str!("../../vectors/first_flight.txt"));
        Self(
            all.inspect(|vector| assert_eq!(vector.kind, Kind::Both))
                .map(|vector| (vector.name.to_owned(), vector.bytes))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn id(&self) -> ConnectionId {
        ConnectionId(uuid::Uuid::from_slice(self.get("connection_id")).unwrap())
    }

    /// The header of a packet, which has this encoding and no other.
    fn header(&self, packet: &str) -> Header {
        let (head, sealed) = (
            self.get(&format!("{packet}_header")),
            self.get(&format!("{packet}_sealed")),
        );
        let header = Header::decode(&[head, sealed].concat()).unwrap();
        assert_eq!(header.encode(), head, "{packet}");
        assert_eq!(usize::from(header.payload_len), sealed.len(), "{packet}");
        assert_eq!(header.id, self.id(), "{packet}");
        header
    }

    /// The frames of a packet, padded to what was sealed.
    fn payload(&self, packet: &str) -> Vec<u8> {
        let mut payload = self.get(&format!("{packet}_frames")).to_vec();
        payload.resize(usize::from(self.header(packet).payload_len) - TAG_LEN, 0);
        payload
    }

    fn secret(&self, name: &str) -> hkdf::Prk {
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.get(name))
    }

    /// `to` is what follows from the secret `from` by this label.
    fn check(&self, from: &str, label: &[u8], to: &str) {
        let mut derived = vec![0; self.get(to).len()];
        derive(&self.secret(from), label, &mut derived);
        assert_eq!(derived, self.get(to), "{to}");
    }
}

/// Seals with a key and an iv as they are.
fn seal_with(key: &[u8], iv: &[u8], number: u64, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut nonce: [u8; 12] = iv.try_into().unwrap();
    nonce[4..]
        .iter_mut()
        .zip(number.to_be_bytes())
        .for_each(|(iv, number)| *iv ^= number);
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, key).unwrap());
    let mut sealed = payload.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, aead::Aad::from(header), &mut sealed)
        .unwrap();
    sealed
}

#[test]
fn keys_follow_from_the_connection_id() {
    let example = Example::read();
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, example.get("initial_salt"));
    let initial = salt.extract(example.get("connection_id"));
    let mut secret = [0; 32];
    derive(&initial, b"client in", &mut secret);
    assert_eq!(secret, example.get("client_initial_secret"));
    example.check("initial_secret", b"client in", "client_initial_secret");
    example.check("initial_secret", b"server in", "server_initial_secret");
    for side in ["client", "server"] {
        example.check(&format!("{side}_initial_secret"), b"quic key", &format!("{side}_key"));
        example.check(&format!("{side}_initial_secret"), b"quic iv", &format!("{side}_iv"));
    }
}

#[test]
fn the_first_packets() {
    let example = Example::read();
    let ends = [
        ("client", Side::Client, Side::Server),
        ("server", Side::Server, Side::Client),
    ];
    for (packet, from, to) in ends {
        let header = example.header(packet);
        assert_eq!(header.flags.level(), Some(Level::Initial));
        let number = header.full_number(PacketNumber::ZERO);
        let mut bytes = example.get(&format!("{packet}_header")).to_vec();
        bytes.extend(example.payload(packet));
        let head = header.encode();
        let mut sealing = Keyring::new(initial_suite(), example.id(), from);
        sealing
            .seal(Level::Initial, number, &head, &mut bytes, HEADER_LEN)
            .unwrap();
        assert_eq!(
            bytes[HEADER_LEN..],
            *example.get(&format!("{packet}_sealed")),
            "{packet}"
        );

        let mut opening = Keyring::new(initial_suite(), example.id(), to);
        let len = opening
            .open(Level::Initial, number, &head, &mut bytes[HEADER_LEN..])
            .unwrap();
        assert_eq!(bytes[HEADER_LEN..HEADER_LEN + len], example.payload(packet));
    }
    assert_eq!(HEADER_LEN + example.get("client_sealed").len(), 1200);
}

#[test]
fn what_the_first_packets_hold() {
    let example = Example::read();
    let frames = |packet| -> Vec<Frame> {
        let ack = PacketNumber(u64::from(example.header(packet).ack));
        let frames = Frames::new(ack, Bytes::from(example.payload(packet)));
        frames.map(Result::unwrap).collect()
    };
    let [Frame::Crypto { offset: 0, data }, Frame::Padding(_)] = &frames("client")[..] else {
        panic!("{:?}", frames("client"));
    };
    // The ClientHello says which connection id it belongs to: parameter 1, 16 bytes.
    let named = [&[1, 16], example.get("connection_id")].concat();
    assert!(data.windows(18).any(|bytes| bytes == named));
    let server = frames("server");
    let [Frame::Ack(ack), Frame::Crypto { offset: 0, .. }] = &server[..] else {
        panic!("{server:?}");
    };
    assert!(ack.blocks.is_empty());
    let header = example.header("server");
    assert!(header.flags.has(Flags::ACK) && header.ack == 1);
}

#[test]
fn packets_without_state() {
    let example = Example::read();
    for packet in ["retry", "refusal"] {
        let mut bytes = example.get(&format!("{packet}_header")).to_vec();
        bytes.extend(example.payload(packet));
        let head = example.header(packet).encode();
        seal_stateless(example.id(), &head, &mut bytes, HEADER_LEN).unwrap();
        assert_eq!(
            bytes[HEADER_LEN..],
            *example.get(&format!("{packet}_sealed")),
            "{packet}"
        );
        let len = open_stateless(example.id(), &head, &mut bytes[HEADER_LEN..]).unwrap();
        assert_eq!(
            bytes[HEADER_LEN..HEADER_LEN + len],
            *example.get(&format!("{packet}_frames"))
        );
    }
}

#[test]
fn generations_of_keys() {
    let example = Example::read();
    example.check("generation_0_secret", b"quic ku", "generation_1_secret");
    for generation in 0..2 {
        let name = |what: &str| format!("generation_{generation}_{what}");
        example.check(&name("secret"), b"quic key", &name("key"));
        example.check(&name("secret"), b"quic iv", &name("iv"));
        let packet = name("").trim_end_matches('_').to_owned();
        let number = example.header(&packet).full_number(PacketNumber::ZERO);
        assert_eq!(number.generation(), generation);
        let (key, iv) = (example.get(&name("key")), example.get(&name("iv")));
        let sealed = seal_with(
            key,
            iv,
            number.0,
            example.get(&name("header")),
            example.get(&name("frames")),
        );
        assert_eq!(sealed, example.get(&name("sealed")));
    }
}
