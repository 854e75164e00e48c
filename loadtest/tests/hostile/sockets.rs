//! Connections that are opened and come to nothing.

use aetherflow_loadtest::{client::Client, wire::Endpoint};
use aetherflow_schema::close::CloseCode;
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{PATIENCE, Stage, close_code};

/// Of each of the three kinds.
const SOCKETS: usize = 1_000;

/// Connections from one address that the server allows unless told otherwise.
const PER_ADDRESS: usize = 1_024;

/// Connections being made at once.
const AT_ONCE: usize = 64;

const HALF_A_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upg";

async fn open(endpoints: impl Iterator<Item = Endpoint>, say: &'static [u8]) -> Vec<TcpStream> {
    let opening = endpoints.map(|endpoint| async move {
        let mut stream = endpoint.connect().await.unwrap();
        stream.write_all(say).await.unwrap();
        stream
    });
    stream::iter(opening).buffer_unordered(AT_ONCE).collect().await
}

/// A thousand that say nothing, a thousand that stop in the middle of their request, a thousand that never join: all
/// are closed in time, and while they are open there is room for others.
pub(crate) async fn half_open(stage: &mut Stage) {
    let silent = open((0..SOCKETS).map(|n| stage.endpoint(n)), b"").await;
    let half = open((0..SOCKETS).map(|n| stage.endpoint(n)), HALF_A_REQUEST).await;
    let dialing = (0..SOCKETS).map(|n| {
        let endpoint = stage.endpoint(n);
        async move { endpoint.dial().await.unwrap() }
    });
    let unjoined: Vec<_> = stream::iter(dialing).buffer_unordered(AT_ONCE).collect().await;
    println!(
        "{} half-open sockets: {} MiB resident",
        3 * SOCKETS,
        stage.measure() >> 20
    );

    let document = &stage.crew.documents()[0];
    let newcomer = Client::reader("newcomer", stage.server.address(), [document]);
    newcomer
        .until(document, "a newcomer is served", PATIENCE, |replica| {
            replica.changes() > 0
        })
        .await
        .unwrap();
    newcomer.stop().await;

    for mut stream in silent.into_iter().chain(half) {
        let mut said = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        ended.expect("a half-open socket was not closed in time").unwrap();
    }
    for mut socket in unjoined {
        assert_eq!(close_code(&mut socket).await, CloseCode::JoinTimeout.code());
    }
}

/// One address takes all it may have, and more: that much is refused, and other addresses are served.
pub(crate) async fn too_many_from_one_address(stage: &mut Stage) {
    const MORE: usize = 76;
    let greedy = stage.endpoint(0);
    let streams = open((0..PER_ADDRESS + MORE).map(|_| greedy), b"").await;
    let mut other = stage.endpoint(1).dial().await.unwrap();
    let mut refused = 0;
    for mut stream in streams {
        let mut said = Vec::new();
        // A refusal that overtakes what the client says may come as a reset.
        let ended = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        let reset = ended.expect("a socket was not closed in time").is_err();
        refused += usize::from(reset || said.starts_with(b"HTTP/1.1 429"));
    }
    assert_eq!(refused, MORE);
    assert_eq!(close_code(&mut other).await, CloseCode::JoinTimeout.code());
}
