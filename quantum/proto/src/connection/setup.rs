//! How a connection begins.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use rand::{RngCore, SeedableRng, rngs::StdRng};

use crate::{
    bbr::{Bbr, Pacer},
    channel::{Inbox, Outbox},
    config::{ClientConfig, ServerConfig, TransportConfig},
    connection::{
        Connection, closing::State, ids::Ids, marking::Marking, outgoing::Outgoing, paths::Paths,
        protection::Protection, skips::Skips, timers::Timers,
    },
    crypto::{Keyring, initial_suite},
    error::{CloseCode, ConnectError, TransportError},
    handshake::{Handshake, Progress},
    number::PacketNumber,
    params::Params,
    pmtu::Pmtu,
    receipt::Receipts,
    recovery::{Outcome, Recovery},
    stats::Stats,
    time::Time,
    types::{ConnectionId, Level, Side, Space},
};

/// What the endpoint knows of a connection that it accepts.
pub(crate) struct Accept {
    pub(crate) id: ConnectionId,
    pub(crate) remote: SocketAddr,
    /// A token proved the address.
    pub(crate) validated: bool,
    pub(crate) reset_token: [u8; 16],
    /// For the client's next connection.
    pub(crate) visit_token: Bytes,
    pub(crate) seed: u64,
}

impl Connection {
    pub(crate) fn connect(
        now: Time,
        config: &ClientConfig,
        id: ConnectionId,
        remote: SocketAddr,
        server_name: &str,
        seed: u64,
    ) -> Result<Self, ConnectError> {
        let mut keys = Keyring::new(initial_suite(), id, Side::Client);
        let params = Params::ours(&config.transport, id, None);
        let handshake = Handshake::client(config.tls.clone(), server_name, &params, &mut keys)?;
        let paths = Paths::new(remote, true);
        let mut connection = Self::new(
            now,
            Side::Client,
            config.transport.clone(),
            id,
            keys,
            handshake,
            paths,
            seed,
        );
        connection.outgoing.retry_token = config.token.clone();
        if connection.keys.can_seal(Level::Early)
            && let Some(Ok(remembered)) = connection.handshake.peer_params()
        {
            // The limits of the earlier connection: nothing was sent yet that could exceed them. Its reset token is no word of this one's.
            let _ = connection.set_peer(Params {
                reset_token: None,
                ..remembered
            });
        }
        Ok(connection)
    }

    pub(crate) fn accept(now: Time, config: &ServerConfig, accept: Accept) -> Result<Self, ConnectError> {
        let keys = Keyring::new(initial_suite(), accept.id, Side::Server);
        let params = Params::ours(&config.transport, accept.id, Some(accept.reset_token));
        let handshake = Handshake::server(config.tls.clone(), &params)?;
        let paths = Paths::new(accept.remote, accept.validated);
        let transport = config.transport.clone();
        let mut connection = Self::new(
            now,
            Side::Server,
            transport,
            accept.id,
            keys,
            handshake,
            paths,
            accept.seed,
        );
        connection.outgoing.visit_token = Some(accept.visit_token);
        Ok(connection)
    }

    #[allow(clippy::too_many_arguments, reason = "all of it is needed, and only here")]
    fn new(
        now: Time,
        side: Side,
        config: Arc<TransportConfig>,
        id: ConnectionId,
        keys: Keyring,
        handshake: Handshake,
        paths: Paths,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let receipts = Space::ALL.map(|space| match space {
            Space::Initial | Space::Handshake => Receipts::new(std::time::Duration::ZERO),
            Space::Application => Receipts::new(config.max_ack_delay),
        });
        let mut connection = Self {
            side,
            state: State::Open { finishing: None },
            keys,
            handshake,
            peer: None,
            confirmed: false,
            heard: false,
            version_refused: false,
            retried: false,
            visit_token: None,
            ids: Ids::new(side, id),
            paths,
            pmtu: Pmtu::new(config.max_udp_payload),
            path_began: PacketNumber::ZERO,
            marking: Marking::new(),
            receipts,
            ack_frequency: Default::default(),
            recovery: Recovery::new(config.initial_rtt),
            outcome: Outcome::default(),
            bbr: Bbr::new(now, Pmtu::BASE, config.initial_rtt, rng.next_u64()),
            pacer: Pacer::new(now),
            skips: Skips::new(&mut rng),
            outbox: Outbox::new(config.send_buffer),
            inbox: Inbox::new(&config),
            outgoing: Outgoing::default(),
            last_flight: Default::default(),
            protection: Protection::new(config.protection),
            datagrams_in: Default::default(),
            timers: Timers::start(now),
            events: Default::default(),
            endpoint_events: Default::default(),
            stats: Stats::default(),
            qlog: None,
            config,
            rng,
        };
        if side == Side::Client {
            connection.recovery.set_guard(now, Space::Initial);
        }
        connection.on_alive(now);
        connection
    }

    /// What TLS brought about.
    pub(super) fn on_progress(&mut self, now: Time, progress: Progress) -> Result<(), TransportError> {
        if let Some(params) = self.handshake.peer_params()
            && (progress.application || progress.complete)
        {
            let params = params?;
            if params.connection_id != self.ids.first() {
                return Err(TransportError::new(
                    CloseCode::PARAMETERS,
                    "the connection id is not the one used",
                ));
            }
            self.set_peer(params)?;
            self.log_peer(now);
        }
        if progress.handshake && self.side == Side::Client {
            self.recovery.set_guard(now, Space::Handshake);
        }
        if progress.complete {
            self.on_complete(now);
        }
        Ok(())
    }

    fn set_peer(&mut self, params: Params) -> Result<(), TransportError> {
        self.outbox.set_limits(
            params.initial_max_data,
            params.initial_max_channel_data,
            params.max_channels,
            params.max_message,
        )?;
        self.recovery.set_max_ack_delay(params.max_ack_delay);
        self.ids.set_reset_token(params.reset_token);
        // Nothing was probed yet: that waits until the handshake is over.
        self.pmtu = Pmtu::new(params.max_udp_payload.min(self.config.max_udp_payload));
        self.protection.set_peer_repairs(params.fec);
        self.peer = Some(params);
        Ok(())
    }

    fn on_complete(&mut self, now: Time) {
        match self.side {
            Side::Client => {
                if self.handshake.early_accepted() == Some(false) {
                    self.resend_early();
                }
                self.keys.drop_level(Level::Early);
            }
            Side::Server => {
                self.outgoing.handshake_done = true;
                self.confirm(now);
                self.want_ids();
            }
        }
        self.events.push_back(super::Event::Connected);
    }

    /// The server refused the early packets: all of it goes out again.
    fn resend_early(&mut self) {
        for packet in self.recovery.take_in_flight(Space::Application) {
            for frame in packet.frames {
                self.on_frame_lost(frame);
            }
        }
    }

    /// Both ends have finished the handshake.
    pub(super) fn confirm(&mut self, now: Time) {
        if self.confirmed {
            return;
        }
        self.confirmed = true;
        self.drop_level(Level::Initial);
        self.drop_level(Level::Handshake);
        self.recovery.on_confirmed();
        self.timers.handshake = None;
        self.endpoint_events
            .push_back(crate::endpoint::EndpointEvent(crate::endpoint::ToEndpoint::Established));
        self.on_alive(now);
    }

    pub(super) fn drop_level(&mut self, level: Level) {
        if self.keys.can_seal(level) {
            self.keys.drop_level(level);
            self.handshake.drop_level(level);
            self.recovery.drop_space(level.space());
        }
    }

    /// Server: the client should always have some ids to move with.
    pub(super) fn want_ids(&mut self) {
        if self.side == Side::Client {
            return;
        }
        let wanted = self.ids.ask();
        if wanted > 0 {
            let event = crate::endpoint::ToEndpoint::NeedIds(wanted);
            self.endpoint_events.push_back(crate::endpoint::EndpointEvent(event));
        }
    }

    /// Client: the server wants the address proved first.
    pub(super) fn on_retry(&mut self, token: Bytes) {
        self.retried = true;
        self.outgoing.retry_token = Some(token);
        drop(self.recovery.take_in_flight(Space::Initial));
        self.handshake.restart();
        self.resend_early();
    }
}
