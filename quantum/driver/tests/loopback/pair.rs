//! A server, a client, and a connection between them.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use quantum::{ClientOptions, Connection, Endpoint, Identity, ServerOptions, TransportConfig, Trust};

pub(crate) const NAME: &str = "localhost";
pub(crate) const PROTOCOL: &str = "test/1";

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Fails rather than hangs.
pub(crate) async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), Box::pin(test))
        .await
        .expect("it hangs")
}

/// Waits until something is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn server_options() -> ServerOptions {
    ServerOptions::new(Identity::self_signed([NAME]).unwrap(), [PROTOCOL])
}

pub(crate) fn client_options(server: &ServerOptions) -> ClientOptions {
    ClientOptions::new(&Trust::Pinned(vec![server.identity.fingerprint()]), [PROTOCOL]).unwrap()
}

pub(crate) struct Pair {
    pub(crate) server: Endpoint,
    pub(crate) client: Endpoint,
    pub(crate) options: ClientOptions,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(&server_options(), TransportConfig::default())
    }

    /// `transport`: the client's.
    pub(crate) fn with(options: &ServerOptions, transport: TransportConfig) -> Self {
        Self {
            server: Endpoint::server(options, loopback()).unwrap(),
            client: Endpoint::client(loopback()).unwrap(),
            options: client_options(options).with_transport(transport),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.local_addr().unwrap()
    }

    /// The client's end and the server's.
    pub(crate) async fn connect(&self) -> (Connection, Connection) {
        let (client, server) = tokio::join!(
            self.client.connect(&self.options, self.addr(), NAME),
            self.server.accept()
        );
        (client.unwrap(), server.unwrap())
    }
}

/// Bytes that tell which message they are and whether they are whole.
pub(crate) fn message(number: u32, len: usize) -> Bytes {
    let mut data = number.to_be_bytes().to_vec();
    data.extend((0..len).map(|at| (number as usize + at) as u8));
    data.into()
}

/// The number of a message, after a look at the rest of it.
pub(crate) fn number(data: &[u8]) -> u32 {
    let (head, rest) = data.split_at(4);
    let number = u32::from_be_bytes(head.try_into().unwrap());
    assert_eq!(data, message(number, rest.len()), "message {number} is damaged");
    number
}

/// Sends back whatever comes.
pub(crate) async fn echo(connection: Connection) {
    while let Ok(message) = connection.recv().await {
        let options = quantum::SendOptions {
            delivery: message.delivery,
            ..Default::default()
        };
        if connection.send(message.channel, options, message.data).await.is_err() {
            break;
        }
    }
}
