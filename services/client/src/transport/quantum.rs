//! Quantum: a message for each frame, on the channel and with the priority that
//! [`aetherflow_schema::native::lanes`] gives it.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aetherflow_schema::{
    close::CloseCode,
    id::DocumentId,
    native::{
        PROTOCOL,
        lanes::{self, Urgency},
    },
};
use bytes::Bytes;
use futures_util::future::select_ok;
use quantum::{
    ChannelId, ClientOptions, ConnectionError, Endpoint, EndpointError, Priority, SendMessageError, SendOptions,
    TransportConfig,
};
use tokio::{net::lookup_host, time::sleep};

use super::{
    BoxFuture, Carrier, Connection, Transport, broken,
    pulse::{Pulse, Vital},
    tls,
};
use crate::{address::Address, error::ConnectError, options::Options, session::Parting};

/// The longest message taken from the server, unless the application chooses: a whole document comes in one.
const MESSAGE_BYTES: u32 = 64 << 20;

/// How many addresses of a name are tried, and how long after the one before.
const ADDRESSES: usize = 8;
const STAGGER: Duration = Duration::from_millis(200);

/// Makes Quantum connections to one server.
pub(super) struct Quantum {
    address: Address,
    options: ClientOptions,
    takes: u32,
}

impl Quantum {
    pub(super) fn new(address: Address, chosen: &Options) -> Result<Self, ConnectError> {
        let options = ClientOptions::new(&tls::quantum(&chosen.trust)?, [PROTOCOL]);
        let takes = chosen.message_bytes.unwrap_or(MESSAGE_BYTES);
        let options = options.map_err(|error| ConnectError::Tls(error.to_string()))?;
        let transport = TransportConfig {
            max_message: takes,
            ..TransportConfig::default()
        };
        Ok(Self {
            address,
            options: options.with_transport(transport),
            takes,
        })
    }
}

impl Transport for Quantum {
    fn dial(&self) -> BoxFuture<Result<Arc<dyn Connection>, Parting>> {
        let address = self.address.clone();
        let options = self.options.clone();
        let takes = self.takes;
        Box::pin(async move {
            let connected = connect(&address, &options).await;
            let connection = connected.map_err(|parting| Parting {
                reason: format!("{address}: {}", parting.reason),
                ..parting
            })?;
            Ok(Arc::new(QuantumConnection {
                connection,
                takes,
                pulse: Pulse::default(),
            }) as Arc<dyn Connection>)
        })
    }
}

/// Whichever of the name's addresses answers first: over UDP, one where nobody is gives no sign.
async fn connect(address: &Address, options: &ClientOptions) -> Result<quantum::Connection, Parting> {
    let remotes = lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(broken)?;
    let attempts: Vec<_> = (0..ADDRESSES as u32)
        .zip(remotes)
        .map(|(number, remote)| {
            Box::pin(async move {
                sleep(STAGGER * number).await;
                connect_to(remote, &address.host, options).await
            })
        })
        .collect();
    if attempts.is_empty() {
        return Err(broken("the name has no address"));
    }
    select_ok(attempts).await.map(|(connection, _)| connection)
}

async fn connect_to(remote: SocketAddr, name: &str, options: &ClientOptions) -> Result<quantum::Connection, Parting> {
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any).map_err(broken)?;
    match endpoint.connect(options, remote, name).await {
        Ok(connection) => Ok(connection),
        Err(EndpointError::Connection(error)) => Err(parting(&error)),
        Err(error) => Err(broken(error)),
    }
}

fn parting(error: &ConnectionError) -> Parting {
    match error {
        ConnectionError::ClosedByPeer(closed) => Parting {
            code: closed
                .code
                .0
                .checked_sub(quantum::CloseCode::application(0).0)
                .and_then(|code| code.try_into().ok()),
            reason: closed.reason.to_string(),
        },
        error => broken(error),
    }
}

struct QuantumConnection {
    connection: quantum::Connection,
    takes: u32,
    pulse: Pulse,
}

impl QuantumConnection {
    /// Returns when the server is gone.
    async fn gone(&self) {
        let look = || {
            let stats = self.connection.stats();
            Vital {
                received: stats.packets_received,
                in_flight: stats.in_flight,
                overdue: stats.probes + stats.timeouts,
                rtt: stats.rtt,
            }
        };
        self.pulse.stops(look, || self.connection.ping()).await;
    }
}

fn options(bytes: usize) -> SendOptions {
    SendOptions {
        priority: match lanes::urgency(bytes) {
            Urgency::Interactive => Priority::Interactive,
            Urgency::Normal => Priority::Normal,
            Urgency::Bulk => Priority::Bulk,
        },
        ..SendOptions::default()
    }
}

impl Connection for QuantumConnection {
    fn carrier(&self) -> Carrier {
        Carrier::Quantum
    }

    fn frame_bytes(&self) -> usize {
        lanes::MESSAGE_BYTES
    }

    fn takes(&self) -> u32 {
        self.takes
    }

    fn send(self: Arc<Self>, document: Option<DocumentId>, frame: Bytes) -> BoxFuture<Result<(), Parting>> {
        Box::pin(async move {
            let channel = ChannelId(lanes::channel(document.as_ref()));
            self.pulse.sent();
            let sent = self.connection.send(channel, options(frame.len()), frame).await;
            sent.map_err(|error| match error {
                SendMessageError::Connection(error) => parting(&error),
                SendMessageError::Refused(error) => broken(error),
            })
        })
    }

    fn receive(self: Arc<Self>) -> BoxFuture<Result<Bytes, Parting>> {
        Box::pin(async move {
            tokio::select! {
                message = self.connection.recv() => message.map(|message| message.data).map_err(|error| parting(&error)),
                () = self.gone() => Err(broken("nothing comes back from the server")),
            }
        })
    }

    fn close(self: Arc<Self>, code: CloseCode) -> BoxFuture<()> {
        Box::pin(async move {
            let number = quantum::CloseCode::application(code.code().into());
            if code == CloseCode::Normal {
                // Said in so many words, or the server would take the client for lost and keep its session.
                self.connection.finish_with(number, code.reason()).await;
            } else {
                self.connection.close(number, code.reason());
            }
        })
    }
}
