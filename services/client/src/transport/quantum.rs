//! Quantum: a message for each frame, on the channel and with the priority that
//! [`aetherflow_schema::native::lanes`] gives it.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
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
use quantum::{ChannelId, ClientOptions, ConnectionError, Endpoint, Priority, SendMessageError, SendOptions, TransportConfig};
use tokio::net::lookup_host;

use super::{BoxFuture, Carrier, Connection, Transport, broken, tls};
use crate::{address::Address, error::ConnectError, options::Trust, session::Parting};

/// The longest message taken from the server: a whole document comes in one.
const MESSAGE_BYTES: u32 = 64 << 20;

/// Makes Quantum connections to one server.
pub(super) struct Quantum {
    address: Address,
    options: ClientOptions,
}

impl Quantum {
    pub(super) fn new(address: Address, trust: &Trust) -> Result<Self, ConnectError> {
        let options = ClientOptions::new(&tls::quantum(trust)?, [PROTOCOL]);
        let options = options.map_err(|error| ConnectError::Tls(error.to_string()))?;
        let transport = TransportConfig {
            max_message: MESSAGE_BYTES,
            ..TransportConfig::default()
        };
        Ok(Self {
            address,
            options: options.with_transport(transport),
        })
    }
}

impl Transport for Quantum {
    fn dial(&self) -> BoxFuture<Result<Arc<dyn Connection>, Parting>> {
        let address = self.address.clone();
        let options = self.options.clone();
        Box::pin(async move {
            connect(&address, &options).await.map_err(|parting| Parting {
                reason: format!("{address}: {}", parting.reason),
                ..parting
            })
        })
    }
}

async fn connect(address: &Address, options: &ClientOptions) -> Result<Arc<dyn Connection>, Parting> {
    let mut last = broken("the name has no address");
    for remote in lookup_host((address.host.as_str(), address.port)).await.map_err(broken)? {
        let any: SocketAddr = match remote {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = Endpoint::client(any).map_err(broken)?;
        match endpoint.connect(options, remote, &address.host).await {
            Ok(connection) => return Ok(Arc::new(QuantumConnection { connection })),
            Err(quantum::EndpointError::Connection(error)) => last = parting(&error),
            Err(error) => last = broken(error),
        }
    }
    Err(last)
}

fn parting(error: &ConnectionError) -> Parting {
    match error {
        ConnectionError::ClosedByPeer(closed) => Parting {
            code: closed.code.0.checked_sub(quantum::CloseCode::application(0).0).and_then(|code| code.try_into().ok()),
            reason: closed.reason.to_string(),
        },
        error => broken(error),
    }
}

struct QuantumConnection {
    connection: quantum::Connection,
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

    fn send(self: Arc<Self>, document: Option<DocumentId>, frame: Bytes) -> BoxFuture<Result<(), Parting>> {
        Box::pin(async move {
            let channel = ChannelId(lanes::channel(document.as_ref()));
            let sent = self.connection.send(channel, options(frame.len()), frame).await;
            sent.map_err(|error| match error {
                SendMessageError::Connection(error) => parting(&error),
                SendMessageError::Refused(error) => broken(error),
            })
        })
    }

    fn receive(self: Arc<Self>) -> BoxFuture<Result<Bytes, Parting>> {
        Box::pin(async move {
            let message = self.connection.recv().await;
            message.map(|message| message.data).map_err(|error| parting(&error))
        })
    }

    fn close(self: Arc<Self>, code: CloseCode) -> BoxFuture<()> {
        Box::pin(async move {
            if code == CloseCode::Normal {
                self.connection.finish().await;
            } else {
                let number = quantum::CloseCode::application(code.code().into());
                self.connection.close(number, code.reason());
            }
        })
    }
}
