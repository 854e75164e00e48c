use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{channel::MESSAGE_COST, types::Delivery};

const WINDOW: u32 = 100_000;
const MAX_MESSAGE: u32 = 20_000;

fn config() -> TransportConfig {
    TransportConfig {
        max_message: MAX_MESSAGE,
        receive_window: WINDOW,
        channel_window: WINDOW / 2,
        max_channels: 4,
        ..TransportConfig::default()
    }
}

fn inbox() -> Inbox {
    Inbox::new(&config())
}

fn frame(channel: u32, delivery: Delivery, id: u64, offset: u64, data: &[u8], fin: bool) -> MessageFrame {
    let data = Bytes::copy_from_slice(data);
    MessageFrame {
        channel: ChannelId(channel),
        delivery,
        id: MessageId(id),
        offset,
        fin,
        data,
    }
}

fn ordered(id: u64, offset: u64, data: &[u8], fin: bool) -> MessageFrame {
    frame(0, Delivery::Ordered, id, offset, data, fin)
}

fn unordered(id: u64, offset: u64, data: &[u8], fin: bool) -> MessageFrame {
    frame(0, Delivery::Unordered, id, offset, data, fin)
}

fn code(result: Result<(), TransportError>) -> CloseCode {
    result.unwrap_err().code
}

/// Everything that may be delivered: channel, id, data.
fn take(inbox: &mut Inbox) -> Vec<(u32, u64, Vec<u8>)> {
    let mut all = Vec::new();
    while inbox.has_messages() {
        let message = inbox.next().unwrap();
        all.push((message.channel.0, message.id.0, message.data.to_vec()));
    }
    assert_eq!(inbox.next(), None);
    all
}

#[test]
fn ordered_messages_wait_for_those_ahead_of_them() {
    let mut inbox = inbox();
    inbox.on_frame(ordered(2, 0, b"c", true)).unwrap();
    inbox.on_frame(ordered(1, 0, b"b", true)).unwrap();
    inbox
        .on_frame(frame(1, Delivery::Ordered, 0, 0, b"other channel", true))
        .unwrap();
    inbox.on_frame(unordered(7, 0, b"other kind", true)).unwrap();
    assert_eq!(
        take(&mut inbox),
        [(1, 0, b"other channel".to_vec()), (0, 7, b"other kind".to_vec())]
    );
    inbox.on_frame(ordered(0, 0, b"", true)).unwrap();
    assert_eq!(
        take(&mut inbox),
        [(0, 0, vec![]), (0, 1, b"b".to_vec()), (0, 2, b"c".to_vec())]
    );
}

#[test]
fn a_message_is_delivered_once_however_often_it_comes() {
    for delivery in [Delivery::Ordered, Delivery::Unordered] {
        let mut inbox = inbox();
        for _ in 0..3 {
            inbox.on_frame(frame(0, delivery, 0, 2, b"cd", true)).unwrap();
            inbox.on_frame(frame(0, delivery, 0, 0, b"abc", false)).unwrap();
            inbox.on_frame(frame(0, delivery, 1, 0, b"next", true)).unwrap();
        }
        assert_eq!(take(&mut inbox), [(0, 0, b"abcd".to_vec()), (0, 1, b"next".to_vec())]);
        inbox.on_frame(frame(0, delivery, 1, 0, b"next", true)).unwrap();
        assert_eq!(take(&mut inbox), []);
        assert_eq!(inbox.memory(), 8 * inbox_words(delivery), "nothing of them is kept");
    }
}

/// Words that the ids of delivered messages take: a `VecDeque` begins with four.
fn inbox_words(delivery: Delivery) -> usize {
    if delivery == Delivery::Unordered { 4 } else { 0 }
}

#[test]
fn an_end_may_come_without_bytes() {
    let mut inbox = inbox();
    inbox.on_frame(ordered(0, 3, b"", true)).unwrap();
    assert!(!inbox.has_messages());
    inbox.on_frame(ordered(0, 0, b"", false)).unwrap();
    inbox.on_frame(ordered(0, 0, b"abc", false)).unwrap();
    assert_eq!(take(&mut inbox), [(0, 0, b"abc".to_vec())]);
}

#[test]
fn a_message_has_one_length() {
    let first = [ordered(0, 4, b"ef", true), ordered(0, 0, b"abcdef", false)];
    for (first, second) in [
        (&first[0], ordered(0, 6, b"g", false)),
        (&first[0], ordered(0, 5, b"fg", false)),
        (&first[0], ordered(0, 0, b"abc", true)),
        (&first[0], ordered(0, 7, b"", true)),
        (&first[1], ordered(0, 0, b"abc", true)),
    ] {
        let mut inbox = inbox();
        inbox.on_frame(first.clone()).unwrap();
        assert_eq!(
            code(inbox.on_frame(second.clone())),
            CloseCode::PROTOCOL,
            "{first:?}, {second:?}"
        );
    }
    let mut inbox = inbox();
    inbox.on_frame(ordered(1, 0, b"waits", true)).unwrap();
    inbox.on_frame(ordered(1, 0, b"wait", false)).unwrap();
    assert_eq!(code(inbox.on_frame(ordered(1, 0, b"wait", true))), CloseCode::PROTOCOL);
}

#[test]
fn limits_are_exact() {
    let mut inbox = inbox();
    let len = u64::from(MAX_MESSAGE);
    inbox
        .on_frame(frame(3, Delivery::Ordered, 0, len - 1, b"x", true))
        .unwrap();
    assert_eq!(
        code(inbox.on_frame(frame(4, Delivery::Ordered, 0, 0, b"x", true))),
        CloseCode::LIMIT
    );
    assert_eq!(
        code(inbox.on_frame(frame(2, Delivery::Ordered, 0, len, b"x", true))),
        CloseCode::LIMIT
    );
    assert_eq!(code(inbox.on_frame(ordered(0, u64::MAX, b"x", true))), CloseCode::LIMIT);

    inbox.on_frame(unordered(65_536, 0, b"x", true)).unwrap();
    assert_eq!(
        code(inbox.on_frame(unordered(65_537, 0, b"x", true))),
        CloseCode::FLOW_CONTROL
    );
    assert_eq!(
        code(inbox.on_frame(unordered(u64::MAX, 0, b"x", true))),
        CloseCode::FLOW_CONTROL
    );
    inbox.on_frame(unordered(0, 0, b"x", true)).unwrap();
    inbox.on_frame(unordered(65_537, 0, b"x", true)).unwrap();
    assert_eq!(take(&mut inbox).len(), 3);
}

#[test]
fn flow_control_counts_the_largest_offset_and_the_cost_of_each_message() {
    let mut inbox = inbox();
    let half = u64::from(WINDOW / 2);
    // Two messages reach as far as the channel allows, with one byte each.
    let offset = MAX_MESSAGE - 1;
    inbox.on_frame(ordered(5, offset.into(), b"x", false)).unwrap();
    inbox.on_frame(ordered(6, offset.into(), b"x", false)).unwrap();
    let left = half - 2 * (u64::from(MAX_MESSAGE) + MESSAGE_COST) - MESSAGE_COST;
    inbox.on_frame(ordered(7, left - 1, b"x", false)).unwrap();
    // Below the largest offset nothing more is charged, and a duplicate costs nothing.
    inbox.on_frame(ordered(7, 0, &vec![0; left as usize], false)).unwrap();
    inbox.on_frame(ordered(7, 0, &vec![0; left as usize], false)).unwrap();
    assert_eq!(
        code(inbox.on_frame(ordered(7, left, b"x", false))),
        CloseCode::FLOW_CONTROL
    );
    assert_eq!(code(inbox.on_frame(ordered(8, 0, b"", true))), CloseCode::FLOW_CONTROL);
}

#[test]
fn the_connection_has_a_window_of_its_own() {
    let mut inbox = inbox();
    let full = vec![0; 9_968];
    for id in 0..10 {
        inbox
            .on_frame(frame(id as u32 % 4, Delivery::Unordered, id, 0, &full, true))
            .unwrap();
    }
    assert_eq!(
        code(inbox.on_frame(frame(3, Delivery::Unordered, 99, 0, b"", true))),
        CloseCode::FLOW_CONTROL
    );
}

#[test]
fn credit_comes_back_when_the_application_takes_messages() {
    let mut inbox = inbox();
    let full = vec![0; 9_968];
    for id in 0..5 {
        inbox.on_frame(ordered(id, 0, &full, true)).unwrap();
    }
    assert_eq!(
        (inbox.max_data(), inbox.max_channel_data()),
        (None, None),
        "nothing was taken"
    );
    inbox.next().unwrap();
    assert_eq!(
        (inbox.max_data(), inbox.max_channel_data()),
        (None, None),
        "too little was taken"
    );
    inbox.next().unwrap();
    assert_eq!(
        (inbox.max_data(), inbox.max_channel_data()),
        (None, Some((ChannelId(0), 70_000)))
    );
    inbox.next().unwrap();
    assert_eq!((inbox.max_data(), inbox.max_channel_data()), (Some(130_000), None));
    inbox.on_frame(ordered(5, 0, &full, true)).unwrap();
    inbox.on_frame(ordered(6, 0, &full, true)).unwrap();
    assert_eq!(code(inbox.on_frame(ordered(7, 0, b"", true))), CloseCode::FLOW_CONTROL);
}

#[test]
fn lost_limits_are_announced_again() {
    let mut inbox = inbox();
    for id in 0..3 {
        inbox.on_frame(ordered(id, 0, &[0; 9_968], true)).unwrap();
        inbox.next().unwrap();
    }
    assert_eq!(
        (inbox.max_data(), inbox.max_channel_data()),
        (Some(130_000), Some((ChannelId(0), 80_000)))
    );
    assert_eq!((inbox.max_data(), inbox.max_channel_data()), (None, None));
    inbox.on_max_data_lost();
    inbox.on_max_channel_data_lost(ChannelId(0));
    inbox.on_max_channel_data_lost(ChannelId(0));
    inbox.on_max_channel_data_lost(ChannelId(1));
    assert_eq!(
        (inbox.max_data(), inbox.max_channel_data()),
        (Some(130_000), Some((ChannelId(0), 80_000)))
    );
    assert_eq!((inbox.max_data(), inbox.max_channel_data()), (None, None));
}

/// The buffers that frames come in, as a driver receives them: many datagrams in one. Counts the bytes of those that something keeps.
#[derive(Default)]
struct Buffers(Arc<AtomicUsize>);

struct Buffer {
    bytes: Vec<u8>,
    kept: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Buffers {
    const LEN: usize = 1 << 16;

    /// Bytes at the beginning of a buffer of their own.
    fn receive(&self, data: &[u8]) -> Bytes {
        let mut bytes = vec![0; Self::LEN];
        bytes[..data.len()].copy_from_slice(data);
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        let kept = self.0.clone();
        Bytes::from_owner(Buffer { bytes, kept }).slice(..data.len())
    }

    fn kept(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn no_message_keeps_the_buffer_that_it_came_in() {
    let buffers = Buffers::default();
    for (number, len) in [0, 1, 511, 512, 1400, 20_000].into_iter().enumerate() {
        for delivery in [Delivery::Ordered, Delivery::Unordered] {
            // Ready, waiting for the one ahead of it, and not whole.
            for (id, fin) in [(0, true), (2, true), (3, false)] {
                let mut inbox = inbox();
                let mut frame = frame(0, delivery, id, 0, &[], fin);
                frame.data = buffers.receive(&vec![7; len]);
                inbox.on_frame(frame).unwrap();
                assert_eq!(buffers.kept(), 0, "message {number} of {len} bytes, {delivery:?} {id}");
            }
        }
    }
}

/// Id, offset, length and fin of the n-th frame.
type Attack = fn(u64) -> (u64, u64, usize, bool);

/// The frames of a peer that wants memory for few bytes: what is held stays within a small multiple of the window.
#[test]
fn memory_is_bounded_by_the_windows() {
    let window = 1 << 20;
    let config = TransportConfig {
        max_message: 1 << 18,
        receive_window: window,
        channel_window: window,
        max_channels: 64,
        ..TransportConfig::default()
    };
    let attacks: [Attack; 6] = [
        // One byte each, at the far end.
        |n| (n, (1 << 18) - 1, 1, false),
        // One byte each, behind a gap.
        |n| (n, 1, 1, false),
        // Nothing each.
        |n| (n, 0, 0, false),
        // Every other byte of one message.
        |n| (n / (1 << 17), 2 * (n % (1 << 17)) + 1, 1, false),
        // Whole messages that wait for the first one.
        |n| (n + 1, 0, 1, true),
        // Messages that fill a good part of a datagram, and wait for the application.
        |n| (n, 0, 512, true),
    ];
    for (number, attack) in attacks.into_iter().enumerate() {
        let mut inbox = Inbox::new(&config);
        let buffers = Buffers::default();
        let mut refused = None;
        for n in 0..2_000_000 {
            let (id, offset, len, fin) = attack(n);
            let mut frame = frame((id / 65_536) as u32, Delivery::Ordered, id % 65_536, offset, &[], fin);
            // Now and then one in a buffer of its own: if those were kept it would show.
            frame.data = match n % 1000 {
                0 => buffers.receive(&[7; 512][..len]),
                _ => Bytes::from_static(&[7; 512][..len]),
            };
            if let Err(error) = inbox.on_frame(frame) {
                refused = Some(error.code);
                break;
            }
        }
        assert_eq!(refused, Some(CloseCode::FLOW_CONTROL), "attack {number}");
        let memory = inbox.memory() + buffers.kept();
        assert!(memory < 6 * window as usize, "attack {number} holds {memory} bytes");
    }
}

proptest! {
    /// Anything may come: it is refused with one of three codes, and what is held stays bounded.
    #[test]
    fn hostile_frames_are_harmless(
        frames in prop::collection::vec(
            (0u32..6, any::<bool>(), prop_oneof![0u64..4, 0u64..70_000, any::<u64>()],
                prop_oneof![0u64..40, 0u64..25_000, any::<u64>()], 0usize..2000, any::<bool>(), any::<bool>()),
            0..200,
        ),
    ) {
        let mut inbox = inbox();
        for (channel, in_order, id, offset, len, fin, take) in frames {
            let delivery = if in_order { Delivery::Ordered } else { Delivery::Unordered };
            if let Err(error) = inbox.on_frame(frame(channel, delivery, id, offset, &vec![1; len], fin)) {
                prop_assert!([CloseCode::LIMIT, CloseCode::FLOW_CONTROL, CloseCode::PROTOCOL].contains(&error.code));
            }
            if take {
                inbox.next();
            }
            inbox.max_channel_data();
            inbox.max_data();
        }
        prop_assert!(inbox.memory() < 6 * WINDOW as usize + 8 * 10_240);
    }
}
