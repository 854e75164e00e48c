//! Two connections that talk through byte vectors, with a look at what is inside. What can be seen from outside is tested by the
//! simulation.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;

use super::*;
use crate::{
    config::{ClientConfig, EndpointConfig, ServerConfig},
    endpoint::{ConnectionHandle, DatagramEvent, Endpoint},
    handshake::tests::{NAME, configs},
    types::{Ecn, Level},
};

mod acknowledging;
mod closing;
mod marks;
mod resuming;
mod sending;

const SERVER: &str = "192.0.2.1:443";
const CLIENT: &str = "192.0.2.2:5000";
/// On the way.
const DELAY: Duration = Duration::from_millis(10);

/// A client and a server on a link that loses nothing unless told to.
struct Pair {
    now: Time,
    config: ClientConfig,
    server_config: ServerConfig,
    ends: [Endpoint; 2],
    client: (ConnectionHandle, Box<Connection>),
    server: Option<(ConnectionHandle, Box<Connection>)>,
    /// Loses what a side sends.
    lost: fn(Side) -> bool,
    ecn: fn(Option<Ecn>) -> Option<Ecn>,
    swallows_marked: bool,
}

impl Pair {
    fn new(transport: TransportConfig) -> Self {
        Self::with(transport.clone(), transport)
    }

    fn with(client: TransportConfig, server: TransportConfig) -> Self {
        let (client_tls, server_tls) = configs();
        let now = Time::ZERO + Duration::from_secs(1);
        let server = ServerConfig {
            tls: server_tls,
            transport: Arc::new(server),
        };
        let config = ClientConfig {
            token: None,
            tls: client_tls,
            transport: Arc::new(client),
        };
        let mut endpoint = Endpoint::new(EndpointConfig::new([1; 32], [2; 32]), None);
        let client = endpoint.connect(now, &config, address(SERVER), NAME).unwrap();
        Self {
            now,
            config,
            ends: [
                endpoint,
                Endpoint::new(EndpointConfig::new([3; 32], [4; 32]), Some(Arc::new(server.clone()))),
            ],
            server_config: server,
            client,
            server: None,
            lost: |_| false,
            ecn: |ecn| ecn,
            swallows_marked: false,
        }
    }

    /// Both ends know that the handshake is over, and have nothing more to say.
    fn connected(transport: TransportConfig) -> Self {
        let mut pair = Self::new(transport);
        pair.run(200);
        assert!(pair.client.1.confirmed && pair.server().confirmed);
        pair
    }

    /// The server runs with other settings from now on, and the client begins another connection.
    fn come_back(&mut self, change: impl FnOnce(&mut TransportConfig)) {
        let mut transport = (*self.server_config.transport).clone();
        change(&mut transport);
        self.server_config.transport = Arc::new(transport);
        self.ends[1] = Endpoint::new(
            EndpointConfig::new([5; 32], [6; 32]),
            Some(Arc::new(self.server_config.clone())),
        );
        self.server = None;
        let begun = self.ends[0].connect(self.now, &self.config, address(SERVER), NAME);
        self.client = begun.unwrap();
    }

    fn client(&mut self) -> &mut Connection {
        &mut self.client.1
    }

    fn server(&mut self) -> &mut Connection {
        &mut self.server.as_mut().expect("the server has accepted").1
    }

    /// So many steps, each of the time that a datagram is on its way.
    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let up = self.take_turn(Side::Client);
            let down = self.take_turn(Side::Server);
            self.now += DELAY;
            self.arrive(Side::Server, up);
            self.arrive(Side::Client, down);
        }
    }

    /// What a side sends now.
    fn take_turn(&mut self, side: Side) -> Vec<(Option<Ecn>, Vec<u8>)> {
        let now = self.now;
        let (endpoint, end) = match side {
            Side::Client => (&mut self.ends[0], Some(&mut self.client)),
            Side::Server => (&mut self.ends[1], self.server.as_mut()),
        };
        let Some((handle, conn)) = end else {
            return Vec::new();
        };
        if conn.timeout().is_some_and(|at| at <= now) {
            conn.on_timeout(now);
        }
        while let Some(event) = conn.poll_endpoint_event() {
            if let Some(answer) = endpoint.on_connection_event(*handle, event) {
                conn.on_event(now, answer);
            }
        }
        let mut sent = Vec::new();
        let mut out = Vec::new();
        while let Some(transmit) = conn.poll_transmit(now, 1, &mut out) {
            assert_eq!(transmit.bytes, out.len());
            sent.push((transmit.ecn, std::mem::take(&mut out)));
        }
        let (lost, swallows) = ((self.lost)(side), self.swallows_marked);
        sent.retain(|(ecn, _)| !(lost || swallows && ecn.is_some()));
        sent
    }

    fn arrive(&mut self, side: Side, datagrams: Vec<(Option<Ecn>, Vec<u8>)>) {
        for (ecn, bytes) in datagrams {
            let (endpoint, from) = match side {
                Side::Client => (&mut self.ends[0], SERVER),
                Side::Server => (&mut self.ends[1], CLIENT),
            };
            let ecn = (self.ecn)(ecn);
            match endpoint.on_datagram(self.now, address(from), ecn, BytesMut::from(&bytes[..])) {
                DatagramEvent::Known(_, event) => {
                    let now = self.now;
                    match side {
                        Side::Client => self.client().on_event(now, event),
                        Side::Server => self.server().on_event(now, event),
                    };
                }
                DatagramEvent::New(handle, mut connection, event) => {
                    connection.on_event(self.now, event);
                    self.server = Some((handle, connection));
                }
                DatagramEvent::Reply(..) | DatagramEvent::Ignored => {}
            }
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn send(conn: &mut Connection, priority: Priority, len: usize) {
    conn.send(ChannelId(0), Delivery::Unordered, priority, vec![7; len].into())
        .unwrap();
}
