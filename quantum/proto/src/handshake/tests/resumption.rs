//! Sessions that are taken up again, with early data.

use super::*;
use crate::{crypto::OpenError, number::PacketNumber};

/// Configurations of two ends that had a connection before.
fn visited() -> (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>) {
    let (client, server) = configs();
    run(&mut End::client(&client), &mut End::server(&server)).unwrap();
    (client, server)
}

fn early_packet(client: &mut End) -> Vec<u8> {
    let mut packet = b"early".to_vec();
    client
        .keys
        .seal(Level::Early, PacketNumber(0), b"header", &mut packet, 0)
        .unwrap();
    packet
}

fn open_early(server: &mut End, packet: &[u8]) -> Result<usize, OpenError> {
    server
        .keys
        .open(Level::Early, PacketNumber(0), b"header", &mut packet.to_vec())
}

#[test]
fn early_data_is_taken() {
    let (client, server) = visited();
    let (mut client, mut server) = (End::client(&client), End::server(&server));
    assert!(client.keys.can_seal(Level::Early) && !server.keys.can_seal(Level::Early));
    let remembered = client.handshake.peer_params().unwrap().unwrap();
    assert_eq!(remembered.initial_max_data, SERVER_DATA);
    assert_eq!(client.handshake.early_accepted(), None, "not known yet");

    let packet = early_packet(&mut client);
    assert_eq!(open_early(&mut server, &packet), Err(OpenError::NoKeys));
    let first = client.pieces(2000);
    let progress = server.read(&first[0]).unwrap();
    assert_eq!(
        progress,
        Progress {
            early: true,
            handshake: true,
            application: true,
            complete: false
        }
    );
    assert_eq!(open_early(&mut server, &packet), Ok(5));

    run(&mut client, &mut server).unwrap();
    assert_eq!(client.handshake.early_accepted(), Some(true));
    assert_eq!(server.handshake.early_accepted(), None, "a client's question");
    assert!(client.handshake.peer_certificates().is_some());
}

#[test]
fn a_server_that_lost_its_tickets_refuses_early_data() {
    let identity = Identity::new(NAME);
    let (client, before, after) = (identity.client(ALPN), identity.server(ALPN), identity.server(ALPN));
    run(&mut End::client(&client), &mut End::server(&before)).unwrap();
    let (mut client, mut server) = (End::client(&client), End::server(&after));
    let packet = early_packet(&mut client);
    run(&mut client, &mut server).unwrap();
    assert_eq!(client.handshake.early_accepted(), Some(false));
    assert_eq!(open_early(&mut server, &packet), Err(OpenError::NoKeys));
    assert!(client.handshake.is_complete() && server.handshake.is_complete());
}

#[test]
fn a_replayed_first_flight_gives_no_early_data_twice() {
    let (client, config) = visited();
    let (mut client, mut server, mut replay) = (End::client(&client), End::server(&config), End::server(&config));
    let (packet, first) = (early_packet(&mut client), client.pieces(2000));
    assert!(server.read(&first[0]).unwrap().early);
    assert!(!replay.read(&first[0]).unwrap().early);
    assert_eq!(open_early(&mut server, &packet), Ok(5));
    assert_eq!(open_early(&mut replay, &packet), Err(OpenError::NoKeys));
}

#[test]
fn each_connection_leaves_tickets_for_the_next() {
    let (client, server) = visited();
    for _ in 0..10 {
        let (mut client, mut server) = (End::client(&client), End::server(&server));
        run(&mut client, &mut server).unwrap();
        assert_eq!(client.handshake.early_accepted(), Some(true));
    }
}

#[test]
fn another_protocol_or_another_trust_resumes_nothing() {
    let identity = Identity::new(NAME);
    let (client, server) = (identity.client(ALPN), identity.server(&[ALPN[0], b"other/1"]));
    run(&mut End::client(&client), &mut End::server(&server)).unwrap();
    let mut other = rustls::ClientConfig::clone(&client);
    other.alpn_protocols = vec![b"other/1".to_vec()];
    let (mut resuming, mut end) = (End::client(&Arc::new(other)), End::server(&server));
    run(&mut resuming, &mut end).unwrap();
    assert_eq!(resuming.handshake.early_accepted(), Some(false));

    let mut other = rustls::ClientConfig::clone(&identity.client(ALPN));
    other.resumption = client.resumption.clone();
    assert!(!End::client(&Arc::new(other)).keys.can_seal(Level::Early));
}

#[test]
fn a_client_may_decline_early_data() {
    let (client, server) = visited();
    let mut client = rustls::ClientConfig::clone(&client);
    client.enable_early_data = false;
    let (mut client, mut server) = (End::client(&Arc::new(client)), End::server(&server));
    assert!(!client.keys.can_seal(Level::Early));
    run(&mut client, &mut server).unwrap();
    assert_eq!(client.handshake.early_accepted(), None);
}
