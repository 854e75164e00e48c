//! The connection to NATS that the nodes of a cluster share: for presence, and for the store of sessions.
//!
//! On failure: a connection that breaks is made again by itself, for ever; meanwhile what is published about presence may be
//! lost, and the store says at once that it cannot be reached.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection::State};
use tokio::time::timeout;

use crate::{
    presence::{
        bus::{Hearing, PresenceBus},
        nats::NatsPresenceBus,
    },
    store::{
        StoreError,
        nats::{NatsOptions, NatsStore},
    },
};

/// The longest that one attempt to connect takes.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Where NATS is.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// Its servers, as `nats://host:4222` or `tls://host:4222`, separated by commas. Any one of them will do.
    pub servers: String,
    /// A file with `user:password` or a token in it, if the servers want them.
    pub credentials: Option<PathBuf>,
    /// What the connection is called in the servers' lists.
    pub name: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Something that is no address. It is not repeated here, as there may be a password in it.
    #[error("address {0} of those of NATS is none, such as nats://host:4222")]
    Address(usize),
    /// The credentials cannot be read.
    #[error("the credentials for NATS cannot be read: {0}")]
    Credentials(#[source] std::io::Error),
    /// None of the servers answers, or lets this node in.
    #[error("NATS cannot be reached: {0}")]
    Connect(#[from] async_nats::ConnectError),
}

impl ClusterError {
    /// Whether another attempt may succeed without a change of the configuration.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

/// See the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    client: Client,
}

/// The servers of a list.
///
/// # Errors
/// When something in it is no address, or there is none.
pub fn servers(list: &str) -> Result<Vec<ServerAddr>, ClusterError> {
    let parse = |(n, address): (usize, &str)| address_of(address.trim()).ok_or(ClusterError::Address(n + 1));
    list.split(',').enumerate().map(parse).collect()
}

/// One with a host, which the client takes for granted, and of a scheme that is built in.
fn address_of(text: &str) -> Option<ServerAddr> {
    let address: ServerAddr = text.parse().ok()?;
    let url = address.clone().into_inner();
    (url.has_host() && matches!(url.scheme(), "nats" | "tls")).then_some(address)
}

impl Cluster {
    /// Connects, in one attempt. Must be called within a runtime.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn connect(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let servers = servers(&options.servers)?;
        let connect = match &options.credentials {
            Some(file) => {
                let read = tokio::fs::read_to_string(file).await;
                let secret = read.map_err(ClusterError::Credentials)?;
                match secret.trim().split_once(':') {
                    Some((user, password)) => {
                        ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
                    }
                    None => ConnectOptions::with_token(secret.trim().to_owned()),
                }
            }
            None => ConnectOptions::new(),
        };
        let client = connect
            .name(&options.name)
            .no_echo()
            .connection_timeout(ATTEMPT)
            .event_callback(|event| async move { tell(&event) })
            .connect(servers)
            .await?;
        Ok(Self { client })
    }

    /// The store of sessions.
    ///
    /// # Errors
    /// When it cannot be opened or made: JetStream may be off, or not be up yet.
    pub async fn store(&self, options: NatsOptions) -> Result<NatsStore, StoreError> {
        NatsStore::open(self.client.clone(), options).await
    }

    /// The way to other nodes, for [`PresenceService::connect`](crate::presence::PresenceService::connect).
    pub fn bus(&self, hear: Hearing) -> Arc<dyn PresenceBus> {
        Arc::new(NatsPresenceBus::start(self.client.clone(), hear))
    }

    /// # Errors
    /// What is wrong with the connection.
    pub fn check(&self) -> Result<(), String> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => {
                Err("NATS cannot be reached: other nodes are not heard, and clients cannot resume".to_owned())
            }
        }
    }

    /// Waits until what was published has left, but not for longer than this.
    pub async fn flush(&self, patience: Duration) {
        match timeout(patience, self.client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last words to other nodes are lost"),
            Err(_) => tracing::debug!("the last words to other nodes did not leave in time"),
        }
    }
}

fn tell(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected with NATS"),
        Event::Disconnected => tracing::warn!("NATS is lost; it is tried again until it is back"),
        Event::SlowConsumer(_) => tracing::warn!("messages of other nodes are lost: they are heard too slowly"),
        Event::ServerError(error) => tracing::error!(%error, "NATS refused something"),
        Event::ClientError(error) => tracing::warn!(%error, "NATS is not heard"),
        Event::LameDuckMode | Event::Draining | Event::Closed => tracing::info!(%event, "NATS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_a_list_and_what_is_none_is_not_repeated() {
        assert_eq!(servers("nats://one:4222, tls://two").unwrap().len(), 2);
        for bad in [
            "",
            "nats://one,",
            "nats://user:secret@ bad",
            "nats://user:secret@",
            "ws://one",
        ] {
            let error = servers(bad).unwrap_err();
            assert!(!error.may_pass() && !error.to_string().contains("secret"), "{error}");
        }
    }
}
