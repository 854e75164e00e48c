//! The usual arrangement: one server, one client, a link each way.

use std::{net::SocketAddr, time::Duration};

use quantum_proto::{ClientConfig, EndpointConfig, Side, Stats, Time, TransportConfig};

use crate::{
    app::{App, Kind},
    journal::Journal,
    link::LinkSpec,
    tls,
    world::{End, World, endpoint_config},
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Where the pair's client begins.
pub(crate) const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 1)), 5000);

/// What a pair will be made of.
pub(crate) struct Setup {
    seed: u64,
    up: LinkSpec,
    down: LinkSpec,
    /// Of the server's endpoint.
    pub(crate) endpoint: EndpointConfig,
    pub(crate) client_transport: TransportConfig,
    pub(crate) server_transport: TransportConfig,
    client_app: App,
    server_app: App,
}

impl Setup {
    /// The same link both ways, default settings, nothing to say.
    pub(crate) fn new(seed: u64, link: LinkSpec) -> Self {
        Self {
            seed,
            up: link.clone(),
            down: link,
            endpoint: endpoint_config(seed, 0),
            client_transport: TransportConfig::default(),
            server_transport: TransportConfig::default(),
            client_app: App::new(seed, Side::Client),
            server_app: App::new(seed, Side::Server),
        }
    }

    pub(crate) fn down(self, down: LinkSpec) -> Self {
        Self { down, ..self }
    }

    pub(crate) fn client(mut self, app: impl FnOnce(App) -> App) -> Self {
        self.client_app = app(self.client_app);
        self
    }

    pub(crate) fn server(mut self, app: impl FnOnce(App) -> App) -> Self {
        self.server_app = app(self.server_app);
        self
    }

    pub(crate) fn client_transport(mut self, change: impl FnOnce(&mut TransportConfig)) -> Self {
        change(&mut self.client_transport);
        self
    }

    pub(crate) fn server_transport(mut self, change: impl FnOnce(&mut TransportConfig)) -> Self {
        change(&mut self.server_transport);
        self
    }

    /// Both ends.
    pub(crate) fn transport(self, change: impl Fn(&mut TransportConfig)) -> Self {
        self.client_transport(&change).server_transport(&change)
    }

    /// The network, the server, and a client that has not connected yet.
    pub(crate) fn build(self) -> Built {
        let mut world = World::new(self.seed);
        let (up, down) = (world.link(self.up), world.link(self.down));
        let server_app = self.server_app;
        world.server(
            self.endpoint,
            tls::server(self.server_transport),
            Box::new(move |_| server_app.clone()),
        );
        let host = world.client(up, down);
        Built {
            world,
            host,
            config: tls::client(self.client_transport),
            app: self.client_app,
        }
    }

    /// The client connects at once.
    pub(crate) fn start(self) -> Pair {
        self.build().connect()
    }
}

/// A pair before its first datagram.
pub(crate) struct Built {
    pub(crate) world: World,
    pub(crate) host: usize,
    pub(crate) config: ClientConfig,
    pub(crate) app: App,
}

impl Built {
    pub(crate) fn connect(mut self) -> Pair {
        let client = self.world.connect(self.host, &self.config, self.app);
        Pair {
            world: self.world,
            client,
            config: self.config,
        }
    }
}

/// A client that has begun to connect to a server.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) client: End,
    pub(crate) config: ClientConfig,
}

/// The first connection that the server accepted.
pub(crate) const ACCEPTED: End = End { host: 0, slot: 0 };

impl Pair {
    pub(crate) fn client(&self) -> &App {
        self.world.app(self.client)
    }

    pub(crate) fn server(&self) -> &App {
        self.world.app(ACCEPTED)
    }

    /// Bits of bulk that the server was given.
    pub(crate) fn bulk_bits(&self) -> usize {
        let received = self.server().received.iter();
        received.filter(|record| record.channel == Kind::BULK.channel).count() * Kind::BULK.len * 8
    }

    pub(crate) fn has_accepted(&self) -> bool {
        !self.world.hosts[0].slots.is_empty()
    }

    pub(crate) fn client_stats(&self) -> Stats {
        self.world.slot(self.client).conn.stats()
    }

    pub(crate) fn server_stats(&self) -> Stats {
        self.world.slot(ACCEPTED).conn.stats()
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.world.run_for(time);
    }

    /// Until the condition holds; fails when it does not within that time.
    pub(crate) fn run_until(&mut self, within: Duration, what: &str, condition: impl Fn(&World) -> bool) -> Time {
        let deadline = self.world.now + within;
        assert!(
            self.world.run_until(deadline, condition),
            "not within {within:?}: {what}\n{}",
            self.summary()
        );
        self.world.now
    }

    /// Until both have said everything, and heard everything.
    pub(crate) fn run_to_end(&mut self, within: Duration) {
        let client = self.client;
        self.run_until(within, "everything is delivered", |world| is_through(world, client));
        self.expect_complete();
    }

    /// Everything that was sent has arrived, once and in order.
    pub(crate) fn expect_complete(&self) -> (Journal, Journal) {
        let journals = self
            .journals()
            .unwrap_or_else(|error| panic!("{error}\n{}", self.summary()));
        assert!(
            self.client().closed.is_none() || self.client().has_said_all(self.world.now),
            "{}",
            self.summary()
        );
        journals
    }

    /// What went up, and what went down.
    pub(crate) fn journals(&self) -> Result<(Journal, Journal), String> {
        Ok((
            Journal::complete(self.client(), self.server())?,
            Journal::complete(self.server(), self.client())?,
        ))
    }

    /// How things stand, for failures.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("at {}\n", self.world.now);
        for (name, host) in [("server", 0), ("client", self.client.host)] {
            for slot in &self.world.hosts[host].slots {
                let app = &slot.app;
                text += &format!(
                    "{name}: sent {}, received {}, connected {:?}, closed {:?}, faults {:?}\n{:?}\n",
                    app.sent.len(),
                    app.received.len(),
                    app.connected,
                    app.closed,
                    app.faults,
                    slot.conn.stats()
                );
            }
        }
        for link in &self.world.links {
            text += &format!("{:?}\n{:?}\n", link.spec, link.counters);
        }
        text + &self.world.trace.to_string()
    }
}

/// Both ends have said everything and heard everything, or one is closed.
pub(crate) fn is_through(world: &World, client: End) -> bool {
    let Some(server) = world.hosts[0].slots.first().map(|slot| &slot.app) else {
        return false;
    };
    let client = world.app(client);
    let heard = |from: &App, to: &App| from.has_said_all(world.now) && to.received.len() >= from.sent.len();
    (heard(client, server) && heard(server, client)) || client.closed.is_some() || server.closed.is_some()
}
