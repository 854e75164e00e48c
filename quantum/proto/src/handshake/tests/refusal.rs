//! What the handshake does not put up with.

use super::*;
use crate::tls::Fingerprint;

fn refused(client: Arc<rustls::ClientConfig>, server: Arc<rustls::ServerConfig>) -> TransportError {
    run(&mut End::client(&client), &mut End::server(&server)).unwrap_err()
}

#[test]
fn a_certificate_of_nobody_known() {
    let (known, other) = (Identity::new(NAME), Identity::new(NAME));
    let error = refused(known.client(ALPN), other.server(ALPN));
    assert_eq!(
        error.code,
        CloseCode::tls(51),
        "decrypt_error, for it has the known one's name: {error}"
    );
    assert!(error.reason.contains("certificate"), "{error}");
}

#[test]
fn a_certificate_for_another_name() {
    let identity = Identity::new("another.example");
    let error = refused(identity.client(ALPN), identity.server(ALPN));
    assert_eq!(error.code, CloseCode::tls(42), "{error}");
    assert!(error.reason.contains(NAME), "{error}");
}

#[test]
fn a_pinned_certificate_is_enough_and_no_other_will_do() {
    let (pinned, other) = (Identity::new("whatever.example"), Identity::new(NAME));
    let pins = vec![Fingerprint([7; 32]), Fingerprint::of(&pinned.certificate)];
    let client = Arc::new(tls::client(&Trust::Pinned(pins), ALPN).unwrap());
    run(&mut End::client(&client), &mut End::server(&pinned.server(ALPN))).unwrap();

    let error = refused(client, other.server(ALPN));
    assert_eq!(error.code, CloseCode::tls(46), "certificate_unknown: {error}");
    assert!(
        error.reason.contains(&Fingerprint::of(&other.certificate).to_string()),
        "{error}"
    );
}

#[test]
fn a_pinned_certificate_without_its_key() {
    #[derive(Debug)]
    struct Stolen(Arc<rustls::sign::CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Stolen {
        fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let (victim, thief) = (Identity::new(NAME), Identity::new(NAME));
    let key = rustls::crypto::ring::sign::any_supported_type(&thief.key).unwrap();
    let stolen = rustls::sign::CertifiedKey::new(vec![victim.certificate.clone()], key);
    let mut server = rustls::ServerConfig::clone(&thief.server(ALPN));
    server.cert_resolver = Arc::new(Stolen(Arc::new(stolen)));
    let trust = Trust::Pinned(vec![Fingerprint::of(&victim.certificate)]);
    let error = refused(Arc::new(tls::client(&trust, ALPN).unwrap()), Arc::new(server));
    assert_eq!(error.code, CloseCode::tls(51), "decrypt_error: {error}");
}

#[test]
fn no_common_protocol() {
    let identity = Identity::new(NAME);
    let error = refused(identity.client(&[b"other/1", b"other/2"]), identity.server(ALPN));
    assert_eq!(error.code, CloseCode::tls(120), "{error}");
    let (mut client, mut server) = (
        End::client(&identity.client(&[b"other/1", ALPN[0]])),
        End::server(&identity.server(ALPN)),
    );
    run(&mut client, &mut server).unwrap();
    assert_eq!(client.handshake.alpn(), Some(ALPN[0]));
}

#[test]
fn configurations_without_alpn() {
    let (client, server) = configs();
    let (mut client, mut server) = (
        rustls::ClientConfig::clone(&client),
        rustls::ServerConfig::clone(&server),
    );
    client.alpn_protocols.clear();
    server.alpn_protocols.clear();
    let mut keys = Keyring::new(initial_suite(), ID, Side::Client);
    let error = Handshake::client(Arc::new(client), NAME, &params(0), &mut keys).unwrap_err();
    assert!(error.to_string().contains("ALPN"), "{error}");
    let error = Handshake::server(Arc::new(server), &params(0)).unwrap_err();
    assert!(matches!(error, ConnectError::Tls(rustls::Error::General(_))), "{error}");
}

#[test]
fn names_that_are_none() {
    let (client, _) = configs();
    let mut keys = Keyring::new(initial_suite(), ID, Side::Client);
    for name in ["", "two words", "-", "127.0.0.1:80"] {
        let error = Handshake::client(Arc::clone(&client), name, &params(0), &mut keys).unwrap_err();
        assert!(
            matches!(&error, ConnectError::ServerName(wrong) if wrong == name),
            "{error}"
        );
    }
    Handshake::client(client, "127.0.0.1", &params(0), &mut keys).unwrap();
}

#[test]
fn bytes_where_they_have_no_business() {
    let (mut client, mut server) = connected();
    let error = |end: &mut End, level, offset| {
        end.handshake
            .read(level, offset, b"\x14", &mut end.keys)
            .unwrap_err()
            .code
    };
    assert_eq!(error(&mut server, Level::Early, 0), CloseCode::PROTOCOL);
    assert_eq!(error(&mut client, Level::Initial, 5000), CloseCode::PROTOCOL);
    assert_eq!(error(&mut server, Level::Handshake, 5000), CloseCode::PROTOCOL);
    assert_eq!(error(&mut client, Level::Application, 1 << 20), CloseCode::LIMIT);
}

#[test]
fn messages_after_the_handshake() {
    let key_update = [24, 0, 0, 1, 0];
    let (mut client, mut server) = connected();
    let error = server
        .handshake
        .read(Level::Application, 0, &key_update, &mut server.keys)
        .unwrap_err();
    assert_eq!(error.code, CloseCode::tls(10), "unexpected_message: {error}");
    let tickets = client.handshake.stream(Level::Application).unwrap().incoming.taken();
    let error = client
        .handshake
        .read(Level::Application, tickets, &key_update, &mut client.keys)
        .unwrap_err();
    assert_eq!(error.code, CloseCode::tls(10), "unexpected_message: {error}");
}

#[test]
fn nonsense() {
    let (_, config) = configs();
    for bytes in [&[0xff; 100][..], &[1, 0, 0, 2, 3, 3], &[1, 0xff, 0xff, 0xff]] {
        let mut server = End::server(&config);
        let error = server
            .handshake
            .read(Level::Initial, 0, bytes, &mut server.keys)
            .unwrap_err();
        assert_eq!(error.code, CloseCode::tls(50), "decode_error: {error}");
        assert!(!server.keys.can_seal(Level::Handshake));
    }
}
