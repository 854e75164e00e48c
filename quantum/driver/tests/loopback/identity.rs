//! Who a client believes, and what it hears when it does not.

use quantum::{
    BindError, ClientOptions, ConnectError, Endpoint, EndpointError, Fingerprint, Identity, IdentityError,
    ServerOptions, TlsError, Trust, certificates_from_pem_file,
};

use crate::pair::{NAME, PROTOCOL, Pair, loopback, server_options, within};

async fn attempt(pair: &Pair, trust: &Trust, protocol: &str, name: &str) -> Result<(), EndpointError> {
    let options = ClientOptions::new(trust, [protocol]).unwrap();
    pair.client.connect(&options, pair.addr(), name).await.map(drop)
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused_and_named() {
    within(async {
        let options = server_options();
        let pair = Pair::with(&options, Default::default());
        let wrong = Trust::Pinned(vec![Fingerprint([7; 32])]);
        let error = attempt(&pair, &wrong, PROTOCOL, NAME).await.unwrap_err().to_string();
        let found = options.identity.fingerprint().to_string();
        assert!(error.contains(&found) && error.contains("not pinned"), "{error}");
        let right = Trust::Pinned(vec![Fingerprint([7; 32]), options.identity.fingerprint()]);
        attempt(&pair, &right, PROTOCOL, "any.name").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_identity_from_pem_files_is_trusted_by_its_authority() {
    within(async {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();

        let identity = Identity::from_pem_files(&certificate, &key).unwrap();
        assert_eq!(identity.fingerprint(), Fingerprint::of(made.cert.der()));
        let pair = Pair::with(&ServerOptions::new(identity, [PROTOCOL]), Default::default());
        let roots = Trust::Roots(certificates_from_pem_file(&certificate).unwrap());
        attempt(&pair, &roots, PROTOCOL, NAME).await.unwrap();
        let error = attempt(&pair, &roots, PROTOCOL, "other.name")
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("other.name"), "{error}");
        let error = attempt(&pair, &roots, PROTOCOL, "no name").await.unwrap_err();
        assert!(
            matches!(error, EndpointError::Connect(ConnectError::ServerName(_))),
            "{error}"
        );

        let missing = Identity::from_pem_files(&folder.path().join("missing"), &key).unwrap_err();
        assert!(missing.to_string().contains("missing: "), "{missing}");
        let no_key = Identity::from_pem_files(&certificate, &certificate).unwrap_err();
        assert!(matches!(no_key, IdentityError::Pem { .. }), "{no_key}");
        let empty = certificates_from_pem_file(&key).unwrap_err();
        assert!(matches!(empty, IdentityError::Empty(_)), "{empty}");
    })
    .await;
}

#[tokio::test]
async fn both_ends_must_speak_the_same_protocol() {
    within(async {
        let options = server_options();
        let pair = Pair::with(&options, Default::default());
        let trust = Trust::Pinned(vec![options.identity.fingerprint()]);
        assert!(attempt(&pair, &trust, "other/1", NAME).await.is_err());
        let (client, server) = pair.connect().await;
        assert_eq!(client.protocol().as_deref(), Some(PROTOCOL.as_bytes()));
        assert_eq!(server.protocol(), client.protocol());
        let certificates = client.peer_certificates().unwrap();
        assert_eq!(Fingerprint::of(&certificates[0]), options.identity.fingerprint());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_used_is_said() {
    let mut options = server_options();
    options.protocols.clear();
    let error = Endpoint::server(&options, loopback()).unwrap_err();
    assert!(matches!(error, BindError::Tls(TlsError::NoAlpn)), "{error}");
    let taken = Endpoint::client(loopback()).unwrap();
    let error = Endpoint::client(taken.local_addr().unwrap()).unwrap_err();
    assert!(matches!(error, BindError::Io(_)), "{error}");
}

#[tokio::test]
async fn a_kept_identity_is_made_once_and_its_key_never_again() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    let read = |path| std::fs::read_to_string(path).unwrap();
    let made = Identity::kept_in(folder.path(), [NAME]).unwrap();
    let secret = read(&key);
    assert_eq!(
        Identity::kept_in(folder.path(), ["another"]).unwrap().fingerprint(),
        made.fingerprint()
    );

    // As after a crash between the two, or a hand that renews the certificate.
    std::fs::remove_file(&certificate).unwrap();
    let renewed = Identity::kept_in(folder.path(), [NAME]).unwrap();
    assert_eq!(read(&key), secret);
    // The same key signs the same certificate: whoever has pinned it goes on trusting.
    assert_eq!(renewed.fingerprint(), made.fingerprint());
    // The certificate is that key's: TLS would refuse another's.
    Endpoint::server(&ServerOptions::new(renewed, [PROTOCOL]), loopback()).unwrap();

    std::fs::remove_file(&certificate).unwrap();
    std::fs::write(&key, "no key").unwrap();
    let error = Identity::kept_in(folder.path(), [NAME]).unwrap_err();
    assert!(matches!(error, IdentityError::Key { .. }), "{error}");
    assert_eq!(read(&key), "no key");
}
