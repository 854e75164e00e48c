//! What an end of a connection says, and what it makes of what it hears.
//!
//! A message's bytes follow from the seed, its direction, channel, delivery and number: the receiver checks each at once. Events are
//! taken as edges: a reader reads only after `Readable`, and a blocked sender tries again only after `Writable`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use quantum_proto::{ChannelId, Connection, ConnectionError, Delivery, Event, Priority, SendError, Side, Time};

use crate::body::{body, other};

/// A message's channel, delivery, priority and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) channel: ChannelId,
    pub(crate) delivery: Delivery,
    pub(crate) priority: Priority,
    pub(crate) len: usize,
}

impl Kind {
    /// A small urgent message, unordered, on a channel of its own.
    pub(crate) const RT: Self = Self {
        channel: ChannelId(1),
        delivery: Delivery::Unordered,
        priority: Priority::Interactive,
        len: 200,
    };
    /// 16 KiB that can wait.
    pub(crate) const BULK: Self = Self {
        channel: ChannelId(2),
        delivery: Delivery::Ordered,
        priority: Priority::Bulk,
        len: 16 << 10,
    };
}

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// After the handshake.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
}

/// Where messages come from.
#[derive(Clone, Debug)]
enum Source {
    /// In this order, each not before its time.
    Jobs(VecDeque<Job>),
    /// As many as are taken.
    Bulk { kind: Kind, until: Duration },
    /// One every interval, however the earlier ones fare.
    Rate {
        kind: Kind,
        interval: Duration,
        next: Duration,
        until: Duration,
    },
}

impl Source {
    /// The next message: when it is due, and what it is.
    fn peek(&self, now: Duration) -> Option<Job> {
        match self {
            Self::Jobs(jobs) => jobs.front().copied(),
            Self::Bulk { kind, until } => (now < *until).then_some(Job { at: now, kind: *kind }),
            Self::Rate { kind, next, until, .. } => (next < until).then_some(Job { at: *next, kind: *kind }),
        }
    }

    fn advance(&mut self) {
        match self {
            Self::Jobs(jobs) => drop(jobs.pop_front()),
            Self::Bulk { .. } => {}
            Self::Rate { next, interval, .. } => *next += *interval,
        }
    }
}

/// A message that was sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) channel: ChannelId,
    pub(crate) delivery: Delivery,
    pub(crate) number: u64,
    pub(crate) len: usize,
    /// Sent: when it was due.
    pub(crate) at: Time,
}

impl Record {
    pub(crate) fn key(&self) -> (ChannelId, Delivery, u64) {
        (self.channel, self.delivery, self.number)
    }
}

/// Numbers of a channel that arrived.
#[derive(Clone, Debug, Default)]
struct Seen {
    next: u64,
    above: BTreeSet<u64>,
}

impl Seen {
    /// `false`: it was there before.
    fn add(&mut self, number: u64) -> bool {
        if number < self.next || !self.above.insert(number) {
            return false;
        }
        while self.above.remove(&self.next) {
            self.next += 1;
        }
        true
    }
}

#[derive(Clone, Debug)]
pub(crate) struct App {
    seed: u64,
    side: Side,
    /// Each with whether it waits for room.
    sources: Vec<(Source, bool)>,
    turn: usize,
    early: Vec<Kind>,
    echoes: bool,
    /// Takes messages that have arrived.
    pub(crate) reads: bool,
    /// Finishes the connection when there is nothing more to say.
    finishes: bool,
    numbers: BTreeMap<(ChannelId, Delivery), u64>,
    seen: BTreeMap<(ChannelId, Delivery), Seen>,
    readable: bool,
    pub(crate) sent: Vec<Record>,
    pub(crate) received: Vec<Record>,
    pub(crate) datagrams: Vec<Bytes>,
    pub(crate) connected: Option<Time>,
    pub(crate) closed: Option<(Time, ConnectionError)>,
    pub(crate) moves: u32,
    pub(crate) blocked: u64,
    /// What must not have happened.
    pub(crate) faults: Vec<String>,
}

impl App {
    /// Both ends of a connection have the same seed.
    pub(crate) fn new(seed: u64, side: Side) -> Self {
        Self {
            seed,
            side,
            sources: Vec::new(),
            turn: 0,
            early: Vec::new(),
            echoes: false,
            reads: true,
            finishes: false,
            numbers: BTreeMap::new(),
            seen: BTreeMap::new(),
            readable: false,
            sent: Vec::new(),
            received: Vec::new(),
            datagrams: Vec::new(),
            connected: None,
            closed: None,
            moves: 0,
            blocked: 0,
            faults: Vec::new(),
        }
    }

    pub(crate) fn jobs(self, jobs: impl IntoIterator<Item = Job>) -> Self {
        self.source(Source::Jobs(jobs.into_iter().collect()))
    }

    /// One message as soon as the handshake is through.
    pub(crate) fn one(self, kind: Kind) -> Self {
        self.jobs([Job {
            at: Duration::ZERO,
            kind,
        }])
    }

    pub(crate) fn bulk(self, kind: Kind, until: Duration) -> Self {
        self.source(Source::Bulk { kind, until })
    }

    pub(crate) fn rate(self, kind: Kind, per_second: u32, until: Duration) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        self.source(Source::Rate {
            kind,
            interval,
            next: Duration::ZERO,
            until,
        })
    }

    /// Before the handshake, if the session is resumed; afterwards otherwise.
    pub(crate) fn early(mut self, kind: Kind) -> Self {
        self.early.push(kind);
        self
    }

    /// Answers every message with one of the same kind.
    pub(crate) fn echoing(self) -> Self {
        Self { echoes: true, ..self }.jobs([])
    }

    pub(crate) fn deaf(self) -> Self {
        Self { reads: false, ..self }
    }

    pub(crate) fn finishing(self) -> Self {
        Self { finishes: true, ..self }
    }

    fn source(mut self, source: Source) -> Self {
        self.sources.push((source, false));
        self
    }

    /// Nothing more will be sent.
    pub(crate) fn has_said_all(&self, now: Time) -> bool {
        let since = |connected| now.since(connected);
        self.early.is_empty()
            && self
                .connected
                .is_some_and(|at| self.sources.iter().all(|(source, _)| source.peek(since(at)).is_none()))
    }

    /// Adds a message to be sent now.
    pub(crate) fn push(&mut self, now: Time, kind: Kind) {
        let at = self.connected.map_or(Duration::ZERO, |connected| now.since(connected));
        self.sources
            .push((Source::Jobs(VecDeque::from([Job { at, kind }])), false));
    }

    /// Something happened to the connection, or the time has come that was asked for. Returns when to be called again.
    pub(crate) fn poll(&mut self, now: Time, conn: &mut Connection, events: &[Event]) -> Option<Time> {
        self.hear(now, conn, events);
        if self.readable && self.reads {
            self.readable = false;
            self.read(now, conn);
        }
        for kind in std::mem::take(&mut self.early) {
            let data = self.body(kind.channel, kind.delivery, self.number(kind), kind.len);
            match conn.send_replay_safe(kind.channel, kind.delivery, kind.priority, data) {
                Ok(()) => self.record(now, kind),
                Err(error) => self.faults.push(format!("an early message was refused: {error}")),
            }
        }
        let connected = self.connected.filter(|_| self.closed.is_none())?;
        let wake = self.send(now, connected, conn);
        if self.finishes && self.has_said_all(now) {
            self.finishes = false;
            conn.finish(now);
        }
        wake
    }

    fn hear(&mut self, now: Time, conn: &Connection, events: &[Event]) {
        for event in events {
            match event {
                Event::Connected if self.connected.is_some() => self.faults.push("connected twice".to_owned()),
                Event::Connected => self.connected = Some(now),
                Event::Readable | Event::DatagramReadable => self.readable = true,
                Event::Writable => self.sources.iter_mut().for_each(|(_, blocked)| *blocked = false),
                Event::Moved(to) => {
                    self.moves += 1;
                    if conn.remote() != *to {
                        self.faults
                            .push(format!("moved to {to}, but the peer is at {}", conn.remote()));
                    }
                }
                Event::Closed(_) if self.closed.is_some() => self.faults.push("closed twice".to_owned()),
                Event::Closed(error) => self.closed = Some((now, error.clone())),
                Event::Drained if self.closed.is_none() => self.faults.push("drained, but not closed".to_owned()),
                Event::Drained => {}
            }
        }
    }

    fn read(&mut self, now: Time, conn: &mut Connection) {
        while let Some(data) = conn.recv_datagram() {
            self.datagrams.push(data);
        }
        while let Some(message) = conn.recv() {
            let (channel, delivery, number) = (message.channel, message.delivery, message.id.0);
            let record = Record {
                channel,
                delivery,
                number,
                len: message.data.len(),
                at: now,
            };
            let seen = self.seen.entry((channel, delivery)).or_default();
            if delivery == Delivery::Ordered && number != seen.next {
                self.faults
                    .push(format!("out of order: {record:?} instead of number {}", seen.next));
            }
            if !seen.add(number) {
                self.faults.push(format!("delivered twice: {record:?}"));
            }
            if message.data != body(self.seed, other(self.side), record.key(), record.len) {
                self.faults.push(format!("other bytes than were sent: {record:?}"));
            }
            self.received.push(record);
            if self.echoes {
                self.push(
                    now,
                    Kind {
                        channel,
                        delivery,
                        priority: Priority::Interactive,
                        len: record.len,
                    },
                );
            }
        }
    }

    /// Sends what is due; returns when the next message is. Each source says one thing in its turn, so that none starves the others
    /// when there is little room.
    fn send(&mut self, now: Time, connected: Time, conn: &mut Connection) -> Option<Time> {
        let mut said = true;
        while std::mem::take(&mut said) {
            for n in 0..self.sources.len() {
                let index = (n + self.turn) % self.sources.len();
                said |= self.say(now, connected, conn, index);
            }
            self.turn += 1;
        }
        self.sources
            .retain(|(source, _)| !matches!(source, Source::Jobs(jobs) if jobs.is_empty()));
        let waiting = self.sources.iter().filter(|(_, blocked)| !blocked);
        waiting
            .filter_map(|(source, _)| source.peek(now.since(connected)))
            .map(|job| connected + job.at)
            .min()
    }

    /// Sends one message of a source, if one is due and taken.
    fn say(&mut self, now: Time, connected: Time, conn: &mut Connection, index: usize) -> bool {
        let (source, false) = &self.sources[index] else {
            return false;
        };
        let Some(Job { at, kind }) = source
            .peek(now.since(connected))
            .filter(|job| connected + job.at <= now)
        else {
            return false;
        };
        let data = self.body(kind.channel, kind.delivery, self.number(kind), kind.len);
        match conn.send(kind.channel, kind.delivery, kind.priority, data) {
            Ok(()) => self.record(connected + at, kind),
            Err(error @ (SendError::Blocked | SendError::Closed)) => {
                self.blocked += u64::from(error == SendError::Blocked);
                self.sources[index].1 = true;
                return false;
            }
            Err(error) => self.faults.push(format!("{kind:?} was refused: {error}")),
        }
        self.sources[index].0.advance();
        true
    }

    fn number(&self, kind: Kind) -> u64 {
        self.numbers.get(&(kind.channel, kind.delivery)).copied().unwrap_or(0)
    }

    fn body(&self, channel: ChannelId, delivery: Delivery, number: u64, len: usize) -> Bytes {
        body(self.seed, self.side, (channel, delivery, number), len)
    }

    fn record(&mut self, at: Time, kind: Kind) {
        let number = self.numbers.entry((kind.channel, kind.delivery)).or_default();
        self.sent.push(Record {
            channel: kind.channel,
            delivery: kind.delivery,
            number: *number,
            len: kind.len,
            at,
        });
        *number += 1;
    }
}
