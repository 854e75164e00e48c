//! TLS identities for tests: one Ed25519 certificate for the process, so that all sizes are constant.

use std::sync::{Arc, OnceLock};

use quantum_proto::{ClientConfig, ServerConfig, TransportConfig};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    version::TLS13,
};

/// What the certificate is for.
pub(crate) const NAME: &str = "server.test";
/// What both sides speak.
const ALPN: &[u8] = b"aether/1";

struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    fn of_process() -> &'static Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        IDENTITY.get_or_init(Self::new)
    }
}

/// The server that [`client`] trusts. Resumption and early data are on.
pub(crate) fn server(transport: TransportConfig) -> Arc<ServerConfig> {
    let identity = Identity::of_process();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // The only value but 0 that QUIC's TLS interface takes.
    tls.max_early_data_size = u32::MAX;
    Arc::new(ServerConfig {
        tls: Arc::new(tls),
        transport: Arc::new(transport),
    })
}

/// Trusts [`server`]; remembers sessions from one connection to the next.
pub(crate) fn client(transport: TransportConfig) -> ClientConfig {
    trusting(&Identity::of_process().certificate, transport)
}

/// Trusts somebody else with the same name.
pub(crate) fn deceived_client(transport: TransportConfig) -> ClientConfig {
    trusting(&Identity::new().certificate, transport)
}

fn trusting(root: &CertificateDer<'static>, transport: TransportConfig) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_early_data = true;
    ClientConfig {
        token: None,
        tls: Arc::new(tls),
        transport: Arc::new(transport),
    }
}
