//! Entry points for fuzzers: the readers of hostile bytes that are not public. Not part of the API; each panics when what it checks
//! does not hold.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    frame::{Frame, Frames},
    number::PacketNumber,
    params::Params,
    time::Time,
    token::Tokens,
    types::{ConnectionId, Side},
};

/// Reads a payload. What is read can be written, and is read again as the same.
pub fn frames(ack: u64, payload: &[u8]) {
    let ack = PacketNumber(ack >> 2);
    let mut frames = Frames::new(ack, Bytes::copy_from_slice(payload));
    while let Some(frame) = frames.next() {
        let Ok(frame) = frame else {
            assert!(frames.next().is_none(), "frames after a malformed one");
            return;
        };
        let mut written = Vec::new();
        frame.encode(ack, &mut written);
        let mut again = Frames::new(ack, written.into());
        assert_eq!(again.next(), Some(Ok(frame)));
        assert!(again.next().is_none(), "a frame was written as two");
    }
}

/// Writes frames of every type, as a payload to be mutated. `choose` gives numbers.
pub fn valid_frames(ack: u64, mut choose: impl FnMut() -> u64) -> Vec<u8> {
    let ack = PacketNumber(ack >> 2);
    let mut payload = Vec::new();
    for _ in 0..1 + choose() % 8 {
        sample(ack, &mut choose).encode(ack, &mut payload);
    }
    payload
}

fn sample(ack: PacketNumber, choose: &mut impl FnMut() -> u64) -> Frame {
    use crate::{
        error::CloseCode,
        frame::{Ack, Block, MessageFrame, Parity},
        types::{ChannelId, Delivery, MessageId},
    };
    // Of all magnitudes, within a varint.
    let mut number = || {
        let shift = 2 + choose() % 60;
        choose() >> shift
    };
    let data = |len: u64| Bytes::from(vec![0x5a; (len % 100) as usize]);
    match number() % 16 {
        0 => Frame::Padding(1 + (number() % 50) as usize),
        1 => Frame::Ping,
        2 => {
            let first = ack.0 + 1 + number() % 1000;
            let last = first + number() % 1000;
            let above = last + 2 + number() % 1000;
            let blocks = [(above, above), (first, last)].map(|(first, last)| Block {
                first: PacketNumber(first),
                last: PacketNumber(last),
            });
            let ecn = (number() % 2 == 0).then(|| [number(), number(), number()]);
            Frame::Ack(Ack {
                delay_us: number(),
                repaired: number(),
                blocks: blocks.into_iter().filter(|block| block.last.0 < 1 << 62).collect(),
                ecn,
            })
        }
        3 => Frame::Crypto {
            offset: number() >> 1,
            data: data(number()),
        },
        4 => Frame::Floor(PacketNumber(number())),
        5 => Frame::MaxData(number()),
        6 => Frame::MaxChannelData(ChannelId(number() as u32), number()),
        7 => Frame::PathChallenge(number().to_be_bytes()),
        8 => Frame::PathResponse(number().to_be_bytes()),
        9 => Frame::NewConnectionId {
            sequence: number(),
            id: ConnectionId(Uuid::from_u128(u128::from(number()))),
            reset_token: [7; 16],
        },
        10 => Frame::RetireConnectionId(number()),
        11 => Frame::Token(data(number())),
        12 => Frame::Close {
            code: CloseCode(number()),
            reason: "because".to_owned(),
        },
        13 => {
            let first = number() >> 1;
            let sources = (0..1 + number() % 10)
                .map(|source| PacketNumber(first + 3 * source))
                .collect();
            Frame::Parity(Parity {
                sources,
                index: (number() % 3) as u8,
                symbol: data(number()),
            })
        }
        14 => Frame::Message(MessageFrame {
            channel: ChannelId(number() as u32),
            delivery: if number() % 2 == 0 {
                Delivery::Ordered
            } else {
                Delivery::Unordered
            },
            id: MessageId(number()),
            offset: number() >> 34,
            fin: number() % 2 == 0,
            data: data(number()),
        }),
        _ => Frame::Datagram(data(number())),
    }
}

/// Reads transport parameters of either side. What is read can be written, and is read again as the same.
pub fn params(bytes: &[u8]) {
    for side in [Side::Client, Side::Server] {
        if let Ok(params) = Params::decode(side, bytes) {
            let written = params.encode();
            assert_eq!(Params::decode(side, &written).as_ref(), Ok(&params));
        }
    }
}

/// Transport parameters to be mutated.
pub fn valid_params() -> Vec<u8> {
    let id = ConnectionId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    Params::ours(&crate::config::TransportConfig::default(), id, Some([9; 16])).encode()
}

/// Changes a genuine token by `mutate`; it must then prove nothing, at any time.
pub fn token(now_ms: u64, visit: bool, mutate: impl FnOnce(&mut Vec<u8>)) {
    let at = |millis: u64| Time::from_nanos(millis.saturating_mul(1_000_000));
    let tokens = Tokens::new(&[7; 32]);
    let id = ConnectionId(Uuid::from_u128(7));
    let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7);
    let now_ms = now_ms % (1 << 40);
    let genuine = match visit {
        true => tokens.visit(at(now_ms), remote),
        false => tokens.retry(at(now_ms), remote, id),
    };
    assert!(
        tokens.check(at(now_ms), remote, id, &genuine).is_some(),
        "a genuine token"
    );
    let mut changed = genuine.to_vec();
    mutate(&mut changed);
    for now_ms in [0, now_ms, now_ms + 1, now_ms + 20_000, now_ms + (1 << 41)] {
        let proves = tokens.check(at(now_ms), remote, id, &changed).is_some();
        assert!(!proves || changed == genuine, "a changed token was accepted");
    }
}
