//! The public keys inside a `SubjectPublicKeyInfo` (RFC 5280, section 4.1; RFC 8410; RFC 5480), as far as they are used
//! here. Any bytes may come.

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Modulus and exponent, big-endian.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// The contents of `AlgorithmIdentifier`: object identifier and parameters.
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const P256: &[u8] = &[
    0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
];
const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];

/// The key of a `SubjectPublicKeyInfo`; `None` when it is of another kind, or damaged.
pub(crate) fn public_key(spki: &[u8]) -> Option<PublicKey> {
    let (body, []) = element(SEQUENCE, spki)? else {
        return None;
    };
    let (algorithm, rest) = element(SEQUENCE, body)?;
    let (bits, []) = element(BIT_STRING, rest)? else {
        return None;
    };
    let (0, key) = bits.split_first()? else { return None };
    match algorithm {
        RSA => rsa(key),
        P256 => (key.len() == 65 && key[0] == 4).then(|| PublicKey::P256(key.to_vec())),
        ED25519 => (key.len() == 32).then(|| PublicKey::Ed25519(key.to_vec())),
        _ => None,
    }
}

fn rsa(key: &[u8]) -> Option<PublicKey> {
    let (numbers, []) = element(SEQUENCE, key)? else {
        return None;
    };
    let (n, rest) = element(INTEGER, numbers)?;
    let (e, []) = element(INTEGER, rest)? else {
        return None;
    };
    let unsigned = |number: &[u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
    Some(PublicKey::Rsa {
        n: unsigned(n),
        e: unsigned(e),
    })
}

/// The contents of the first element, which has this tag, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (length, rest) = rest.split_at_checked(2)?;
            (usize::from(u16::from_be_bytes([length[0], length[1]])), rest)
        }
        _ => return None,
    };
    if *found != tag {
        return None;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};

    use super::*;

    fn spki(kind: &'static rcgen::SignatureAlgorithm) -> (Vec<u8>, Vec<u8>) {
        let pair = KeyPair::generate_for(kind).unwrap();
        (pair.subject_public_key_info(), pair.der_bytes().to_vec())
    }

    #[test]
    fn keys_are_found_in_their_wrapping() {
        let (wrapped, point) = spki(&PKCS_ECDSA_P256_SHA256);
        assert_eq!(public_key(&wrapped), Some(PublicKey::P256(point)));
        let (wrapped, point) = spki(&PKCS_ED25519);
        assert_eq!(public_key(&wrapped), Some(PublicKey::Ed25519(point)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            for kind in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
                let (mut wrapped, _) = spki(kind);
                let place = at.index(wrapped.len());
                wrapped[place] = byte;
                let _ = public_key(&wrapped);
                prop_assert_eq!(public_key(&wrapped[..cut.index(wrapped.len())]), None);
            }
        }
    }
}
