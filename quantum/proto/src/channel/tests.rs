//! An outbox and an inbox with a bad network between them.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{config::TransportConfig, error::SendError, frame::MessageFrame, types::Priority};

const MAX_MESSAGE: u32 = 9_000;
const MAX_CHANNELS: u32 = 3;
const PRIORITIES: [Priority; 3] = [Priority::Interactive, Priority::Normal, Priority::Bulk];

/// What the network does to a chunk, in percent of the chunks. What is reported lost may have arrived, and what arrived may be reported late.
#[derive(Clone, Copy, Debug)]
struct Faults {
    lost: u32,
    duplicated: u32,
    spuriously_lost: u32,
}

struct Link {
    outbox: Outbox,
    inbox: Inbox,
    random: StdRng,
    faults: Faults,
    /// Chunks that are not yet at the receiver, in any order.
    under_way: Vec<(Chunk, Bytes)>,
    /// Acknowledgements and reports of losses that are not yet at the sender, in any order.
    reports: Vec<(Chunk, bool)>,
    /// By channel and kind: ids that may come next, and the messages that must.
    expected: BTreeMap<(ChannelId, Delivery), BTreeMap<u64, Bytes>>,
    sent: BTreeMap<(ChannelId, Delivery), u64>,
}

impl Link {
    fn new(seed: u64, faults: Faults, receive_window: u32) -> Self {
        let config = TransportConfig {
            max_message: MAX_MESSAGE,
            receive_window,
            channel_window: receive_window,
            max_channels: MAX_CHANNELS,
            ..TransportConfig::default()
        };
        let mut outbox = Outbox::new(30_000);
        let window = window(receive_window, MAX_MESSAGE);
        outbox.set_limits(window, window, MAX_CHANNELS, MAX_MESSAGE).unwrap();
        Self {
            outbox,
            inbox: Inbox::new(&config),
            random: StdRng::seed_from_u64(seed),
            faults,
            under_way: Vec::new(),
            reports: Vec::new(),
            expected: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn send(&mut self, channel: u32, delivery: Delivery, priority: Priority, len: usize) -> bool {
        let mut data = vec![0; len];
        self.random.fill(&mut data[..]);
        let data = Bytes::from(data);
        match self
            .outbox
            .send(ChannelId(channel), delivery, priority, false, data.clone())
        {
            Ok(()) => {
                let key = (ChannelId(channel), delivery);
                let id = self.sent.entry(key).or_default();
                self.expected.entry(key).or_default().insert(*id, data);
                *id += 1;
                true
            }
            Err(SendError::Blocked) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn transmit(&mut self) {
        let budget = self.random.random_range(0..1500);
        let at_least = PRIORITIES[self.random.random_range(0..3)];
        let urgent = self.outbox.most_urgent(false);
        let Some((chunk, data)) = self.outbox.next(at_least, |_, _, _| budget, false) else {
            assert!(
                budget < 64 || urgent.is_none_or(|urgent| urgent > at_least),
                "{urgent:?} was to be sent, but there was nothing"
            );
            return;
        };
        assert!(urgent.is_some_and(|urgent| urgent <= at_least));
        assert_eq!(chunk.len as usize, data.len());
        for _ in 0..=u32::from(self.chance(self.faults.duplicated)) {
            if self.chance(self.faults.lost) {
                self.reports.push((chunk, false));
            } else {
                self.under_way.push((chunk, data.clone()));
            }
        }
    }

    fn arrive(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.under_way.len());
        let (chunk, data) = self.under_way.swap_remove(at);
        let Chunk {
            channel,
            delivery,
            id,
            offset,
            fin,
            ..
        } = chunk;
        self.inbox
            .on_frame(MessageFrame {
                channel,
                delivery,
                id,
                offset: offset.into(),
                fin,
                data,
            })
            .unwrap();
        if self.chance(self.faults.spuriously_lost) {
            self.reports.push((chunk, false));
        }
        self.reports.push((chunk, true));
    }

    fn report(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.reports.len());
        match self.reports.swap_remove(at) {
            (chunk, true) => self.outbox.on_acked(chunk),
            (chunk, false) => self.outbox.on_lost(chunk),
        }
    }

    fn take(&mut self) {
        let Some(message) = self.inbox.next() else { return };
        let expected = self.expected.get_mut(&(message.channel, message.delivery)).unwrap();
        if message.delivery == Delivery::Ordered {
            assert_eq!(expected.keys().next(), Some(&message.id.0), "out of order");
        }
        assert_eq!(
            expected.remove(&message.id.0),
            Some(message.data),
            "not as it was sent, or twice"
        );
    }

    /// Limits reach the sender, but for those that are lost.
    fn credit(&mut self) {
        if let Some(limit) = self.inbox.max_data() {
            if self.chance(self.faults.lost) {
                self.inbox.on_max_data_lost();
            } else {
                self.outbox.on_max_data(limit);
            }
        }
        if let Some((channel, limit)) = self.inbox.max_channel_data() {
            if self.chance(self.faults.lost) {
                self.inbox.on_max_channel_data_lost(channel);
            } else {
                self.outbox.on_max_channel_data(channel, limit);
            }
        }
    }

    /// Anything that can happen next.
    fn step(&mut self) {
        match self.random.random_range(0..10) {
            0..4 => self.transmit(),
            4..6 => self.arrive(),
            6..8 => self.report(),
            8 => self.take(),
            _ => self.credit(),
        }
    }
}

fn messages() -> impl Strategy<Value = Vec<(u32, bool, usize, usize)>> {
    let len = prop_oneof![3 => 0usize..300, 1 => 300usize..=MAX_MESSAGE as usize, 1 => Just(MAX_MESSAGE as usize)];
    prop::collection::vec((0..MAX_CHANNELS, any::<bool>(), 0usize..3, len), 1..60)
}

proptest! {
    #[test]
    fn every_message_arrives_once_and_in_order(
        messages in messages(),
        seed in any::<u64>(),
        faults in (0u32..60, 0u32..40, 0u32..40),
        window in prop_oneof![Just(0u32), 0u32..200_000],
    ) {
        let faults = Faults { lost: faults.0, duplicated: faults.1, spuriously_lost: faults.2 };
        let mut link = Link::new(seed, faults, window);
        let mut steps = 0;
        for (channel, in_order, priority, len) in messages {
            let delivery = if in_order { Delivery::Ordered } else { Delivery::Unordered };
            while !link.send(channel, delivery, PRIORITIES[priority], len) {
                while !link.outbox.take_writable() {
                    link.step();
                    steps += 1;
                    prop_assert!(steps < 300_000, "the sender is blocked for ever");
                }
            }
            link.step();
        }
        while !(link.outbox.is_idle() && link.expected.values().all(BTreeMap::is_empty)) {
            link.step();
            steps += 1;
            prop_assert!(steps < 300_000, "stuck: {:?}", link.expected.values().map(BTreeMap::len).collect::<Vec<_>>());
        }
        // Whatever is still under way, or reported late, changes nothing.
        for _ in 0..2 * (link.under_way.len() + link.reports.len()) {
            link.arrive();
            link.report();
        }
        prop_assert!(link.outbox.is_idle() && !link.inbox.has_messages());
        prop_assert_eq!(link.outbox.most_urgent(false), None);
    }
}
