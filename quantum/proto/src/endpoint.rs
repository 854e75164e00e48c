//! Decides which connection a datagram belongs to, and answers those that belong to none.
//!
//! Owns: the table of connection ids, the half-open count, the keys of tokens.
//! Inputs: datagrams, and the events of connections.
//! Effects: the connection to hand a datagram to, a new connection, or an answer without state.
//! Invariants: an answer without state is never longer than a third of what asked for it; nothing is kept for an unproven address beyond
//! [`EndpointConfig::retry_above`] half-open connections.
//! On failure: whatever is not understood is ignored.

mod answers;
mod footprint;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use uuid::{Builder, Uuid};

use crate::{
    config::{ClientConfig, EndpointConfig, ServerConfig},
    connection::{Accept, Connection, Transmit},
    crypto::{Keyring, initial_suite},
    error::{CloseCode, ConnectError},
    frame::{Frame, Frames},
    header::{Flags, HEADER_LEN, Header, VERSION},
    number::PacketNumber,
    pmtu::Pmtu,
    time::Time,
    token::Tokens,
    types::{ConnectionId, Ecn, Level, Side},
};

/// Names a connection between endpoint and driver; a small number that is used again after the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionHandle(pub usize);

/// What a connection tells its endpoint: pass it to [`Endpoint::on_connection_event`].
#[derive(Debug)]
pub struct EndpointEvent(pub(crate) ToEndpoint);

#[derive(Debug)]
pub(crate) enum ToEndpoint {
    /// The handshake is complete: it is no longer half-open.
    Established,
    /// So many more ids for the peer to use.
    NeedIds(usize),
    /// The id is not used any more.
    Retired(ConnectionId),
    /// The peer gave this end an id to use.
    Learned(ConnectionId),
    /// The connection is gone.
    Drained,
}

/// What an endpoint tells a connection: pass it to [`Connection::on_event`].
#[derive(Debug)]
pub struct ConnectionEvent(pub(crate) ToConnection);

#[derive(Debug)]
pub(crate) enum ToConnection {
    Datagram {
        remote: SocketAddr,
        ecn: Option<Ecn>,
        datagram: BytesMut,
    },
    /// Ids with their reset tokens.
    Ids(Vec<(ConnectionId, [u8; 16])>),
}

/// What became of a datagram.
#[derive(Debug)]
pub enum DatagramEvent {
    /// It belongs to a connection: call [`Connection::on_event`].
    Known(ConnectionHandle, ConnectionEvent),
    /// It began one: call [`Connection::on_event`], too. That is where the work of the handshake is done, which need not hold up the
    /// endpoint.
    New(ConnectionHandle, Box<Connection>, ConnectionEvent),
    /// It is answered without state: send these bytes.
    Reply(Transmit, Vec<u8>),
    /// It is nothing to us.
    Ignored,
}

/// What an endpoint has done with datagrams that belong to no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Not a packet, or not for us.
    pub ignored: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Retries sent.
    pub retries: u64,
    /// First packets that were refused or did not open.
    pub refused: u64,
    /// Stateless resets sent.
    pub resets: u64,
}

struct Entry {
    /// All ids that lead here.
    ids: Vec<ConnectionId>,
    half_open: bool,
}

/// See the module.
pub struct Endpoint {
    config: EndpointConfig,
    server: Option<Arc<ServerConfig>>,
    tokens: Tokens,
    rng: StdRng,
    /// Looked up by id only, never walked: its order does not matter.
    ids: HashMap<ConnectionId, ConnectionHandle>,
    connections: BTreeMap<ConnectionHandle, Entry>,
    free: Vec<ConnectionHandle>,
    half_open: usize,
    refusing: bool,
    stats: EndpointStats,
}

impl Endpoint {
    /// `server`: accepts connections.
    pub fn new(config: EndpointConfig, server: Option<Arc<ServerConfig>>) -> Self {
        Self {
            tokens: Tokens::new(&config.secret),
            rng: StdRng::from_seed(config.seed),
            config,
            server,
            ids: HashMap::new(),
            connections: BTreeMap::new(),
            free: Vec::new(),
            half_open: 0,
            refusing: false,
            stats: EndpointStats::default(),
        }
    }

    /// A datagram arrived.
    pub fn on_datagram(
        &mut self,
        now: Time,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        datagram: BytesMut,
    ) -> DatagramEvent {
        let Ok(header) = Header::decode(&datagram) else {
            return self.ignore();
        };
        if let Some(handle) = self.ids.get(&header.id) {
            let event = ToConnection::Datagram { remote, ecn, datagram };
            return DatagramEvent::Known(*handle, ConnectionEvent(event));
        }
        let Some(server) = self.server.clone() else {
            return self.ignore();
        };
        if header.flags.has(Flags::RST) {
            return self.ignore();
        }
        if header.version != VERSION {
            return self.answer_version(remote, &header, datagram.len());
        }
        if header.flags.level() == Some(Level::Initial) && !header.flags.has(Flags::ACK) {
            return self.accept(now, &server, remote, ecn, &header, datagram);
        }
        self.answer_reset(remote, &header, datagram.len())
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Time,
        config: &ClientConfig,
        remote: SocketAddr,
        server_name: &str,
    ) -> Result<(ConnectionHandle, Box<Connection>), ConnectError> {
        if self.connections.len() >= self.config.max_connections {
            return Err(ConnectError::Full);
        }
        let id = self.first_id(now);
        let seed = self.rng.next_u64();
        let connection = Connection::connect(now, config, id, remote, server_name, seed)?;
        Ok((self.add(id), Box::new(connection)))
    }

    /// A connection's news. An answer is to be handed to it.
    pub fn on_connection_event(&mut self, handle: ConnectionHandle, event: EndpointEvent) -> Option<ConnectionEvent> {
        let entry = self.connections.get_mut(&handle)?;
        match event.0 {
            ToEndpoint::Established => {
                self.half_open -= usize::from(std::mem::take(&mut entry.half_open));
                None
            }
            ToEndpoint::NeedIds(count) => {
                let ids = (0..count).map(|_| self.another_id(handle)).collect();
                Some(ConnectionEvent(ToConnection::Ids(ids)))
            }
            ToEndpoint::Learned(id) => {
                // An id that is taken would draw another connection's packets here.
                if let std::collections::hash_map::Entry::Vacant(vacant) = self.ids.entry(id) {
                    vacant.insert(handle);
                    entry.ids.push(id);
                }
                None
            }
            ToEndpoint::Retired(id) => {
                // Not one that the peer gave though it is another connection's: that goes on leading there.
                if let Some(at) = entry.ids.iter().position(|known| *known == id) {
                    entry.ids.swap_remove(at);
                    self.ids.remove(&id);
                }
                None
            }
            ToEndpoint::Drained => {
                self.forget(handle);
                None
            }
        }
    }

    /// The connection is gone, whether it said so or its driver gave it up. Nothing happens when it was forgotten before, and the handle
    /// was not given again.
    pub fn forget(&mut self, handle: ConnectionHandle) {
        let Some(entry) = self.connections.remove(&handle) else {
            return;
        };
        self.half_open -= usize::from(entry.half_open);
        for id in entry.ids {
            self.ids.remove(&id);
        }
        self.free.push(handle);
    }

    /// Refuses new connections from now on.
    pub fn refuse_new(&mut self) {
        self.refusing = true;
    }

    /// Connections that exist, and those of them that are half-open.
    pub fn connections(&self) -> (usize, usize) {
        (self.connections.len(), self.half_open)
    }

    /// See [`EndpointStats`].
    pub fn stats(&self) -> EndpointStats {
        self.stats
    }

    fn accept(
        &mut self,
        now: Time,
        server: &ServerConfig,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        header: &Header,
        datagram: BytesMut,
    ) -> DatagramEvent {
        if datagram.len() < usize::from(Pmtu::BASE) || self.half_open >= self.config.max_half_open {
            return self.refuse();
        }
        let Some(token) = first_token(header, &datagram) else {
            return self.refuse();
        };
        if self.refusing || self.connections.len() >= self.config.max_connections {
            self.stats.refused += 1;
            return answers::close(remote, header.id, CloseCode::REFUSED);
        }
        let proof = token.and_then(|token| self.tokens.check(now, remote, header.id, &token));
        if self.half_open >= self.config.retry_above && proof.is_none() {
            self.stats.retries += 1;
            return answers::retry(remote, header.id, self.tokens.retry(now, remote, header.id));
        }
        let accept = Accept {
            id: header.id,
            remote,
            validated: proof.is_some(),
            reset_token: self.tokens.reset(header.id),
            visit_token: self.tokens.visit(now, remote),
            seed: self.rng.next_u64(),
        };
        let Ok(connection) = Connection::accept(now, server, accept) else {
            return self.refuse();
        };
        let handle = self.add(header.id);
        self.half_open += 1;
        if let Some(entry) = self.connections.get_mut(&handle) {
            entry.half_open = true;
        }
        self.stats.accepted += 1;
        let event = ToConnection::Datagram { remote, ecn, datagram };
        DatagramEvent::New(handle, Box::new(connection), ConnectionEvent(event))
    }

    fn add(&mut self, id: ConnectionId) -> ConnectionHandle {
        let handle = self.free.pop().unwrap_or(ConnectionHandle(self.connections.len()));
        self.ids.insert(id, handle);
        self.connections.insert(
            handle,
            Entry {
                ids: vec![id],
                half_open: false,
            },
        );
        handle
    }

    /// The id of a first flight: a UUIDv7, by the time since the driver's origin.
    fn first_id(&mut self, now: Time) -> ConnectionId {
        let mut random = [0; 10];
        self.rng.fill_bytes(&mut random);
        let millis = now.as_nanos() / 1_000_000;
        ConnectionId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// A random id that leads to the connection, so that nobody can tell that it is the same one.
    fn another_id(&mut self, handle: ConnectionHandle) -> (ConnectionId, [u8; 16]) {
        let mut random = [0; 16];
        self.rng.fill_bytes(&mut random);
        let id = ConnectionId(Uuid::from_bytes(
            *Builder::from_random_bytes(random).as_uuid().as_bytes(),
        ));
        self.ids.insert(id, handle);
        if let Some(entry) = self.connections.get_mut(&handle) {
            entry.ids.push(id);
        }
        (id, self.tokens.reset(id))
    }

    #[cfg(test)]
    pub(crate) fn reset_token(&self, id: ConnectionId) -> [u8; 16] {
        self.tokens.reset(id)
    }

    fn ignore(&mut self) -> DatagramEvent {
        self.stats.ignored += 1;
        DatagramEvent::Ignored
    }

    fn refuse(&mut self) -> DatagramEvent {
        self.stats.refused += 1;
        DatagramEvent::Ignored
    }

    fn answer_version(&mut self, remote: SocketAddr, header: &Header, asked: usize) -> DatagramEvent {
        if !header.flags.has(Flags::SYN) || asked < usize::from(Pmtu::BASE) {
            return self.ignore();
        }
        self.stats.refused += 1;
        answers::version(remote, header.id)
    }

    fn answer_reset(&mut self, remote: SocketAddr, header: &Header, asked: usize) -> DatagramEvent {
        // Handshake packets of a connection that is gone get no reset: their sender has no token to know it by.
        if header.flags.has(Flags::SYN) || asked <= answers::RESET_LEN {
            return self.ignore();
        }
        self.stats.resets += 1;
        let mut noise = [0; answers::RESET_NOISE];
        self.rng.fill_bytes(&mut noise);
        answers::reset(remote, header.id, &noise, self.tokens.reset(header.id))
    }
}

/// Opens the first packet of a first flight without state: `None` when it does not open, otherwise the token in it.
fn first_token(header: &Header, datagram: &[u8]) -> Option<Option<Bytes>> {
    let end = HEADER_LEN + usize::from(header.payload_len);
    let (head, payload) = datagram.get(..end)?.split_at(HEADER_LEN);
    let mut payload = payload.to_vec();
    let mut keys = Keyring::new(initial_suite(), header.id, Side::Server);
    let number = header.full_number(PacketNumber::ZERO);
    let len = keys.open(Level::Initial, number, head, &mut payload).ok()?;
    payload.truncate(len);
    let mut token = None;
    for frame in Frames::new(PacketNumber::ZERO, payload.into()) {
        if let Frame::Token(bytes) = frame.ok()? {
            token = Some(bytes);
        }
    }
    Some(token)
}
