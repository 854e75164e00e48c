//! The network and its ends in virtual time.
//!
//! Owns everything that happens: hosts, links, background flows, the attacker's tap. One event at a time is taken from the queue and
//! carried out to its end. Invariant, checked at every datagram that a server sends: an address that has proved nothing is sent at most
//! three times what came from it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use quantum_proto::{ClientConfig, Connection, Ecn, EndpointConfig, ServerConfig, Time};

use crate::{
    app::App,
    flow::{self, Algorithm, Arrived, Flow},
    host::{Accept, Datagram, Host, Slot},
    link::{Arrival, Link, LinkSpec},
    queue::Queue,
    trace::Trace,
    wire,
};

/// Where servers are.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 443);
/// How often background flows look at their timers.
const TICK: Duration = Duration::from_millis(50);

/// A connection's end: the host, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) host: usize,
    pub(crate) slot: usize,
}

/// What an attacker on the path does with a datagram that was just sent.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) pass: bool,
    /// These arrive at their destination after that time.
    pub(crate) inject: Vec<(Duration, Datagram)>,
}

impl Verdict {
    pub(crate) const PASS: Self = Self {
        pass: true,
        inject: Vec::new(),
    };
    pub(crate) const DROP: Self = Self {
        pass: false,
        inject: Vec::new(),
    };

    pub(crate) fn and(after: Duration, datagram: Datagram) -> Self {
        Self {
            pass: true,
            inject: vec![(after, datagram)],
        }
    }
}

/// Sees every datagram as it is sent.
pub(crate) type Tap = Box<dyn FnMut(Time, &Datagram) -> Verdict>;

enum What {
    Arrive(Datagram),
    Timer(End),
    Wake(End),
    Flow(usize, Arrived),
    Script(Box<dyn FnOnce(&mut World)>),
}

/// Bytes between the server and an address, as seen at the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: usize,
    pub(crate) sent: usize,
    /// A packet came from there that only its owner can have made.
    proved: bool,
}

pub(crate) struct World {
    pub(crate) now: Time,
    seed: u64,
    queue: Queue<What>,
    pub(crate) hosts: Vec<Host>,
    routes: BTreeMap<SocketAddr, usize>,
    pub(crate) links: Vec<Link>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) trace: Trace,
    pub(crate) tap: Option<Tap>,
    pub(crate) traffic: BTreeMap<SocketAddr, Traffic>,
    /// Check that no address is sent more than three times what came from it before it has proved to be the peer's. Not valid where clients
    /// bring tokens.
    pub(crate) checks_amplification: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            seed,
            queue: Queue::default(),
            hosts: Vec::new(),
            routes: BTreeMap::new(),
            links: Vec::new(),
            flows: Vec::new(),
            trace: Trace::default(),
            tap: None,
            traffic: BTreeMap::new(),
            checks_amplification: true,
        }
    }

    /// A link; the number says which.
    pub(crate) fn link(&mut self, spec: LinkSpec) -> usize {
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.links.len() as u64);
        self.links.push(Link::new(spec, seed));
        self.links.len() - 1
    }

    /// The server, which must be the first host.
    pub(crate) fn server(&mut self, config: EndpointConfig, server: Arc<ServerConfig>, accept: Accept) -> usize {
        assert!(self.hosts.is_empty(), "the server comes first");
        self.host(Host::new(SERVER, config, None, Some((server, accept))))
    }

    /// A client behind these links.
    pub(crate) fn client(&mut self, up: usize, down: usize) -> usize {
        let number = self.hosts.len() as u8;
        let address = SocketAddr::from(([10, 0, 1, number], 5000));
        self.host(Host::new(
            address,
            endpoint_config(self.seed, number),
            Some((up, down)),
            None,
        ))
    }

    fn host(&mut self, host: Host) -> usize {
        let index = self.hosts.len();
        self.routes.insert(host.address, index);
        self.hosts.push(host);
        index
    }

    pub(crate) fn connect(&mut self, host: usize, config: &ClientConfig, app: App) -> End {
        let slot = self.hosts[host].connect(self.now, config, SERVER, app);
        let end = End { host, slot };
        self.drive(end);
        end
    }

    /// A background flow that begins now.
    pub(crate) fn flow(&mut self, algorithm: Algorithm, up: usize, down: usize) -> usize {
        self.flows.push(Flow::new(algorithm, up, down));
        let index = self.flows.len() - 1;
        self.queue.push(self.now, What::Flow(index, Arrived::Timer));
        index
    }

    pub(crate) fn slot(&self, end: End) -> &Slot {
        &self.hosts[end.host].slots[end.slot]
    }

    /// A host that was restarted has forgotten its connections.
    fn exists(&self, end: End) -> bool {
        end.slot < self.hosts[end.host].slots.len()
    }

    pub(crate) fn app(&self, end: End) -> &App {
        &self.slot(end).app
    }

    /// Calls a connection as its application, and does what follows.
    pub(crate) fn act<R>(&mut self, end: End, action: impl FnOnce(Time, &mut Connection, &mut App) -> R) -> R {
        let slot = &mut self.hosts[end.host].slots[end.slot];
        let result = action(self.now, &mut slot.conn, &mut slot.app);
        self.drive(end);
        result
    }

    /// Something happens at that time.
    pub(crate) fn at(&mut self, at: Time, script: impl FnOnce(&mut Self) + 'static) {
        self.queue.push(at, What::Script(Box::new(script)));
    }

    /// A client gets another address. What is under way to the old one is lost. `known`: it notices.
    pub(crate) fn move_client(&mut self, host: usize, to: SocketAddr, known: bool) {
        let from = std::mem::replace(&mut self.hosts[host].address, to);
        self.routes.remove(&from);
        self.routes.insert(to, host);
        for slot in 0..self.hosts[host].slots.len() {
            if known && !self.hosts[host].slots[slot].drained {
                self.act(End { host, slot }, |now, conn, _| conn.on_local_address_changed(now));
            }
        }
    }

    /// A datagram appears at its destination.
    pub(crate) fn inject(&mut self, after: Duration, datagram: Datagram) {
        self.queue.push(self.now + after, What::Arrive(datagram));
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time, |_| false);
    }

    /// Until the condition holds, or the time has come; returns whether it holds.
    pub(crate) fn run_until(&mut self, deadline: Time, condition: impl Fn(&Self) -> bool) -> bool {
        loop {
            if condition(self) {
                return true;
            }
            match self.queue.pop(deadline) {
                Some((at, what)) => self.step(at, what),
                None => {
                    self.now = self.now.max(deadline);
                    return false;
                }
            }
        }
    }

    fn step(&mut self, at: Time, what: What) {
        assert!(at >= self.now, "time goes back");
        self.now = at;
        match what {
            What::Arrive(datagram) => self.arrive(datagram),
            What::Timer(end) => {
                if self.exists(end) && self.hosts[end.host].ring(self.now, end.slot) {
                    self.drive(end);
                }
            }
            What::Wake(end) => {
                if self.exists(end) && self.slot(end).wake == Some(self.now) {
                    self.drive(end);
                }
            }
            What::Flow(index, arrived) => self.run_flow(index, arrived),
            What::Script(script) => script(self),
        }
    }

    fn arrive(&mut self, datagram: Datagram) {
        let Some(host) = self.routes.get(&datagram.to).copied() else {
            return;
        };
        if host == 0 && datagram.to == SERVER {
            let traffic = self.traffic.entry(datagram.from).or_default();
            traffic.received += datagram.bytes.len();
            traffic.proved |= wire::packets(&datagram.bytes).any(|packet| !packet.proves_nothing());
        }
        let mut out = Vec::new();
        let slot = self.hosts[host].receive(self.now, datagram, &mut out);
        self.send(host, out);
        if let Some(slot) = slot {
            self.drive(End { host, slot });
        }
    }

    fn drive(&mut self, end: End) {
        let mut out = Vec::new();
        let host = &mut self.hosts[end.host];
        let awaited = host.slots[end.slot].wake.filter(|at| *at > self.now);
        host.drive(self.now, end.slot, &mut out);
        let slot = &mut host.slots[end.slot];
        let timer = slot
            .conn
            .timeout()
            .filter(|_| !slot.drained)
            .map(|due| due.max(self.now));
        // A timer that was put off rings once too early and is set anew then.
        let set = timer.filter(|due| slot.timer.is_none_or(|set| *due < set));
        slot.timer = set.or(slot.timer);
        let wake = slot.wake.filter(|_| slot.wake != awaited);
        if let Some(at) = set {
            self.queue.push(at, What::Timer(end));
        }
        if let Some(at) = wake {
            assert!(at > self.now, "the application wants to be woken in the past");
            self.queue.push(at, What::Wake(end));
        }
        self.send(end.host, out);
    }

    fn send(&mut self, host: usize, datagrams: Vec<Datagram>) {
        for datagram in datagrams {
            self.trace.record(self.now, datagram.from, datagram.to, &datagram.bytes);
            if host == 0 {
                self.account(&datagram);
            }
            let verdict = self.tap.as_mut().map_or(Verdict::PASS, |tap| tap(self.now, &datagram));
            for (after, injected) in verdict.inject {
                self.inject(after, injected);
            }
            if verdict.pass {
                self.forward(host, datagram);
            }
        }
    }

    fn account(&mut self, datagram: &Datagram) {
        let traffic = self.traffic.entry(datagram.to).or_default();
        traffic.sent += datagram.bytes.len();
        assert!(
            !self.checks_amplification || traffic.proved || traffic.sent <= 3 * traffic.received,
            "{} was sent {} bytes for {} and has proved nothing",
            datagram.to,
            traffic.sent,
            traffic.received
        );
    }

    fn forward(&mut self, host: usize, datagram: Datagram) {
        let links = match self.hosts[host].links {
            Some((up, _)) => Some(up),
            None => self
                .routes
                .get(&datagram.to)
                .and_then(|to| self.hosts[*to].links)
                .map(|(_, down)| down),
        };
        let Some(link) = links else {
            return;
        };
        for arrival in self.links[link].offer(self.now, datagram.bytes.len()) {
            let arrived = as_arrived(datagram.clone(), arrival);
            self.queue.push(arrival.at, What::Arrive(arrived));
        }
    }

    fn run_flow(&mut self, index: usize, arrived: Arrived) {
        let now = self.now;
        let (up, down) = (self.flows[index].up, self.flows[index].down);
        match arrived {
            Arrived::Data(number) => {
                self.flows[index].delivered += 1;
                self.offer_flow(index, down, flow::ACK, Arrived::Ack(number));
                return;
            }
            Arrived::Ack(number) => self.flows[index].on_ack(now, number),
            Arrived::Timer => {
                self.flows[index].on_timer(now);
                self.queue.push(now + TICK, What::Flow(index, Arrived::Timer));
            }
        }
        while let Some(number) = self.flows[index].send(now) {
            self.offer_flow(index, up, flow::DATA, Arrived::Data(number));
        }
    }

    fn offer_flow(&mut self, index: usize, link: usize, bytes: usize, arrived: Arrived) {
        // A copy of an acknowledgement does nothing; one of data would be counted twice.
        if let Some(arrival) = self.links[link].offer(self.now, bytes).first() {
            self.queue.push(arrival.at, What::Flow(index, arrived));
        }
    }
}

/// The configuration of a host's endpoint: all that is random follows from the seed.
pub(crate) fn endpoint_config(seed: u64, host: u8) -> EndpointConfig {
    let mut bytes = [host; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    EndpointConfig::new(bytes, [host ^ 0x5a; 32])
}

fn as_arrived(mut datagram: Datagram, arrival: Arrival) -> Datagram {
    if let Some(bit) = arrival.flipped {
        datagram.bytes[bit / 8] ^= 1 << (bit % 8);
    }
    if arrival.mark && datagram.ecn.is_some() {
        datagram.ecn = Some(Ecn::Ce);
    }
    datagram
}
