//! The bytes of messages, which both ends can work out.

use bytes::Bytes;
use quantum_proto::{ChannelId, Delivery, Side};

/// The side that this one talks to.
pub(crate) fn other(side: Side) -> Side {
    if side == Side::Client {
        Side::Server
    } else {
        Side::Client
    }
}

/// A message's bytes: its key and length, as far as there is room, and noise that follows from them and the seed.
pub(crate) fn body(seed: u64, from: Side, key: (ChannelId, Delivery, u64), len: usize) -> Bytes {
    let (channel, delivery, number) = key;
    let flags = u64::from(from == Side::Client) << 33 | u64::from(delivery == Delivery::Ordered) << 32;
    let mut state = seed ^ (flags | u64::from(channel.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.rotate_left(40);
    let mut bytes = Vec::with_capacity(len + 24);
    bytes.extend_from_slice(&(flags | u64::from(channel.0)).to_be_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&(len as u64).to_be_bytes());
    while bytes.len() < len {
        // xorshift64*, never at zero.
        state |= u64::from(state == 0);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

#[test]
fn bodies_differ_by_all_that_names_a_message() {
    let key = (ChannelId(1), Delivery::Ordered, 0);
    let one = body(1, Side::Client, key, 100);
    assert_eq!(one, body(1, Side::Client, key, 100));
    assert_ne!(one, body(2, Side::Client, key, 100));
    assert_ne!(one, body(1, Side::Server, key, 100));
    assert_ne!(one, body(1, Side::Client, (ChannelId(2), Delivery::Ordered, 0), 100));
    assert_ne!(one, body(1, Side::Client, (ChannelId(1), Delivery::Unordered, 0), 100));
    assert_ne!(one, body(1, Side::Client, (ChannelId(1), Delivery::Ordered, 1), 100));
    assert_ne!(one[..50], body(1, Side::Client, key, 50)[..]);
    assert!(body(1, Side::Client, key, 0).is_empty());
}
