//! The helpers make what they promise, and say what is wrong otherwise.

use std::error::Error;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};

use super::*;
use crate::handshake::tests::{ALPN, End, Identity, NAME, run};

#[test]
fn a_chain_from_an_authority() {
    let key = || KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(authority.clone(), key()).unwrap();
    let middle = CertifiedIssuer::signed_by(authority, key(), &root).unwrap();
    let leaf_key = key();
    let leaf = CertificateParams::new([NAME.to_owned()])
        .unwrap()
        .signed_by(&leaf_key, &middle)
        .unwrap();

    let chain = vec![leaf.der().clone(), middle.der().clone()];
    let server_config = server(
        chain.clone(),
        PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
        ALPN,
    )
    .unwrap();
    let client_config = client(&Trust::Roots(vec![root.der().clone()]), ALPN).unwrap();
    let (mut client, mut server) = (End::client(&client_config.into()), End::server(&server_config.into()));
    run(&mut client, &mut server).unwrap();
    let seen = client.handshake.peer_certificates().unwrap();
    assert_eq!(
        seen,
        chain.iter().map(|certificate| certificate.to_vec()).collect::<Vec<_>>()
    );
}

#[test]
fn only_tls_1_3_without_a_key_log() {
    let identity = Identity::new(NAME);
    let (client, server) = (identity.client(ALPN), identity.server(ALPN));
    assert!(!client.key_log.will_log("CLIENT_TRAFFIC_SECRET_0") && !server.key_log.will_log("CLIENT_TRAFFIC_SECRET_0"));
    assert!(client.enable_early_data && !server.ticketer.enabled());
    assert_eq!(server.max_early_data_size, u32::MAX);
    for suite in &client.crypto_provider().cipher_suites {
        assert!(suite.tls13().is_some_and(|suite| suite.quic.is_some()));
    }
}

#[test]
fn what_is_wrong_is_said() {
    let (identity, other) = (Identity::new(NAME), Identity::new(NAME));
    let key = || identity.key.clone_key();
    let chain = || vec![identity.certificate.clone()];
    assert_eq!(server(chain(), key(), &[]).unwrap_err(), TlsError::NoAlpn);
    assert_eq!(
        server(chain(), key(), &[b"a/1", b""]).unwrap_err(),
        TlsError::Alpn(String::new())
    );
    assert!(matches!(
        server(chain(), key(), &[&[b'a'; 256]]).unwrap_err(),
        TlsError::Alpn(_)
    ));
    assert_eq!(server(Vec::new(), key(), ALPN).unwrap_err(), TlsError::NoCertificate);
    assert!(matches!(
        server(chain(), other.key.clone_key(), ALPN).unwrap_err(),
        TlsError::Identity(_)
    ));
    let error = server(chain(), PrivateKeyDer::Pkcs8(vec![1, 2, 3].into()), ALPN).unwrap_err();
    assert!(matches!(error, TlsError::Identity(_)) && error.source().is_some());

    assert_eq!(client(&Trust::Roots(Vec::new()), ALPN).unwrap_err(), TlsError::NoTrust);
    assert_eq!(client(&Trust::Pinned(Vec::new()), ALPN).unwrap_err(), TlsError::NoTrust);
    assert_eq!(client(&Trust::Roots(chain()), &[]).unwrap_err(), TlsError::NoAlpn);
    let roots = vec![identity.certificate.clone(), CertificateDer::from(vec![0; 10])];
    let error = client(&Trust::Roots(roots), ALPN).unwrap_err();
    assert!(matches!(error, TlsError::Root { index: 1, .. }), "{error}");
    assert!(
        error.to_string().starts_with("root certificate 1 cannot be used: "),
        "{error}"
    );
}

#[test]
fn a_key_is_not_shown() {
    let config = Identity::new(NAME).server(ALPN);
    let trust = Trust::Pinned(vec![Fingerprint([0xab; 32])]);
    assert_eq!(format!("{trust:?}"), format!("Pinned([{}])", "ab".repeat(32)));
    assert_eq!(format!("{:?}", config.session_storage), "Sessions(0)");
}
