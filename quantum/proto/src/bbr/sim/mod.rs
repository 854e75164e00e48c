//! A small simulator of flows through one bottleneck, in virtual time, packet by packet.
//!
//! Data goes through a drop-tail queue, is delayed, and may be lost behind the bottleneck; acknowledgements, one each two packets or after
//! 5 ms, come back through the same loss and no queue. Same seed, same run.

mod link;
mod rivals;
mod sender;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

pub(super) use self::{
    link::{Link, Loss},
    sender::{App, Control, Flow},
};
use super::Random;
use crate::time::Time;

pub(super) const PACKET: u16 = 1500;
const ACK_DELAY: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The packet reaches the receiver.
    Arrive {
        flow: usize,
        number: u64,
    },
    /// The receiver has waited long enough for a second packet; the number of acknowledgements sent when the timer was set.
    Delayed {
        flow: usize,
        acks: u64,
    },
    /// An acknowledgement of what had been received by then.
    Ack {
        flow: usize,
        upto: usize,
    },
    /// The pacer, the application or the start of the flow.
    Wake {
        flow: usize,
    },
    /// Look for losses and timeouts.
    Timer {
        flow: usize,
    },
    /// The senders' host does something else for a while.
    Stall,
    /// The link changes its rate, or its delay.
    Rate {
        bits: u64,
    },
    Delay {
        one_way: Duration,
    },
}

/// What the receiver of a flow has.
#[derive(Default)]
struct Receiver {
    /// Packets in order of arrival; those acknowledged for certain are dropped from the front.
    log: VecDeque<u64>,
    dropped: usize,
    acked: usize,
    acks: u64,
    next: u64,
    timer: bool,
}

pub(super) struct Sim {
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    pub(super) link: Link,
    pub(super) flows: Vec<Flow>,
    receivers: Vec<Receiver>,
    random: Random,
    /// How long the host stalls and how long it then runs, both on the average.
    stalls: Option<(Duration, Duration)>,
    stalled_until: Time,
}

impl Sim {
    pub(super) fn new(link: Link, seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            events: BinaryHeap::new(),
            sequence: 0,
            link,
            flows: Vec::new(),
            receivers: Vec::new(),
            random: Random(seed),
            stalls: None,
            stalled_until: Time::ZERO,
        }
    }

    /// The senders' host stalls now and then: nothing that happens meanwhile is seen before the end of it.
    pub(super) fn stall(&mut self, length: Duration, every: Duration) {
        self.stalls = Some((length, every));
        self.at(self.now, Event::Stall);
    }

    pub(super) fn add(&mut self, control: Control, start: Duration) -> &mut Flow {
        let flow = self.flows.len();
        self.flows.push(Flow::new(control, Time::ZERO + start));
        self.receivers.push(Receiver::default());
        self.at(Time::ZERO + start, Event::Wake { flow });
        &mut self.flows[flow]
    }

    pub(super) fn change_rate(&mut self, at: Duration, mbit: u64) {
        self.at(Time::ZERO + at, Event::Rate { bits: mbit * 1_000_000 });
    }

    pub(super) fn change_rtt(&mut self, at: Duration, ms: u64) {
        self.at(
            Time::ZERO + at,
            Event::Delay {
                one_way: Duration::from_millis(ms) / 2,
            },
        );
    }

    fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    /// Runs until `end`; statistics are of the time since the last call of [`Self::reset`].
    pub(super) fn run(&mut self, end: Duration) {
        let end = Time::ZERO + end;
        while let Some(&Reverse((at, _, event))) = self.events.peek() {
            if at > end {
                break;
            }
            self.events.pop();
            self.now = at;
            self.handle(event);
        }
        self.now = end;
        self.link.advance(end);
    }

    /// Begins the statistics anew.
    pub(super) fn reset(&mut self) {
        self.link.reset(self.now);
        for flow in &mut self.flows {
            flow.stats = sender::FlowStats::default();
        }
    }

    fn handle(&mut self, event: Event) {
        if self.now < self.stalled_until
            && let Event::Ack { .. } | Event::Wake { .. } | Event::Timer { .. } = event
        {
            return self.at(self.stalled_until, event);
        }
        match event {
            Event::Stall => {
                if let Some((length, every)) = self.stalls {
                    self.stalled_until = self.now + self.about(length);
                    let next = self.stalled_until + self.about(every);
                    self.at(next, Event::Stall);
                }
            }
            Event::Arrive { flow, number } => self.arrive(flow, number),
            Event::Delayed { flow, acks } => {
                self.receivers[flow].timer = false;
                if self.receivers[flow].acks == acks {
                    self.acknowledge(flow);
                }
            }
            Event::Ack { flow, upto } => {
                let receiver = &mut self.receivers[flow];
                let fresh = upto.saturating_sub(receiver.dropped);
                receiver.dropped += fresh;
                let numbers: Vec<u64> = receiver.log.drain(..fresh).collect();
                if !numbers.is_empty() {
                    self.flows[flow].on_ack(self.now, &numbers);
                    self.send(flow);
                }
            }
            Event::Wake { flow } => {
                if self.flows[flow].wake.is_none_or(|at| at <= self.now) {
                    self.flows[flow].wake = None;
                    self.send(flow);
                }
            }
            Event::Timer { flow } => {
                self.flows[flow].timer = None;
                self.flows[flow].on_timer(self.now);
                self.send(flow);
            }
            Event::Rate { bits } => self.link.set_rate(self.now, bits),
            Event::Delay { one_way } => self.link.delay = one_way,
        }
    }

    /// Exponentially distributed around a mean.
    fn about(&mut self, mean: Duration) -> Duration {
        let uniform = (self.random.next() >> 11) as f64 / (1u64 << 53) as f64;
        mean.mul_f64(-(1.0 - uniform).ln())
    }

    fn arrive(&mut self, flow: usize, number: u64) {
        let receiver = &mut self.receivers[flow];
        receiver.log.push_back(number);
        let gap = number != receiver.next;
        receiver.next = receiver.next.max(number + 1);
        let waiting = receiver.dropped + receiver.log.len() - receiver.acked;
        if gap || waiting >= 2 {
            self.acknowledge(flow);
        } else if !receiver.timer {
            receiver.timer = true;
            let acks = receiver.acks;
            self.at(self.now + ACK_DELAY, Event::Delayed { flow, acks });
        }
    }

    fn acknowledge(&mut self, flow: usize) {
        let receiver = &mut self.receivers[flow];
        let upto = receiver.dropped + receiver.log.len();
        if upto == receiver.acked {
            return;
        }
        receiver.acked = upto;
        receiver.acks += 1;
        if let Some(arrival) = self.link.carry_back(self.now, &mut self.random) {
            self.at(arrival, Event::Ack { flow, upto });
        }
    }

    fn send(&mut self, flow: usize) {
        while let Some(number) = self.flows[flow].poll(self.now) {
            if let Some(arrival) = self.link.carry(self.now, u64::from(PACKET), &mut self.random) {
                self.at(arrival, Event::Arrive { flow, number });
            }
        }
        let (wake, timer) = self.flows[flow].deadlines(self.now);
        if let Some(at) = wake {
            self.at(at, Event::Wake { flow });
        }
        if let Some(at) = timer {
            self.at(at, Event::Timer { flow });
        }
    }
}
