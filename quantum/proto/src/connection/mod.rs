//! One connection, as a state machine.
//!
//! Owns: everything about one connection, each part in its own module; here they meet.
//! Inputs: datagrams and ids from the endpoint, the timer, calls of the application.
//! Effects: datagrams ([`Connection::poll_transmit`]), news for the application and for the endpoint, the next timer.
//! Invariants: nothing is acted upon before it was opened with the keys of its level; nothing is sent to an unproven address
//! beyond three times what came from it; what was sent is acknowledged or lost exactly once, and what a lost packet held goes into a new one.
//! On failure: an error of the peer closes the connection with a code; what does not open is counted and ignored.

mod aside;
mod closing;
mod contents;
mod events;
mod footprint;
mod frequency;
mod ids;
mod last_flight;
mod logging;
mod marking;
mod outgoing;
mod packet;
mod paths;
mod protection;
mod receive;
mod rescue;
mod settle;
mod setup;
mod skips;
mod stateless;
#[cfg(test)]
mod tests;
mod timers;
mod transmit;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use rand::rngs::StdRng;

pub(crate) use self::setup::Accept;
use self::{
    closing::State, frequency::Frequency, ids::Ids, last_flight::LastFlight, marking::Marking, outgoing::Outgoing,
    paths::Paths, protection::Protection, skips::Skips, timers::Timers,
};
pub use self::{events::Event, packet::Transmit};
use crate::{
    bbr::{Bbr, Pacer},
    channel::{Inbox, Outbox},
    config::TransportConfig,
    crypto::Keyring,
    endpoint::{ConnectionEvent, EndpointEvent, ToConnection},
    error::{CloseCode, ConnectionError, SendError},
    handshake::Handshake,
    number::PacketNumber,
    params::Params,
    pmtu::Pmtu,
    qlog::Qlog,
    receipt::Receipts,
    recovery::{Outcome, Recovery},
    stats::Stats,
    time::Time,
    types::{ChannelId, ConnectionId, Delivery, Message, Priority, Side, Space},
};

/// See the module and the crate's documentation for the calling contract.
pub struct Connection {
    side: Side,
    config: Arc<TransportConfig>,
    state: State,
    rng: StdRng,

    keys: Keyring,
    handshake: Handshake,
    /// What the peer said of itself; on a resuming client at first what it said the last time.
    peer: Option<Params>,
    /// The handshake is complete and, as far as this end can know, for the peer too.
    confirmed: bool,
    /// A packet of the peer was opened: no retry or version packet is believed any more.
    heard: bool,
    /// An answer said that the server does not speak this version.
    version_refused: bool,
    /// The server has asked for proof of the address.
    retried: bool,
    /// The server's token for the next connection.
    visit_token: Option<Bytes>,

    ids: Ids,
    paths: Paths,
    pmtu: Pmtu,
    /// The path's first application packet: those before say nothing about it.
    path_began: PacketNumber,
    marking: Marking,

    /// For each number space, in the order of [`Space`].
    receipts: [Receipts; 3],
    ack_frequency: Frequency,
    recovery: Recovery,
    skips: Skips,
    /// Kept for its memory.
    outcome: Outcome,
    bbr: Bbr,
    pacer: Pacer,

    outbox: Outbox,
    inbox: Inbox,
    outgoing: Outgoing,
    last_flight: LastFlight,
    protection: Protection,
    datagrams_in: VecDeque<Bytes>,

    timers: Timers,
    events: VecDeque<Event>,
    endpoint_events: VecDeque<EndpointEvent>,
    stats: Stats,
    qlog: Option<Box<Qlog>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("side", &self.side)
            .field("id", &self.ids.current())
            .field("remote", &self.remote())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// What the endpoint found for it. `true`: a datagram with a packet of the peer that is the newest of its number space, so the
    /// way that the datagram came, the address that it came to included, is the way that the peer uses now. Anybody can send others.
    pub fn on_event(&mut self, now: Time, event: ConnectionEvent) -> bool {
        match event.0 {
            ToConnection::Datagram { remote, ecn, datagram } => self.on_datagram(now, remote, ecn, datagram),
            ToConnection::Ids(ids) => {
                self.ids.issue(ids);
                false
            }
        }
    }

    /// What the application should hear.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What the endpoint must hear.
    pub fn poll_endpoint_event(&mut self) -> Option<EndpointEvent> {
        self.endpoint_events.pop_front()
    }

    /// Queues a whole message.
    ///
    /// # Errors
    /// See [`SendError`]; the message is not taken.
    pub fn send(
        &mut self,
        channel: ChannelId,
        delivery: Delivery,
        priority: Priority,
        data: Bytes,
    ) -> Result<(), SendError> {
        self.queue(channel, delivery, priority, false, data)
    }

    /// As [`Self::send`], for a message that does no harm when an attacker repeats it: it may go into 0-RTT packets.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_replay_safe(
        &mut self,
        channel: ChannelId,
        delivery: Delivery,
        priority: Priority,
        data: Bytes,
    ) -> Result<(), SendError> {
        self.queue(channel, delivery, priority, true, data)
    }

    fn queue(
        &mut self,
        channel: ChannelId,
        delivery: Delivery,
        priority: Priority,
        replay_safe: bool,
        data: Bytes,
    ) -> Result<(), SendError> {
        if !self.state.takes_messages() {
            return Err(SendError::Closed);
        }
        let bytes = data.len();
        self.outbox.send(channel, delivery, priority, replay_safe, data)?;
        self.stats.messages_sent += 1;
        self.stats.message_bytes_sent += bytes as u64;
        Ok(())
    }

    /// The next message.
    pub fn recv(&mut self) -> Option<Message> {
        let message = self.inbox.next()?;
        self.stats.messages_received += 1;
        self.stats.message_bytes_received += message.data.len() as u64;
        Some(message)
    }

    /// Whether so much was taken by [`Self::recv`] that the peer should hear of the room: then look what there is to send.
    pub fn has_credit_to_announce(&self) -> bool {
        self.inbox.has_credit()
    }

    /// Queues an unreliable datagram; the oldest waiting one is dropped when there are too many.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_datagram(&mut self, data: Bytes) -> Result<(), SendError> {
        if !self.state.takes_messages() {
            return Err(SendError::Closed);
        }
        let max = self.max_datagram();
        if data.len() > max {
            return Err(SendError::TooLarge { bytes: data.len(), max });
        }
        self.outgoing.push_datagram(data, self.config.datagram_queue);
        Ok(())
    }

    /// The next datagram.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        self.datagrams_in.pop_front()
    }

    /// Bytes that a datagram may have now: what fits a packet and the peer takes. 0 when it takes none.
    pub fn max_datagram(&self) -> usize {
        let peer = self.peer.as_ref().map_or(0, |peer| usize::from(peer.max_datagram));
        peer.min(packet::room(usize::from(Pmtu::BASE)) - packet::DATAGRAM_OVERHEAD)
    }

    /// Closes at once: what was not delivered may be lost.
    pub fn close(&mut self, now: Time, code: CloseCode, reason: &str) {
        self.begin_close(now, code, reason, ConnectionError::Closed);
    }

    /// Takes no more messages, and closes once everything was acknowledged.
    pub fn finish(&mut self, now: Time) {
        self.finish_with(now, CloseCode::NO_ERROR, "");
    }

    /// As [`Self::finish`], with a code that the peer is told at the end.
    pub fn finish_with(&mut self, now: Time, code: CloseCode, reason: &str) {
        self.state.finish(code, reason);
        self.close_when_idle(now);
    }

    /// This end has another local address now (client only): takes a fresh id and tells the peer.
    pub fn on_local_address_changed(&mut self, now: Time) {
        if self.side == Side::Client {
            self.leave_path(now);
        }
    }

    /// Asks the peer for a sign of life: it acknowledges the next packet, whatever else is in it.
    pub fn ping(&mut self) {
        self.outgoing.ping = true;
    }

    /// Changes the keys of what this end sends: the next packet belongs to the next generation. Nothing happens before the peer is
    /// known to have the present ones.
    pub fn update_keys(&mut self) {
        let present = self.recovery.next_number(Space::Application).generation();
        let acked = self.recovery.largest_acked(Space::Application);
        if self.confirmed && acked.is_some_and(|acked| acked.generation() == present) {
            self.recovery
                .skip(Space::Application, PacketNumber::first_of(present + 1));
        }
    }

    /// Counters and the present state.
    pub fn stats(&self) -> Stats {
        let rtt = self.recovery.rtt();
        Stats {
            rtt: rtt.smoothed,
            rtt_min: rtt.min,
            congestion_window: self.bbr.window(),
            in_flight: self.recovery.bytes_in_flight(),
            pacing_rate: self.bbr.pacing_rate(),
            state: self.bbr.state(),
            mtu: self.pmtu.current(),
            loss: self.protection.loss(),
            burst: self.protection.burst(),
            blocks_contradictory: self.protection.contradictions(),
            ..self.stats.clone()
        }
    }

    /// Whether the handshake is complete.
    pub fn is_established(&self) -> bool {
        self.handshake.is_complete()
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Where the peer is now.
    pub fn remote(&self) -> SocketAddr {
        self.paths.current().remote()
    }

    /// The id that packets carry now.
    pub fn id(&self) -> ConnectionId {
        self.ids.current()
    }

    /// The peer's certificates, DER, its own first.
    pub fn peer_certificates(&self) -> Option<Vec<Vec<u8>>> {
        self.handshake.peer_certificates()
    }

    /// The application protocol that both ends agreed on, once known.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.handshake.alpn().map(<[u8]>::to_vec)
    }

    /// Server: the name that the client asked for.
    pub fn server_name(&self) -> Option<String> {
        self.handshake.server_name()
    }

    /// Key material that only the two ends of this connection know, to bind something to it. RFC 5705.
    ///
    /// # Errors
    /// The handshake is not complete, or `out` is too long.
    pub fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), rustls::Error> {
        self.handshake.export_keying_material(out, label, context)
    }

    /// Client: a token of the server for the next connection to it ([`ClientConfig::token`](crate::ClientConfig::token)).
    pub fn take_token(&mut self) -> Option<Bytes> {
        self.visit_token.take()
    }

    /// On a client that resumed, once known: whether the server took what was sent early.
    pub fn early_accepted(&self) -> Option<bool> {
        self.handshake.early_accepted()
    }
}
