//! Two endpoints, their connections, and a network of which the fuzzer is the master.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use quantum_proto::{
    ClientConfig, CloseCode, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Ecn, Endpoint,
    EndpointConfig, Event, QlogSink, ServerConfig, Side, Time, TransportConfig,
};

use crate::{model::Speech, tls};

/// Datagrams that are on their way or may be replayed.
const WIRE_MAX: usize = 512;
const HISTORY_MAX: usize = 128;
/// More datagrams or timers at one moment mean that a connection turns in circles.
const ENDLESS: usize = 5_000;
/// The code by which the fuzzer closes connections.
pub(crate) const CODE: CloseCode = CloseCode::application(7);
/// Ids that lead to a connection: the one in use, unused ones, and those that retire.
const IDS_MAX: usize = 1 + 5 + 8 + 4;

#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) bytes: Vec<u8>,
}

/// A connection at one end.
pub(crate) struct Line {
    pub(crate) conn: Box<Connection>,
    /// Which client began it,
    pub(crate) pair: usize,
    /// or seemed to: an attacker replayed its first packets.
    pub(crate) zombie: bool,
    pub(crate) connected: bool,
    pub(crate) closed: Option<ConnectionError>,
}

/// What a client and its server say to each other.
#[derive(Default)]
pub(crate) struct Pair {
    pub(crate) up: Speech,
    pub(crate) down: Speech,
    /// The server has accepted it,
    accepted: bool,
    /// and again, when the first connection was gone and the client still in its handshake; or an end is hostile: who says what to whom is
    /// not known.
    pub(crate) torn: bool,
}

pub(crate) struct World {
    pub(crate) now: Time,
    /// Server and client.
    endpoints: [Endpoint; 2],
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) lines: [BTreeMap<ConnectionHandle, Line>; 2],
    pub(crate) pairs: Vec<Pair>,
    /// The first ids of clients, to know them by.
    ids: BTreeMap<quantum_proto::ConnectionId, usize>,
    pub(crate) wire: VecDeque<Datagram>,
    pub(crate) history: VecDeque<Datagram>,
    config: ClientConfig,
    logs: bool,
    /// An end has said what it may not: the other may close with any code, or not understand the rest.
    hostile: bool,
    /// Timers that rang at the present moment.
    rang: usize,
}

pub(crate) const SERVER: usize = 0;
pub(crate) const CLIENT: usize = 1;

/// Checks the form of records.
struct Checked;

impl QlogSink for Checked {
    fn event(&mut self, record: &str) {
        assert!(record.starts_with("\u{1e}{") && record.ends_with("}\n"), "{record:?}");
        assert_eq!(record.matches('\n').count(), 1, "{record:?}");
    }
}

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port)
}

impl World {
    pub(crate) fn new(seed: u8, transport: TransportConfig, retries: bool, logs: bool) -> Self {
        let mut server = EndpointConfig::new([seed; 32], [1; 32]);
        if retries {
            server.retry_above = 0;
        }
        let config: Arc<ServerConfig> = tls::server(transport.clone());
        Self {
            now: Time::ZERO + Duration::from_secs(1),
            endpoints: [
                Endpoint::new(server, Some(config)),
                Endpoint::new(EndpointConfig::new([seed ^ 0xff; 32], [2; 32]), None),
            ],
            addresses: [address(1, 443), address(2, 5000)],
            lines: Default::default(),
            pairs: Vec::new(),
            ids: BTreeMap::new(),
            wire: VecDeque::new(),
            history: VecDeque::new(),
            config: tls::client(transport),
            logs,
            hostile: false,
            rang: 0,
        }
    }

    pub(crate) fn connect(&mut self) {
        let (handle, conn) = self.endpoints[CLIENT]
            .connect(self.now, &self.config, self.addresses[SERVER], tls::NAME)
            .unwrap();
        let pair = self.pairs.len();
        self.pairs.push(Pair::default());
        self.ids.insert(conn.id(), pair);
        self.add(CLIENT, handle, conn, pair, false);
    }

    fn add(&mut self, end: usize, handle: ConnectionHandle, mut conn: Box<Connection>, pair: usize, zombie: bool) {
        if self.logs {
            conn.set_qlog(self.now, Box::new(Checked));
        }
        let line = Line {
            conn,
            pair,
            zombie,
            connected: false,
            closed: None,
        };
        assert!(
            self.lines[end].insert(handle, line).is_none(),
            "a handle was given twice"
        );
        self.settle(end, handle);
    }

    /// A datagram arrives.
    pub(crate) fn arrive(&mut self, datagram: Datagram) {
        let Some(end) = self.addressee(&datagram) else { return };
        let Datagram { from, ecn, bytes, .. } = datagram;
        let event = self.endpoints[end].on_datagram(self.now, from, ecn, BytesMut::from(&bytes[..]));
        match event {
            DatagramEvent::Known(handle, event) => {
                let line = self.lines[end].get_mut(&handle).expect("a known connection");
                line.conn.on_event(self.now, event);
                self.settle(end, handle);
            }
            DatagramEvent::New(handle, mut conn, event) => {
                conn.on_event(self.now, event);
                let pair = *self.ids.get(&conn.id()).expect("nobody else begins connections");
                // A client that is still in its handshake may have to do with a second connection of the server, when the first is gone.
                let client = self.lines[CLIENT].values().find(|line| line.pair == pair);
                let zombie = client.is_none_or(|client| client.connected || client.closed.is_some());
                self.pairs[pair].torn |= !zombie && std::mem::replace(&mut self.pairs[pair].accepted, true);
                self.add(end, handle, conn, pair, zombie);
            }
            DatagramEvent::Reply(transmit, reply) => {
                assert!(reply.len() <= 3 * bytes.len(), "an amplifying answer");
                assert_eq!(transmit.bytes, reply.len());
                self.post(end, transmit.remote, None, reply);
            }
            DatagramEvent::Ignored => {}
        }
    }

    /// The client has had other addresses before; who sends there now reaches nobody.
    fn addressee(&self, datagram: &Datagram) -> Option<usize> {
        self.addresses.iter().position(|address| *address == datagram.to)
    }

    fn post(&mut self, end: usize, to: SocketAddr, ecn: Option<Ecn>, bytes: Vec<u8>) {
        assert!(
            !bytes.is_empty() && bytes.len() <= 1500,
            "a datagram of {} bytes",
            bytes.len()
        );
        let datagram = Datagram {
            from: self.addresses[end],
            to,
            ecn,
            bytes,
        };
        for (queue, max) in [(&mut self.wire, WIRE_MAX), (&mut self.history, HISTORY_MAX)] {
            queue.push_back(datagram.clone());
            if queue.len() > max {
                queue.pop_front();
            }
        }
    }

    /// Everything that a driver does after it has touched a connection.
    pub(crate) fn settle(&mut self, end: usize, handle: ConnectionHandle) {
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < ENDLESS, "a connection has always something to send");
            let Some(line) = self.lines[end].get_mut(&handle) else {
                return;
            };
            let mut drained = false;
            while let Some(event) = line.conn.poll_event() {
                match event {
                    Event::Connected => line.connected = true,
                    Event::Closed(error) => line.on_closed(error, self.hostile),
                    Event::Drained => drained = true,
                    _ => {}
                }
            }
            while let Some(event) = line.conn.poll_endpoint_event() {
                if let Some(event) = self.endpoints[end].on_connection_event(handle, event) {
                    line.conn.on_event(self.now, event);
                }
            }
            for (what, have, most) in line.conn.footprint() {
                assert!(have <= most, "{have} {what}, at most {most}");
            }
            let mut out = Vec::new();
            let transmit = line.conn.poll_transmit(self.now, 4, &mut out);
            if drained {
                self.lines[end].remove(&handle);
                return;
            }
            let Some(transmit) = transmit else { break };
            assert!(transmit.bytes == out.len() && transmit.segment > 0 && transmit.bytes <= 4 * transmit.segment);
            for bytes in out.chunks(transmit.segment) {
                self.post(end, transmit.remote, transmit.ecn, bytes.to_vec());
            }
        }
        let ids = self.endpoints[end].known_ids();
        assert!(
            ids <= IDS_MAX * self.endpoints[end].connections().0,
            "{ids} ids are known"
        );
    }

    /// Sends frames that an honest end would not.
    pub(crate) fn send_hostile(&mut self, end: usize, handle: ConnectionHandle, frames: &[u8]) {
        let Some(line) = self.lines[end].get_mut(&handle) else {
            return;
        };
        self.pairs[line.pair].torn = true;
        self.hostile = true;
        let mut out = Vec::new();
        line.conn.send_hostile(self.now, frames, &mut out);
        let to = line.conn.remote();
        if !out.is_empty() {
            self.post(end, to, None, out);
        }
    }

    /// Lets the time pass; timers ring as they are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, end, handle)) = self.next_timer().filter(|(at, ..)| *at <= until) {
            if at > self.now {
                self.now = at;
                self.rang = 0;
            }
            self.rang += 1;
            assert!(self.rang < ENDLESS, "the timer does not move on from {}", self.now);
            let now = self.now;
            if let Some(line) = self.lines[end].get_mut(&handle) {
                line.conn.on_timeout(now);
            }
            self.settle(end, handle);
        }
        if until > self.now {
            self.now = until;
            self.rang = 0;
        }
    }

    /// When the next timer rings, and whose.
    pub(crate) fn next_timer(&self) -> Option<(Time, usize, ConnectionHandle)> {
        let lines = [SERVER, CLIENT]
            .into_iter()
            .flat_map(|end| self.lines[end].iter().map(move |line| (end, line)));
        lines
            .filter_map(|(end, (handle, line))| Some((line.conn.timeout()?, end, *handle)))
            .min_by_key(|(at, ..)| *at)
    }

    /// What the applications hear.
    pub(crate) fn hear(&mut self, end: usize, handle: ConnectionHandle) {
        let Some(line) = self.lines[end].get_mut(&handle) else {
            return;
        };
        let pair = &mut self.pairs[line.pair];
        let (speech, from) = match end {
            SERVER => (&mut pair.up, Side::Client),
            _ => (&mut pair.down, Side::Server),
        };
        while let Some(message) = line.conn.recv() {
            match line.zombie {
                _ if pair.torn => {}
                true => speech.hear_replayed(&message),
                false => speech.hear(from, &message),
            }
        }
        while let Some(data) = line.conn.recv_datagram() {
            assert!(!line.zombie || pair.torn, "a datagram cannot be replayed");
            if !pair.torn {
                speech.hear_datagram(from, &data);
            }
        }
        self.settle(end, handle);
    }

    pub(crate) fn handles(&self) -> Vec<(usize, ConnectionHandle)> {
        let of = |end: usize| self.lines[end].keys().map(move |handle| (end, *handle));
        of(SERVER).chain(of(CLIENT)).collect()
    }

    /// The client is somewhere else from now on; what is on its way to where it was reaches nobody.
    pub(crate) fn move_client(&mut self, only_port: bool) {
        let SocketAddr::V4(before) = self.addresses[CLIENT] else {
            return;
        };
        let host = before.ip().octets()[3];
        self.addresses[CLIENT] = match only_port {
            true => address(host, before.port().wrapping_add(1).max(1024)),
            false => address(host.wrapping_add(1).max(2), before.port()),
        };
    }
}

impl Line {
    /// Whatever the network does to packets, only an end may end a connection, or silence.
    fn on_closed(&mut self, error: ConnectionError, hostile: bool) {
        assert!(self.closed.is_none(), "closed twice");
        match &error {
            ConnectionError::Closed | ConnectionError::TimedOut | ConnectionError::Reset | ConnectionError::Version => {
            }
            ConnectionError::ClosedByPeer(error) if [CODE, CloseCode::NO_ERROR].contains(&error.code) => {}
            // Packets of the connection that it repeats mean nothing to it.
            _ if self.zombie || hostile => {}
            error => panic!("closed by a fault: {error}"),
        }
        self.closed = Some(error);
    }
}
