//! Tokens that let a server recognise addresses and connections without keeping state.
//!
//! Owns the keys, all derived from the endpoint's secret. Tokens are opaque to clients: 8 bytes of kind and time of issue, and 32 bytes of
//! HMAC-SHA256 over these and what they are bound to.
//! Invariants: a token proves nothing but to whom it was given and when; nobody without the secret can make one.
//! Times are the driver's. When their origin moves at a restart, tokens of before it that seem to come from the future are not
//! accepted, and others live for longer than they should; a driver whose origin is a fixed date has neither.
//! On failure: a token that is wrong in any way is no token.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use ring::hmac;
use uuid::Uuid;

use crate::{time::Time, types::ConnectionId};

/// Bytes of kind and time of issue.
const HEAD_LEN: usize = 8;
/// Bytes of a token: its head and the HMAC.
pub(crate) const TOKEN_LEN: usize = HEAD_LEN + 32;
/// Bytes that the HMAC is over: head, IP address, port, connection id.
const MESSAGE_LEN: usize = HEAD_LEN + 16 + 2 + 16;
/// Bits of the head that hold the time of issue in milliseconds; the kind is above them.
const TIME_BITS: u32 = 56;

/// Keys everything that the server wants to recognise later. The keys of address tokens rotate.
pub(crate) struct Tokens {
    /// The keys of address tokens are derived from this one.
    addresses: hmac::Key,
    resets: hmac::Key,
}

/// What a token proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The address answered a retry just now.
    Retry,
    /// It had a connection not long ago.
    Visited,
}

impl Proof {
    /// What the head says; small enough for a byte.
    fn kind(self) -> u64 {
        match self {
            Self::Retry => 1,
            Self::Visited => 2,
        }
    }

    fn of_kind(kind: u64) -> Option<Self> {
        match kind {
            1 => Some(Self::Retry),
            2 => Some(Self::Visited),
            _ => None,
        }
    }

    fn lifetime_ms(self) -> u64 {
        let lifetime = match self {
            Self::Retry => Tokens::RETRY_LIFETIME,
            Self::Visited => Tokens::VISIT_LIFETIME,
        };
        lifetime.as_millis() as u64
    }
}

impl Tokens {
    pub(crate) const RETRY_LIFETIME: Duration = Duration::from_secs(10);
    pub(crate) const VISIT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self {
            addresses: derive(&secret, b"quantum address tokens"),
            resets: derive(&secret, b"quantum stateless resets"),
        }
    }

    /// For a retry: bound to address, port and connection id.
    pub(crate) fn retry(&self, now: Time, remote: SocketAddr, id: ConnectionId) -> Bytes {
        self.issue(Proof::Retry, now, remote, id)
    }

    /// For a later connection: bound to the address without port.
    pub(crate) fn visit(&self, now: Time, remote: SocketAddr) -> Bytes {
        self.issue(Proof::Visited, now, remote, ConnectionId(Uuid::nil()))
    }

    /// What the token proves of this address and, if it is of a retry, of this connection. The comparison takes constant time.
    pub(crate) fn check(&self, now: Time, remote: SocketAddr, id: ConnectionId, token: &[u8]) -> Option<Proof> {
        let (head, tag) = token.split_first_chunk::<HEAD_LEN>()?;
        let head = u64::from_be_bytes(*head);
        let proof = Proof::of_kind(head >> TIME_BITS)?;
        let issued_ms = head & ((1 << TIME_BITS) - 1);
        let age_ms = millis(now).checked_sub(issued_ms)?;
        if age_ms > proof.lifetime_ms() {
            return None;
        }
        hmac::verify(&self.key(proof, issued_ms), &message(head, proof, remote, id), tag).ok()?;
        Some(proof)
    }

    /// The stateless reset token of a connection id.
    pub(crate) fn reset(&self, id: ConnectionId) -> [u8; 16] {
        let mut token = [0; 16];
        token.copy_from_slice(&hmac::sign(&self.resets, id.0.as_bytes()).as_ref()[..16]);
        token
    }

    fn issue(&self, proof: Proof, now: Time, remote: SocketAddr, id: ConnectionId) -> Bytes {
        let issued_ms = millis(now);
        let head = proof.kind() << TIME_BITS | issued_ms;
        let tag = hmac::sign(&self.key(proof, issued_ms), &message(head, proof, remote, id));
        let mut token = BytesMut::with_capacity(TOKEN_LEN);
        token.put_u64(head);
        token.put_slice(tag.as_ref());
        token.freeze()
    }

    /// The key of the epoch in which a token was issued. An epoch is as long as the lifetime, so that only the present one and the one
    /// before have tokens that are not too old.
    fn key(&self, proof: Proof, issued_ms: u64) -> hmac::Key {
        let epoch = issued_ms / proof.lifetime_ms();
        derive(&self.addresses, &(proof.kind() << TIME_BITS | epoch).to_be_bytes())
    }
}

fn derive(secret: &hmac::Key, label: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(secret, label).as_ref())
}

fn millis(time: Time) -> u64 {
    time.as_nanos() / 1_000_000
}

/// What the HMAC is over. A token of a visit knows neither port nor connection.
fn message(head: u64, proof: Proof, remote: SocketAddr, id: ConnectionId) -> [u8; MESSAGE_LEN] {
    let (port, id) = match proof {
        Proof::Retry => (remote.port(), id.0),
        Proof::Visited => (0, Uuid::nil()),
    };
    // A socket for both families writes IPv4 addresses as IPv6.
    let ip = match remote.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; MESSAGE_LEN];
    let mut out = bytes.as_mut_slice();
    out.put_u64(head);
    out.put_slice(&ip.octets());
    out.put_u16(port);
    out.put_slice(id.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];
    const ID: ConnectionId = ConnectionId(Uuid::from_u128(1));
    const OTHER_ID: ConnectionId = ConnectionId(Uuid::from_u128(2));
    const MS: Duration = Duration::from_millis(1);

    fn tokens() -> Tokens {
        Tokens::new(&SECRET)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_retry_is_bound_to_address_port_and_connection() {
        let remote = address("192.0.2.1:4000");
        let token = tokens().retry(at(100), remote, ID);
        assert_eq!(token.len(), TOKEN_LEN);
        let check = |remote: &str, id| tokens().check(at(101), address(remote), id, &token);
        assert_eq!(check("192.0.2.1:4000", ID), Some(Proof::Retry));
        assert_eq!(
            check("[::ffff:192.0.2.1]:4000", ID),
            Some(Proof::Retry),
            "the same address"
        );
        assert_eq!(check("192.0.2.1:4001", ID), None);
        assert_eq!(check("192.0.2.2:4000", ID), None);
        assert_eq!(check("192.0.2.1:4000", OTHER_ID), None);
    }

    #[test]
    fn a_visit_is_bound_to_the_address_only() {
        let token = tokens().visit(at(100), address("[2001:db8::1]:4000"));
        let check = |remote: &str| tokens().check(at(5000), address(remote), OTHER_ID, &token);
        assert_eq!(check("[2001:db8::1]:9"), Some(Proof::Visited));
        assert_eq!(check("[2001:db8::2]:4000"), None);
    }

    #[test]
    fn tokens_live_as_long_as_they_should() {
        let remote = address("192.0.2.1:4000");
        // Issued anywhere in an epoch, the first and its boundaries included.
        for issued in [at(0), at(5), at(10), at(19), at(86_399), at(86_400), at(1_000_000)] {
            let retry = tokens().retry(issued, remote, ID);
            let visit = tokens().visit(issued, remote);
            let check = |now, token| tokens().check(now, remote, ID, token);
            assert_eq!(check(issued, &retry), Some(Proof::Retry));
            assert_eq!(check(issued + Tokens::RETRY_LIFETIME, &retry), Some(Proof::Retry));
            assert_eq!(check(issued + Tokens::RETRY_LIFETIME + MS, &retry), None);
            assert_eq!(check(issued + Tokens::VISIT_LIFETIME, &visit), Some(Proof::Visited));
            assert_eq!(check(issued + Tokens::VISIT_LIFETIME + MS, &visit), None);
            if issued > Time::ZERO {
                assert_eq!(check(issued - MS, &visit), None, "from the future");
            }
        }
    }

    #[test]
    fn keys_rotate_and_differ_by_kind() {
        let tags = [
            (Proof::Retry, 0),
            (Proof::Retry, 10_000),
            (Proof::Visited, 0),
            (Proof::Visited, 86_400_000),
        ]
        .map(|(proof, issued_ms)| hmac::sign(&tokens().key(proof, issued_ms), b"").as_ref().to_vec());
        for (at, tag) in tags.iter().enumerate() {
            assert!(!tags[..at].contains(tag), "key {at} was there before");
        }
        let same = |a, b| {
            let [a, b] = [a, b].map(|ms| hmac::sign(&tokens().key(Proof::Retry, ms), b"").as_ref().to_vec());
            a == b
        };
        assert!(same(10_000, 19_999) && !same(19_999, 20_000));
    }

    #[test]
    fn another_secret_knows_nothing() {
        let remote = address("192.0.2.1:4000");
        let other = Tokens::new(&[8; 32]);
        assert_eq!(other.check(at(1), remote, ID, &tokens().retry(at(1), remote, ID)), None);
        assert_eq!(other.check(at(1), remote, ID, &tokens().visit(at(1), remote)), None);
        assert_ne!(other.reset(ID), tokens().reset(ID));
    }

    #[test]
    fn resets_depend_on_the_id() {
        assert_eq!(tokens().reset(ID), tokens().reset(ID));
        assert_ne!(tokens().reset(ID), tokens().reset(OTHER_ID));
    }

    proptest! {
        #[test]
        fn any_change_spoils_a_token(retry: bool, at_byte in 0..TOKEN_LEN, flip in 1..=u8::MAX, cut in 0..TOKEN_LEN) {
            let remote = address("192.0.2.1:4000");
            let good = if retry { tokens().retry(at(7), remote, ID) } else { tokens().visit(at(7), remote) };
            prop_assert!(tokens().check(at(7), remote, ID, &good).is_some());
            let mut token = good.to_vec();
            token[at_byte] ^= flip;
            prop_assert_eq!(tokens().check(at(7), remote, ID, &token), None);
            prop_assert_eq!(tokens().check(at(7), remote, ID, &good[..cut]), None);
            prop_assert_eq!(tokens().check(at(7), remote, ID, &[&good[..], &[0]].concat()), None);
        }

        #[test]
        fn any_bytes_are_no_token(token in prop::collection::vec(any::<u8>(), 0..64), now: u64) {
            prop_assert_eq!(tokens().check(Time::from_nanos(now), address("192.0.2.1:4000"), ID, &token), None);
        }
    }
}
