//! Both ends agree, whatever the network does.

use proptest::prelude::*;

use super::*;
use crate::number::PacketNumber;

/// A packet of one end is opened by the other.
fn assert_carries(from: &mut End, to: &mut End, level: Level, number: u64) {
    let mut packet = b"payload".to_vec();
    from.keys
        .seal(level, PacketNumber(number), b"header", &mut packet, 0)
        .unwrap();
    assert_eq!(
        to.keys.open(level, PacketNumber(number), b"header", &mut packet),
        Ok(7),
        "{level:?}"
    );
    assert_eq!(&packet[..7], b"payload");
}

fn assert_connected(client: &mut End, server: &mut End) {
    assert!(client.handshake.is_complete() && server.handshake.is_complete());
    for level in LEVELS {
        assert_carries(client, server, level, 0);
        assert_carries(server, client, level, 0);
    }
    assert_eq!(client.handshake.alpn(), Some(ALPN[0]));
    assert_eq!(server.handshake.alpn(), Some(ALPN[0]));
    assert_eq!(
        client.handshake.peer_params().unwrap().unwrap().initial_max_data,
        SERVER_DATA
    );
    assert_eq!(
        server.handshake.peer_params().unwrap().unwrap().initial_max_data,
        CLIENT_DATA
    );
}

#[test]
fn three_flights() {
    let (client, server) = configs();
    let (mut client, mut server) = (End::client(&client), End::server(&server));
    assert!(server.handshake.peer_params().is_none() && client.handshake.peer_params().is_none());

    let first = client.pieces(2000);
    assert_eq!(
        first.iter().map(|(range, _)| range.level).collect::<Vec<_>>(),
        [Level::Initial]
    );
    assert!(
        first[0].1.len() < 600,
        "it fits in the first packet: {}",
        first[0].1.len()
    );
    let progress = server.read(&first[0]).unwrap();
    assert_eq!(
        progress,
        Progress {
            handshake: true,
            application: true,
            ..Progress::default()
        }
    );
    assert!(server.keys.can_seal(Level::Application) && !server.keys.can_seal(Level::Early));

    let second = server.pieces(2000);
    assert_eq!(
        second.iter().map(|(range, _)| range.level).collect::<Vec<_>>(),
        [Level::Initial, Level::Handshake]
    );
    assert_eq!(
        client.read(&second[0]).unwrap(),
        Progress {
            handshake: true,
            ..Progress::default()
        }
    );
    let progress = client.read(&second[1]).unwrap();
    assert_eq!(
        progress,
        Progress {
            application: true,
            complete: true,
            ..Progress::default()
        }
    );

    let third = client.pieces(2000);
    assert_eq!(
        third.iter().map(|(range, _)| range.level).collect::<Vec<_>>(),
        [Level::Handshake]
    );
    assert_eq!(
        server.read(&third[0]).unwrap(),
        Progress {
            complete: true,
            ..Progress::default()
        }
    );
    assert_eq!(
        server.read(&third[0]).unwrap(),
        Progress::default(),
        "for the second time"
    );

    let tickets = server.pieces(2000);
    assert_eq!(
        tickets.iter().map(|(range, _)| range.level).collect::<Vec<_>>(),
        [Level::Application]
    );
    assert_eq!(client.read(&tickets[0]).unwrap(), Progress::default());
    assert_connected(&mut client, &mut server);
}

#[test]
fn who_is_who() {
    let identity = Identity::new(NAME);
    let (mut client, mut server) = (End::client(&identity.client(ALPN)), End::server(&identity.server(ALPN)));
    assert!(
        client
            .handshake
            .export_keying_material(&mut [0; 32], b"label", b"")
            .is_err()
    );
    run(&mut client, &mut server).unwrap();
    assert_eq!(server.handshake.server_name().as_deref(), Some(NAME));
    assert_eq!(client.handshake.server_name(), None);
    assert_eq!(
        client.handshake.peer_certificates(),
        Some(vec![identity.certificate.to_vec()])
    );
    assert_eq!(server.handshake.peer_certificates(), None);
    assert_eq!(client.handshake.early_accepted(), None);

    let export = |end: &End, context: &[u8]| {
        let mut out = [0; 32];
        end.handshake
            .export_keying_material(&mut out, b"label", context)
            .unwrap();
        out
    };
    assert_eq!(export(&client, b"context"), export(&server, b"context"));
    assert_ne!(export(&client, b"context"), export(&server, b"another"));
}

#[test]
fn a_server_opens_application_packets_when_the_client_has_finished() {
    let (client, server) = configs();
    let (mut client, mut server) = (End::client(&client), End::server(&server));
    server.read_all(&client.pieces(2000));
    client.read_all(&server.pieces(2000));
    let mut packet = b"payload".to_vec();
    client
        .keys
        .seal(Level::Application, PacketNumber(3), b"header", &mut packet, 0)
        .unwrap();
    let open = |server: &mut End| {
        server
            .keys
            .open(Level::Application, PacketNumber(3), b"header", &mut packet.clone())
    };
    assert_eq!(open(&mut server), Err(crate::crypto::OpenError::NoKeys));
    server.read_all(&client.pieces(2000));
    assert_eq!(open(&mut server), Ok(7));
}

#[test]
fn a_server_that_wants_another_key_share() {
    let identity = Identity::new(NAME);
    let (client, known) = (identity.client(ALPN), identity.server(ALPN));
    run(&mut End::client(&client), &mut End::server(&known)).unwrap();
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups = vec![rustls::crypto::ring::kx_group::SECP256R1];
    let mut picky = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .unwrap();
    picky.alpn_protocols.clone_from(&known.alpn_protocols);
    picky.max_early_data_size = u32::MAX;
    picky.session_storage = Arc::clone(&known.session_storage);

    let (mut client, mut server) = (End::client(&client), End::server(&Arc::new(picky)));
    let first = client.pieces(2000);
    assert_eq!(
        server.read(&first[0]).unwrap(),
        Progress::default(),
        "it asks again first"
    );
    client.read_all(&server.pieces(2000));
    let second = client.pieces(2000);
    assert_eq!(
        (second[0].0.level, second[0].0.offset),
        (Level::Initial, u64::from(first[0].0.len))
    );
    assert!(!server.read(&second[0]).unwrap().early);
    run(&mut client, &mut server).unwrap();
    assert_connected(&mut client, &mut server);
    assert_eq!(
        client.handshake.early_accepted(),
        Some(false),
        "early data does not survive it"
    );
}

#[test]
fn after_a_retry_everything_is_said_again() {
    let (client, server) = configs();
    let (mut client, mut server) = (End::client(&client), End::server(&server));
    let first = client.pieces(200);
    assert!(first.len() > 1);
    client.handshake.on_lost(first[0].0);
    client.handshake.restart();
    assert_eq!(client.pieces(200), first);
    client.handshake.restart();
    run(&mut client, &mut server).unwrap();
    assert_connected(&mut client, &mut server);
}

#[test]
fn a_dropped_level_is_silent() {
    let (client, server) = configs();
    let (mut client, mut server) = (End::client(&client), End::server(&server));
    let first = client.pieces(2000);
    server.read(&first[0]).unwrap();
    server.handshake.drop_level(Level::Initial);
    assert!(!server.handshake.wants_to_send(Level::Initial));
    assert_eq!(server.handshake.next_crypto(Level::Initial, 2000), None);
    assert_eq!(server.read(&first[0]).unwrap(), Progress::default());
    server.handshake.on_lost(first[0].0);
    server.handshake.on_acked(first[0].0);
    assert!(server.handshake.wants_to_send(Level::Handshake));
}

/// What the network does with a piece.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    ArrivesTwice,
    /// Arrives, but is taken for lost.
    ArrivesLate,
    Lost,
}

fn fate() -> impl Strategy<Value = (usize, Fate, usize)> {
    let fate = prop_oneof![
        4 => Just(Fate::Arrives),
        1 => Just(Fate::ArrivesTwice),
        1 => Just(Fate::ArrivesLate),
        3 => Just(Fate::Lost),
    ];
    (7_usize..300, fate, any::<usize>())
}

/// Carries pieces from one end to the other: each is sent with a size and a fate, and one of those under way, chosen at
/// random, arrives.
fn carry(
    from: &mut End,
    to: &mut End,
    under_way: &mut Vec<Piece>,
    (size, fate, choice): (usize, Fate, usize),
) -> Result<(), TransportError> {
    if let Some(piece) = LEVELS
        .into_iter()
        .find_map(|level| from.handshake.next_crypto(level, size))
    {
        if !matches!(fate, Fate::Arrives | Fate::ArrivesTwice) {
            from.handshake.on_lost(piece.0);
        }
        let copies = [1, 2, 1, 0][fate as usize];
        under_way.extend(std::iter::repeat_n(piece, copies));
    }
    if !under_way.is_empty() {
        let piece = under_way.swap_remove(choice % under_way.len());
        to.read(&piece)?;
        from.handshake.on_acked(piece.0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Small pieces, shuffled, lost, sent again, duplicated.
    #[test]
    fn any_network(fates in prop::collection::vec((fate(), fate()), 0..200)) {
        let (client, server) = configs();
        let (mut client, mut server) = (End::client(&client), End::server(&server));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (client_fate, server_fate) in fates {
            carry(&mut client, &mut server, &mut up, client_fate).unwrap();
            carry(&mut server, &mut client, &mut down, server_fate).unwrap();
        }
        // The weather clears up.
        while !up.is_empty() || !down.is_empty() || !client.handshake.is_complete() || !server.handshake.is_complete() {
            carry(&mut client, &mut server, &mut up, (50, Fate::Arrives, 0)).unwrap();
            carry(&mut server, &mut client, &mut down, (50, Fate::Arrives, 0)).unwrap();
        }
        run(&mut client, &mut server).unwrap();
        assert_connected(&mut client, &mut server);
    }
}
