//! An end of the network: an endpoint with its connections, driven as the crate's documentation asks for.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use quantum_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Ecn, Endpoint, EndpointConfig, Event, ServerConfig, Time,
};

use crate::{app::App, tls};

/// Datagrams that a driver takes at once.
const BATCH: usize = 10;
/// More rounds of events, datagrams or timers at one moment mean that the connection turns in circles.
const ENDLESS: usize = 20_000;

/// A UDP datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) bytes: Vec<u8>,
}

/// Makes the application of a connection that was accepted; the argument counts them.
pub(crate) type Accept = Box<dyn FnMut(usize) -> App>;

/// A connection and its application. It stays after the connection is over, to be looked at.
pub(crate) struct Slot {
    handle: ConnectionHandle,
    pub(crate) conn: Box<Connection>,
    pub(crate) app: App,
    pub(crate) drained: bool,
    /// When the timer that was set last will ring, and when the application's will.
    pub(crate) timer: Option<Time>,
    pub(crate) wake: Option<Time>,
    rang: (Time, usize),
}

pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// Of a client: the links from it and to it.
    pub(crate) links: Option<(usize, usize)>,
    pub(crate) slots: Vec<Slot>,
    handles: BTreeMap<ConnectionHandle, usize>,
    accept: Option<Accept>,
    /// Answers without state, and datagrams that came to nothing.
    pub(crate) replies: u64,
    pub(crate) ignored: u64,
}

impl Host {
    pub(crate) fn new(
        address: SocketAddr,
        config: EndpointConfig,
        links: Option<(usize, usize)>,
        server: Option<(Arc<ServerConfig>, Accept)>,
    ) -> Self {
        let (server, accept) = server.map_or((None, None), |(server, accept)| (Some(server), Some(accept)));
        Self {
            endpoint: Endpoint::new(config, server),
            address,
            links,
            slots: Vec::new(),
            handles: BTreeMap::new(),
            accept,
            replies: 0,
            ignored: 0,
        }
    }

    /// Begins a connection; [`Self::drive`] is to be called.
    pub(crate) fn connect(&mut self, now: Time, config: &ClientConfig, to: SocketAddr, app: App) -> usize {
        let (handle, conn) = self.endpoint.connect(now, config, to, tls::NAME).unwrap();
        self.add(handle, conn, app)
    }

    fn add(&mut self, handle: ConnectionHandle, conn: Box<Connection>, app: App) -> usize {
        let index = self.slots.len();
        assert_eq!(self.handles.insert(handle, index), None, "a handle was given twice");
        let rang = (Time::ZERO, 0);
        self.slots.push(Slot {
            handle,
            conn,
            app,
            drained: false,
            timer: None,
            wake: None,
            rang,
        });
        index
    }

    /// Connections that are not drained.
    pub(crate) fn live(&self) -> usize {
        self.handles.len()
    }

    /// Forgets its connections, as a restart does; the endpoint is to be replaced too.
    pub(crate) fn forget(&mut self) {
        self.slots.clear();
        self.handles.clear();
    }

    /// Takes a datagram; returns the connection to drive.
    pub(crate) fn receive(&mut self, now: Time, datagram: Datagram, out: &mut Vec<Datagram>) -> Option<usize> {
        let bytes = BytesMut::from(&datagram.bytes[..]);
        match self.endpoint.on_datagram(now, datagram.from, datagram.ecn, bytes) {
            DatagramEvent::Known(handle, event) => {
                let index = self.handles[&handle];
                self.slots[index].conn.on_event(now, event);
                Some(index)
            }
            DatagramEvent::New(handle, mut conn, event) => {
                conn.on_event(now, event);
                let count = self.slots.len();
                let app = self.accept.as_mut().expect("only a server accepts")(count);
                Some(self.add(handle, conn, app))
            }
            DatagramEvent::Reply(transmit, bytes) => {
                assert_eq!(transmit.bytes, bytes.len());
                assert!(
                    bytes.len() <= datagram.bytes.len(),
                    "an answer without state is longer than the question"
                );
                self.replies += 1;
                out.push(Datagram {
                    from: self.address,
                    to: transmit.remote,
                    ecn: transmit.ecn,
                    bytes,
                });
                None
            }
            DatagramEvent::Ignored => {
                self.ignored += 1;
                None
            }
        }
    }

    /// The timer set for `at` rings, unless it was set anew since; returns whether the connection is to be driven.
    pub(crate) fn ring(&mut self, now: Time, index: usize) -> bool {
        let slot = &mut self.slots[index];
        if slot.timer != Some(now) || slot.drained {
            return false;
        }
        slot.timer = None;
        if slot.conn.timeout().is_some_and(|due| due <= now) {
            slot.rang = if slot.rang.0 == now {
                (now, slot.rang.1 + 1)
            } else {
                (now, 0)
            };
            assert!(slot.rang.1 < ENDLESS, "the timer does not move on from {now}");
            slot.conn.on_timeout(now);
        }
        true
    }

    /// Does what is to be done after anything has happened to a connection.
    pub(crate) fn drive(&mut self, now: Time, index: usize, out: &mut Vec<Datagram>) {
        let slot = &mut self.slots[index];
        if slot.drained {
            return;
        }
        for round in 0.. {
            assert!(round < ENDLESS, "events without end at {now}");
            let events: Vec<Event> = std::iter::from_fn(|| slot.conn.poll_event()).collect();
            if round == 0 || !events.is_empty() {
                slot.wake = slot.app.poll(now, &mut slot.conn, &events);
            }
            slot.drained |= events.contains(&Event::Drained);
            let sent = transmit(now, self.address, &mut slot.conn, out);
            let mut told = false;
            while let Some(event) = slot.conn.poll_endpoint_event() {
                told = true;
                if let Some(answer) = self.endpoint.on_connection_event(slot.handle, event) {
                    slot.conn.on_event(now, answer);
                }
            }
            if events.is_empty() && !sent && !told {
                break;
            }
        }
        if slot.drained {
            self.handles.remove(&slot.handle);
        }
    }
}

/// Takes all that the connection wants sent now; returns whether there was something.
fn transmit(now: Time, address: SocketAddr, conn: &mut Connection, out: &mut Vec<Datagram>) -> bool {
    let mut buffer = Vec::new();
    for round in 0.. {
        assert!(round < ENDLESS, "datagrams without end at {now}");
        buffer.clear();
        let Some(transmit) = conn.poll_transmit(now, BATCH, &mut buffer) else {
            assert!(buffer.is_empty(), "bytes to send, but no transmit");
            return round > 0;
        };
        assert_eq!(transmit.bytes, buffer.len());
        assert!((1..=transmit.bytes).contains(&transmit.segment));
        assert!(
            buffer.len().div_ceil(transmit.segment) <= BATCH,
            "more datagrams than asked for"
        );
        let (to, ecn) = (transmit.remote, transmit.ecn);
        let datagrams = buffer.chunks(transmit.segment);
        out.extend(datagrams.map(|bytes| Datagram {
            from: address,
            to,
            ecn,
            bytes: bytes.to_vec(),
        }));
    }
    unreachable!()
}
