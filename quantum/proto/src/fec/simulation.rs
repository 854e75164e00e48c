//! A model of one direction of a connection that carries small messages, to measure what plans are worth: packets are lost one by one,
//! plans are carried out as a connection does, with the real encoder and decoder, and what is not repaired is retransmitted. There is
//! no queue, no CPU and no handshake: figures are bounds for what the whole can reach.

mod channel;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::Duration,
};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};

use self::channel::Channel;
pub(super) use self::channel::Link;
use crate::{
    fec::{Decoder, Encoder, Planner},
    frame::Parity,
    number::PacketNumber,
    time::Time,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) interval: Duration,
    pub(super) messages: usize,
    pub(super) protected: bool,
}

#[derive(Debug)]
pub(super) struct Report {
    /// One-way delays in ms, sorted.
    pub(super) delays: Vec<f64>,
    /// Packets sent per message.
    pub(super) packets: f64,
    /// Bytes sent per byte without protection and loss.
    pub(super) bytes: f64,
}

impl Report {
    pub(super) fn quantile(&self, q: f64) -> f64 {
        self.delays[((self.delays.len() as f64 * q) as usize).min(self.delays.len() - 1)]
    }
}

/// IP packet: 28 bytes of IP and UDP, header, tag.
const PACKET: usize = 76;
/// A message of 200 bytes with its frame.
const MESSAGE: usize = 208;

#[derive(Clone, Debug)]
enum Content {
    Messages(Bytes),
    Parity(Parity),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Message(u32),
    /// A data or parity packet arrives.
    Packet(u64),
    /// An acknowledgement of the first so many received packets arrives, of which so many were repaired.
    Ack(usize, u64),
    /// Nothing interactive was sent since this packet.
    Quiet(u64),
    Parity(usize),
    LossTimer,
}

struct Sent {
    at: Time,
    content: Content,
    /// The messages that are retransmitted when it is lost.
    new: Vec<u32>,
    protected: bool,
}

pub(super) struct Simulation {
    link: Link,
    flow: Flow,
    random: StdRng,
    forth: Channel,
    back: Channel,
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,

    planner: Planner,
    encoder: Encoder,
    parities: u8,
    spread: Duration,
    waiting_parities: Vec<Parity>,
    interactive: u64,
    last_interactive: u64,
    repeats: BTreeMap<u64, Vec<u32>>,
    sent: Vec<Sent>,
    unacked: BTreeSet<u64>,
    largest_acked: Option<u64>,
    acked_messages: Vec<bool>,
    seen: (usize, u64),

    decoder: Decoder,
    received: Vec<u64>,
    has: BTreeSet<u64>,
    repaired: u64,
    delivered: Vec<Option<Time>>,

    bytes: usize,
}

impl Simulation {
    pub(super) fn new(link: Link, flow: Flow, seed: u64) -> Self {
        let mut simulation = Self {
            link,
            flow,
            random: StdRng::seed_from_u64(seed),
            forth: Channel::new(&link),
            back: Channel::new(&link),
            now: Time::ZERO,
            events: BinaryHeap::new(),
            sequence: 0,
            planner: Planner::new(),
            encoder: Encoder::new(),
            parities: 0,
            spread: Duration::ZERO,
            waiting_parities: Vec::new(),
            interactive: 0,
            last_interactive: 0,
            repeats: BTreeMap::new(),
            sent: Vec::new(),
            unacked: BTreeSet::new(),
            largest_acked: None,
            acked_messages: vec![false; flow.messages],
            seen: (0, 0),
            decoder: Decoder::new(),
            received: Vec::new(),
            has: BTreeSet::new(),
            repaired: 0,
            delivered: vec![None; flow.messages],
            bytes: 0,
        };
        simulation.at(Time::ZERO, Event::Message(0));
        simulation
    }

    pub(super) fn run(mut self) -> Report {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            match event {
                Event::Message(message) => {
                    if (message as usize) + 1 < self.flow.messages {
                        self.at(at + self.flow.interval, Event::Message(message + 1));
                    }
                    self.send_messages(vec![message]);
                }
                Event::Packet(number) => self.on_packet(number),
                Event::Ack(received, repaired) => self.on_ack(received, repaired),
                Event::Quiet(number) if number == self.last_interactive => self.on_quiet(),
                Event::Quiet(_) => {}
                Event::Parity(index) => {
                    let parity = self.waiting_parities[index].clone();
                    let size = PACKET + 16 + parity.symbol.len() / 4 * MESSAGE;
                    self.send(Content::Parity(parity), Vec::new(), false, size);
                }
                Event::LossTimer => self.detect_losses(),
            }
        }
        self.report()
    }

    fn report(self) -> Report {
        let start = |message: usize| Time::ZERO + self.flow.interval * message as u32;
        let delivered = self.delivered.iter().enumerate();
        let mut delays: Vec<f64> = delivered
            .map(|(message, at)| at.map_or(f64::INFINITY, |at| at.since(start(message)).as_secs_f64() * 1e3))
            .collect();
        delays.sort_by(f64::total_cmp);
        let messages = self.flow.messages as f64;
        Report {
            delays,
            packets: self.sent.len() as f64 / messages,
            bytes: self.bytes as f64 / messages / (PACKET + MESSAGE) as f64,
        }
    }

    fn at(&mut self, time: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time, self.sequence, event)));
    }

    fn send(&mut self, content: Content, new: Vec<u32>, protected: bool, size: usize) {
        let number = self.sent.len() as u64;
        self.bytes += size;
        self.sent.push(Sent {
            at: self.now,
            content,
            new,
            protected,
        });
        self.unacked.insert(number);
        if !self.forth.loses(&mut self.random) {
            self.at(self.now + self.link.rtt / 2, Event::Packet(number));
        }
        // Twice the RTT without an acknowledgement: a stand-in for the probe timeout.
        self.at(self.now + self.link.rtt * 2, Event::LossTimer);
    }

    /// A packet with these messages and what is to be repeated in it.
    fn send_messages(&mut self, new: Vec<u32>) {
        let plan = if self.flow.protected {
            self.planner.on_interactive(self.now, 200 * new.len());
            self.planner.plan(self.now, self.link.rtt)
        } else {
            crate::fec::Plan::none()
        };
        self.interactive += 1;
        let mut messages = new.clone();
        while let Some(entry) = self
            .repeats
            .first_entry()
            .filter(|entry| *entry.key() <= self.interactive)
        {
            messages.extend(entry.remove());
        }
        messages.retain(|&message| new.contains(&message) || !self.acked_messages[message as usize]);
        messages.dedup();
        messages.truncate(6);
        for &after in &plan.repeat_after {
            self.repeats
                .entry(self.interactive + u64::from(after))
                .or_default()
                .extend(&new);
        }

        let number = self.sent.len() as u64;
        let payload: Bytes = messages.iter().flat_map(|message| message.to_be_bytes()).collect();
        let protected = plan.parities > 0;
        let full = protected && self.encoder.add(PacketNumber(number), &payload);
        self.send(
            Content::Messages(payload),
            new,
            protected,
            PACKET + messages.len() * MESSAGE,
        );
        self.last_interactive = number;
        (self.parities, self.spread) = (plan.parities, plan.spread);
        if full {
            self.close();
        }
        if plan.close_after > Duration::ZERO {
            self.at(self.now + plan.close_after, Event::Quiet(number));
        }
    }

    fn on_quiet(&mut self) {
        if self.encoder.len() > 0 {
            self.close();
        } else {
            let waiting: BTreeSet<u32> = std::mem::take(&mut self.repeats).into_values().flatten().collect();
            let waiting: Vec<u32> = waiting
                .into_iter()
                .filter(|&m| !self.acked_messages[m as usize])
                .collect();
            for messages in waiting.chunks(5) {
                let payload: Bytes = messages.iter().flat_map(|message| message.to_be_bytes()).collect();
                self.send(
                    Content::Messages(payload),
                    Vec::new(),
                    false,
                    PACKET + messages.len() * MESSAGE,
                );
            }
        }
    }

    fn close(&mut self) {
        let mut at = self.now;
        for parity in self.encoder.close(usize::from(self.parities)) {
            self.waiting_parities.push(parity);
            self.at(at, Event::Parity(self.waiting_parities.len() - 1));
            at += self.spread;
        }
    }

    fn on_packet(&mut self, number: u64) {
        let mut repaired = Vec::new();
        let new = self.receive(number);
        match (self.sent[number as usize].content.clone(), new) {
            (Content::Messages(payload), true) => {
                self.deliver(&payload);
                if self.sent[number as usize].protected {
                    self.decoder.on_source(PacketNumber(number), payload, &mut repaired);
                }
            }
            (Content::Parity(parity), true) => self.decoder.on_parity(parity, &mut repaired).unwrap(),
            (_, false) => {}
        }
        for (number, payload) in repaired {
            if self.receive(number.0) {
                let Content::Messages(sent) = &self.sent[number.0 as usize].content else {
                    unreachable!()
                };
                assert_eq!(&payload, sent);
                self.repaired += 1;
                self.deliver(&payload);
            }
        }
        if !self.back.loses(&mut self.random) {
            self.at(
                self.now + self.link.rtt / 2,
                Event::Ack(self.received.len(), self.repaired),
            );
        }
    }

    fn receive(&mut self, number: u64) -> bool {
        let new = self.has.insert(number);
        if new {
            self.received.push(number);
        }
        new
    }

    fn deliver(&mut self, payload: &[u8]) {
        for message in payload.chunks(4) {
            let message = u32::from_be_bytes(message.try_into().unwrap()) as usize;
            self.delivered[message].get_or_insert(self.now);
        }
    }

    fn on_ack(&mut self, received: usize, repaired: u64) {
        if received <= self.seen.0 {
            return;
        }
        let mut acked = self.received[self.seen.0..received].to_vec();
        acked.sort_unstable();
        self.planner.on_repaired(repaired - self.seen.1);
        self.seen = (received, repaired);
        for number in acked {
            if !self.unacked.remove(&number) {
                self.planner.on_spurious(1);
            }
            self.planner.on_fate(PacketNumber(number), false);
            self.largest_acked = self.largest_acked.max(Some(number));
            if let Content::Messages(payload) = &self.sent[number as usize].content {
                for message in payload.chunks(4) {
                    self.acked_messages[u32::from_be_bytes(message.try_into().unwrap()) as usize] = true;
                }
            }
        }
        self.detect_losses();
    }

    /// RFC 9002: three later packets, or 9/8 of the RTT. Twice the RTT stands for a probe that was answered.
    fn detect_losses(&mut self) {
        let (rtt, largest) = (self.link.rtt, self.largest_acked);
        let mut lost = Vec::new();
        for &number in &self.unacked {
            let deadline = self.sent[number as usize].at + rtt * 9 / 8;
            let later = largest.is_some_and(|largest| number < largest);
            let probed = self.sent[number as usize].at + rtt * 2 <= self.now;
            if probed || later && (largest >= Some(number + 3) || deadline <= self.now) {
                lost.push(number);
            } else if later {
                self.sequence += 1;
                self.events.push(Reverse((deadline, self.sequence, Event::LossTimer)));
            } else {
                break;
            }
        }
        for number in lost {
            self.unacked.remove(&number);
            self.planner.on_fate(PacketNumber(number), true);
            let mut again = self.sent[number as usize].new.clone();
            again.retain(|&message| !self.acked_messages[message as usize]);
            if !again.is_empty() {
                self.send_messages(again);
            }
        }
    }
}
