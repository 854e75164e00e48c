//! The keys of a connection: levels, generations, limits, forgeries, retry.

use proptest::prelude::*;
use ring::{aead, hkdf};
use rustls::quic::{HeaderProtectionKey, PacketKey, Tag};

use super::*;
use crate::{
    error::CloseCode,
    handshake::tests::{End, ID, connected},
};

const HEADER: &[u8] = b"a header of 32 bytes, or so many";

fn pair() -> (Keyring, Keyring) {
    (
        Keyring::new(initial_suite(), ID, Side::Client),
        Keyring::new(initial_suite(), ID, Side::Server),
    )
}

fn application() -> (Keyring, Keyring) {
    let (End { keys: client, .. }, End { keys: server, .. }) = connected();
    (client, server)
}

fn seal(keys: &mut Keyring, level: Level, number: PacketNumber) -> Vec<u8> {
    let mut packet = b"....plaintext".to_vec();
    keys.seal(level, number, HEADER, &mut packet, 4).unwrap();
    assert_eq!(packet.len(), 13 + crate::header::TAG_LEN);
    packet.split_off(4)
}

fn open(keys: &mut Keyring, level: Level, number: PacketNumber, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut payload = sealed.to_vec();
    keys.open(level, number, HEADER, &mut payload)
        .map(|len| payload[..len].to_vec())
}

const APPLICATION: Level = Level::Application;

/// One key of RFC 9001 section 5.1, derived by other means.
pub(super) fn derive(secret: &hkdf::Prk, label: &[u8], out: &mut [u8]) {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let info = [
        &(out.len() as u16).to_be_bytes()[..],
        &[6 + label.len() as u8],
        b"tls13 ",
        label,
        &[0],
    ]
    .concat();
    secret.expand(&[&info], Len(out.len())).unwrap().fill(out).unwrap();
}

#[test]
fn initial_keys_are_those_of_rfc_9001() {
    let salt = hex::decode("38762cf7f55934b34d179ae6a4c80cadccbb7f0a").unwrap();
    let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(ID.0.as_bytes());
    let (mut secret, mut key, mut iv) = ([0; 32], [0; 16], [0; 12]);
    derive(&initial, b"client in", &mut secret);
    let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
    derive(&secret, b"quic key", &mut key);
    derive(&secret, b"quic iv", &mut iv);
    let number = 0x0123_4567_89ab_u64;
    iv[4..]
        .iter_mut()
        .zip(number.to_be_bytes())
        .for_each(|(iv, number)| *iv ^= number);
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).unwrap());
    let mut expected = b"plaintext".to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(iv);
    key.seal_in_place_append_tag(nonce, aead::Aad::from(HEADER), &mut expected)
        .unwrap();

    assert_eq!(seal(&mut pair().0, Level::Initial, PacketNumber(number)), expected);
}

#[test]
fn what_one_end_seals_the_other_opens() {
    let (mut client, mut server) = pair();
    let sealed = seal(&mut client, Level::Initial, PacketNumber(5));
    assert_eq!(
        open(&mut server, Level::Initial, PacketNumber(5), &sealed),
        Ok(b"plaintext".to_vec())
    );
    assert_eq!(
        open(&mut client, Level::Initial, PacketNumber(5), &sealed),
        Err(OpenError::Forged),
        "its own"
    );
    let sealed = seal(&mut server, Level::Initial, PacketNumber(5));
    assert_eq!(
        open(&mut client, Level::Initial, PacketNumber(5), &sealed),
        Ok(b"plaintext".to_vec())
    );
}

#[test]
fn levels_come_and_go() {
    let (mut client, server) = application();
    for level in [Level::Initial, Level::Handshake, Level::Application] {
        assert!(client.can_seal(level) && server.can_seal(level));
        client.drop_level(level);
        assert!(!client.can_seal(level));
        assert_eq!(
            open(&mut client, level, PacketNumber(0), &[0; 40]),
            Err(OpenError::NoKeys)
        );
    }
    assert_eq!(client.forged, 0);
}

#[test]
#[should_panic(expected = "without keys")]
fn sealing_without_keys() {
    seal(&mut pair().0, Level::Handshake, PacketNumber(0));
}

#[test]
#[should_panic(expected = "after one of a higher number")]
fn a_number_is_not_sealed_twice() {
    let (mut client, _) = pair();
    seal(&mut client, Level::Initial, PacketNumber(7));
    seal(&mut client, Level::Initial, PacketNumber(7));
}

proptest! {
    /// One bit wrong anywhere, or the wrong number: nothing opens, and it is counted.
    #[test]
    fn damage_is_noticed(bit in 0_usize..(9 + 16 + 32 + 8) * 8) {
        let (mut client, mut server) = pair();
        let mut payload = seal(&mut client, Level::Initial, PacketNumber(9));
        let (mut header, mut number) = (HEADER.to_vec(), 9_u64.to_be_bytes());
        let mut bytes = payload.iter_mut().chain(&mut header).chain(&mut number);
        *bytes.nth(bit / 8).unwrap() ^= 1 << (bit % 8);
        let number = PacketNumber(u64::from_be_bytes(number));
        prop_assert_eq!(server.open(Level::Initial, number, &header, &mut payload), Err(OpenError::Forged));
        prop_assert_eq!(server.forged, 1);
    }

    /// Any bytes of any level and number do no more than count.
    #[test]
    fn noise_is_only_counted(level in 0_usize..4, number: u64, noise in prop::collection::vec(any::<u8>(), 0..60)) {
        let (_, mut server) = pair();
        let level = [Level::Initial, Level::Handshake, Level::Early, Level::Application][level];
        let expected = if level == Level::Initial { OpenError::Forged } else { OpenError::NoKeys };
        prop_assert_eq!(open(&mut server, level, PacketNumber(number >> 2), &noise), Err(expected));
    }
}

#[test]
fn generations_follow_the_numbers() {
    let (mut client, mut server) = application();
    for generation in 0..5 {
        for number in [
            PacketNumber::first_of(generation),
            PacketNumber(PacketNumber::first_of(generation + 1).0 - 1),
        ] {
            let sealed = seal(&mut client, APPLICATION, number);
            assert_eq!(
                open(&mut server, APPLICATION, number, &sealed),
                Ok(b"plaintext".to_vec()),
                "{number}"
            );
            server.on_accepted(number);
        }
        // The other direction keeps its own pace.
        let number = PacketNumber(generation);
        let sealed = seal(&mut server, APPLICATION, number);
        assert_eq!(
            open(&mut client, APPLICATION, number, &sealed),
            Ok(b"plaintext".to_vec())
        );
        client.on_accepted(number);
    }
}

#[test]
fn each_generation_has_its_own_keys() {
    let (mut client, mut server) = application();
    let sealed = seal(&mut client, APPLICATION, PacketNumber::first_of(0));
    assert_eq!(
        open(&mut server, APPLICATION, PacketNumber::first_of(1), &sealed),
        Err(OpenError::Forged)
    );
    let next = seal(&mut client, APPLICATION, PacketNumber::first_of(1));
    assert_ne!(sealed, next);
    assert_eq!(server.forged, 1);
}

#[test]
fn three_generations_are_open() {
    let (mut client, mut server) = application();
    let numbers: Vec<_> = (0..5).map(PacketNumber::first_of).collect();
    let sealed: Vec<_> = numbers
        .iter()
        .map(|number| seal(&mut client, APPLICATION, *number))
        .collect();
    let mut accepted = 0;
    for current in 0..4_usize {
        while accepted < current {
            accepted += 1;
            server.on_accepted(numbers[accepted]);
        }
        for (generation, sealed) in sealed.iter().enumerate() {
            let opened = open(&mut server, APPLICATION, numbers[generation], sealed);
            if generation.abs_diff(current) <= 1 {
                assert_eq!(opened, Ok(b"plaintext".to_vec()), "{generation} at {current}");
            } else {
                assert_eq!(opened, Err(OpenError::Generation), "{generation} at {current}");
            }
        }
        server.on_accepted(numbers[current.saturating_sub(1)]);
    }
    assert_eq!(server.forged, 0, "what is not due is not taken for forged");
    assert_eq!(
        open(&mut server, APPLICATION, PacketNumber(u64::MAX >> 2), &sealed[0]),
        Err(OpenError::Generation)
    );
}

#[test]
#[should_panic(expected = "one after the other")]
fn a_generation_is_not_left_out() {
    seal(&mut application().0, APPLICATION, PacketNumber::first_of(2));
}

#[test]
#[should_panic(expected = "one after the other")]
fn a_generation_does_not_come_back() {
    let (mut client, _) = application();
    seal(&mut client, APPLICATION, PacketNumber::first_of(1));
    seal(&mut client, APPLICATION, PacketNumber::first_of(0));
}

/// A key that is soon used up.
struct Frail;

impl PacketKey for Frail {
    fn encrypt_in_place(&self, _: u64, _: &[u8], _: &mut [u8]) -> Result<Tag, rustls::Error> {
        Ok(Tag::from(&[0; 16][..]))
    }

    fn decrypt_in_place<'a>(&self, _: u64, _: &[u8], _: &'a mut [u8]) -> Result<&'a [u8], rustls::Error> {
        Err(rustls::Error::DecryptError)
    }

    fn tag_len(&self) -> usize {
        16
    }

    fn confidentiality_limit(&self) -> u64 {
        3
    }

    fn integrity_limit(&self) -> u64 {
        3
    }
}

impl HeaderProtectionKey for Frail {
    fn encrypt_in_place(&self, _: &[u8], _: &mut u8, _: &mut [u8]) -> Result<(), rustls::Error> {
        Ok(())
    }

    fn decrypt_in_place(&self, _: &[u8], _: &mut u8, _: &mut [u8]) -> Result<(), rustls::Error> {
        Ok(())
    }

    fn sample_len(&self) -> usize {
        16
    }
}

fn frail() -> DirectionalKeys {
    DirectionalKeys {
        header: Box::new(Frail),
        packet: Box::new(Frail),
    }
}

#[test]
fn a_key_is_used_up() {
    let (mut client, _) = pair();
    client.install_handshake(Keys {
        local: frail(),
        remote: frail(),
    });
    for number in 0..3 {
        seal(&mut client, Level::Handshake, PacketNumber(number));
    }
    let error = client
        .seal(Level::Handshake, PacketNumber(3), HEADER, &mut vec![0; 9], 0)
        .unwrap_err();
    assert_eq!(error.code, CloseCode::KEYS);
    seal(&mut client, Level::Initial, PacketNumber(3));
}

#[test]
fn forged_packets_of_all_levels_count() {
    let (_, mut server) = pair();
    server.install_early(frail());
    for level in [Level::Early, Level::Initial, Level::Early] {
        assert_eq!(
            open(&mut server, level, PacketNumber(0), &[0; 40]),
            Err(OpenError::Forged)
        );
    }
    assert_eq!(
        open(&mut server, Level::Handshake, PacketNumber(0), &[0; 40]),
        Err(OpenError::NoKeys)
    );
    assert!(!server.integrity_exhausted());
    open(&mut server, Level::Initial, PacketNumber(0), &[0; 40]).unwrap_err();
    assert!(server.integrity_exhausted());
}

#[test]
fn early_keys_go_one_way() {
    let (mut client, mut server) = pair();
    client.install_early(frail());
    server.install_early(frail());
    assert!(client.can_seal(Level::Early) && !server.can_seal(Level::Early));
    assert_eq!(
        open(&mut client, Level::Early, PacketNumber(0), &[0; 40]),
        Err(OpenError::NoKeys)
    );
}

#[test]
fn retry_round_trip() {
    let mut packet = [HEADER, b"token frame"].concat();
    seal_stateless(ID, HEADER, &mut packet, HEADER.len()).unwrap();
    let open = |id, header: &[u8], payload: &[u8]| {
        let mut payload = payload.to_vec();
        open_stateless(id, header, &mut payload).map(|len| payload[..len].to_vec())
    };
    let payload = packet.split_off(HEADER.len());
    assert_eq!(open(ID, HEADER, &payload), Some(b"token frame".to_vec()));
    let other = ConnectionId(uuid::Uuid::from_u128(ID.0.as_u128() ^ 1));
    assert_eq!(open(other, HEADER, &payload), None);
    assert_eq!(open(ID, b"another header", &payload), None);
    assert_eq!(open(ID, HEADER, &payload[1..]), None);
    assert_eq!(open(ID, HEADER, b""), None);
    // It is an initial packet of the server, but for its flags.
    let (mut client, _) = pair();
    let mut payload = payload;
    assert_eq!(
        client.open(Level::Initial, STATELESS_NUMBER, HEADER, &mut payload),
        Ok(11)
    );
}

#[test]
fn debug_output_names_no_keys() {
    let (client, _) = application();
    assert_eq!(
        format!("{client:?}"),
        "Keyring { side: Client, initial: both, handshake: both, early: none, \
         application: Some(Generations { sending: 0, receiving: 0 }), tls_finished: true, forged: 0, .. }"
    );
}
