use std::time::Duration;

use super::*;
use crate::handshake::tests::{ALPN, Identity, NAME, configs};

const HERE: &str = "192.0.2.1:443";

/// A client's endpoint with connections that have just begun.
fn endpoint(connections: usize) -> (Endpoint, Vec<(ConnectionHandle, Box<Connection>)>) {
    let mut endpoint = Endpoint::new(EndpointConfig::new([1; 32], [2; 32]), None);
    let config = ClientConfig {
        token: None,
        tls: Identity::new(NAME).client(ALPN),
        transport: Default::default(),
    };
    let begun = (0..connections)
        .map(|_| endpoint.connect(now(), &config, HERE.parse().unwrap(), NAME).unwrap())
        .collect();
    (endpoint, begun)
}

fn now() -> Time {
    Time::ZERO + Duration::from_secs(1)
}

#[test]
fn the_handshake_is_the_work_of_the_connection_and_not_of_the_endpoint() {
    let (client_tls, tls) = configs();
    let server = ServerConfig {
        tls,
        transport: Default::default(),
    };
    let mut endpoint = Endpoint::new(EndpointConfig::new([1; 32], [2; 32]), Some(Arc::new(server)));
    let config = ClientConfig {
        token: None,
        tls: client_tls,
        transport: Default::default(),
    };
    let id = endpoint.first_id(now());
    let mut client = Connection::connect(now(), &config, id, HERE.parse().unwrap(), NAME, 1).unwrap();
    let mut flight = Vec::new();
    client.poll_transmit(now(), 1, &mut flight).unwrap();
    let event = endpoint.on_datagram(now(), HERE.parse().unwrap(), None, flight[..].into());
    let DatagramEvent::New(handle, mut connection, event) = event else {
        panic!("{event:?}")
    };
    assert_eq!(endpoint.connections(), (1, 1), "it counts as half-open at once");
    assert_eq!(connection.server_name(), None, "nothing of it was read");
    let again = endpoint.on_datagram(now(), HERE.parse().unwrap(), None, flight[..].into());
    assert!(matches!(again, DatagramEvent::Known(known, _) if known == handle));
    assert!(connection.on_event(now(), event));
    assert_eq!(connection.server_name().as_deref(), Some(NAME));
}

/// Which connection a datagram with this id goes to.
fn owner(endpoint: &mut Endpoint, id: ConnectionId) -> Option<ConnectionHandle> {
    let header = Header {
        version: VERSION,
        flags: Flags::of_level(Level::Application),
        id,
        number: 0,
        ack: 0,
        payload_len: 0,
    };
    match endpoint.on_datagram(now(), HERE.parse().unwrap(), None, header.encode()[..].into()) {
        DatagramEvent::Known(handle, _) => Some(handle),
        _ => None,
    }
}

#[test]
fn an_id_of_another_connection_can_neither_be_taken_over_nor_taken_away() {
    let (mut endpoint, begun) = endpoint(2);
    let [(attacked, victim), (hostile, _)] = &begun[..] else {
        panic!("two were begun")
    };
    // The server of one gives it the id of the other, which it then retires.
    for event in [ToEndpoint::Learned(victim.id()), ToEndpoint::Retired(victim.id())] {
        assert!(endpoint.on_connection_event(*hostile, EndpointEvent(event)).is_none());
        assert_eq!(owner(&mut endpoint, victim.id()), Some(*attacked));
    }
    let own = begun[1].1.id();
    endpoint.on_connection_event(*hostile, EndpointEvent(ToEndpoint::Retired(own)));
    assert_eq!(owner(&mut endpoint, own), None);
    endpoint.on_connection_event(*hostile, EndpointEvent(ToEndpoint::Drained));
    assert_eq!(owner(&mut endpoint, victim.id()), Some(*attacked));
}

#[test]
fn a_connection_that_its_driver_gave_up_leaves_nothing() {
    let (mut endpoint, begun) = endpoint(2);
    let (gone, connection) = &begun[0];
    endpoint.forget(*gone);
    assert_eq!(endpoint.connections(), (1, 0));
    assert_eq!(owner(&mut endpoint, connection.id()), None);
    // Its last words come too late, and a second time nothing is freed twice.
    assert!(
        endpoint
            .on_connection_event(*gone, EndpointEvent(ToEndpoint::Drained))
            .is_none()
    );
    endpoint.forget(*gone);
    assert_eq!(endpoint.free, [*gone]);
    assert_eq!(owner(&mut endpoint, begun[1].1.id()), Some(begun[1].0));
}
