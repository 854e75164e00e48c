use quantum_proto::tls::{Fingerprint, Trust};

use super::*;

/// A hub with a connection to nobody.
fn connecting() -> (Arc<Hub>, Connection) {
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let config = EndpointConfig::new([1; 32], [2; 32]);
    let hub = Hub::start(config, None, Socket::bind(nowhere).unwrap(), 0, None).unwrap();
    let options = ClientOptions::new(&Trust::Pinned(vec![Fingerprint([7; 32])]), ["test/1"]).unwrap();
    let connection = hub
        .connect(&options, hub.socket().local_addr().unwrap(), "localhost")
        .unwrap();
    (hub, connection)
}

/// Connections that the endpoint knows, and those of them that are half-open.
fn known(hub: &Hub) -> (usize, usize) {
    lock(&hub.core).endpoint.connections()
}

#[tokio::test]
async fn a_task_that_ends_before_its_connection_leaves_nothing_in_the_endpoint() {
    let (hub, _connection) = connecting();
    assert_eq!(known(&hub), (1, 0));
    // As the task does when it is dropped.
    let shared = hub.all().remove(0);
    hub.forget(ConnectionHandle(0), &shared);
    assert_eq!((known(&hub), hub.count()), ((0, 0), 0));
    // The handle is the next connection's, and the late end of the first one does it no harm.
    let options = ClientOptions::new(&Trust::Pinned(vec![Fingerprint([7; 32])]), ["test/1"]).unwrap();
    let _next = hub
        .connect(&options, hub.socket().local_addr().unwrap(), "localhost")
        .unwrap();
    hub.forget(ConnectionHandle(0), &shared);
    assert_eq!((known(&hub), hub.count()), ((1, 0), 1));
}
