//! Two ends of a handshake that talk through byte vectors.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use uuid::Uuid;

use super::*;
use crate::{
    config::TransportConfig,
    crypto::initial_suite,
    tls::{self, Trust},
    types::ConnectionId,
};

mod exchange;
mod refusal;
mod resumption;

pub(crate) const NAME: &str = "server.example";
pub(crate) const ALPN: &[&[u8]] = &[b"test/1"];
pub(crate) const ID: ConnectionId = ConnectionId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001));

/// A certificate that signed itself, and its key. Ed25519, so that flights always have the same length.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            certificate: certificate.into(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    pub(crate) fn server(&self, alpn: &[&[u8]]) -> Arc<rustls::ServerConfig> {
        Arc::new(tls::server(vec![self.certificate.clone()], self.key.clone_key(), alpn).unwrap())
    }

    /// A client that takes this certificate for its own authority.
    pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        Arc::new(tls::client(&Trust::Roots(vec![self.certificate.clone()]), alpn).unwrap())
    }
}

/// A client's and a server's configuration that fit.
pub(crate) fn configs() -> (Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>) {
    let identity = Identity::new(NAME);
    (identity.client(ALPN), identity.server(ALPN))
}

pub(crate) fn params(max_data: u64) -> Params {
    Params {
        initial_max_data: max_data,
        ..Params::ours(&TransportConfig::default(), ID, None)
    }
}

/// What the client and the server of these tests say of themselves.
pub(crate) const CLIENT_DATA: u64 = 1_111_111;
pub(crate) const SERVER_DATA: u64 = 2_222_222;

/// One end.
pub(crate) struct End {
    pub(crate) handshake: Handshake,
    pub(crate) keys: Keyring,
}

impl End {
    pub(crate) fn client(tls: &Arc<rustls::ClientConfig>) -> Self {
        let mut keys = Keyring::new(initial_suite(), ID, Side::Client);
        let handshake = Handshake::client(Arc::clone(tls), NAME, &params(CLIENT_DATA), &mut keys).unwrap();
        Self { handshake, keys }
    }

    pub(crate) fn server(tls: &Arc<rustls::ServerConfig>) -> Self {
        let keys = Keyring::new(initial_suite(), ID, Side::Server);
        Self {
            handshake: Handshake::server(Arc::clone(tls), &params(SERVER_DATA)).unwrap(),
            keys,
        }
    }

    pub(crate) fn read(&mut self, piece: &Piece) -> Result<Progress, TransportError> {
        self.handshake
            .read(piece.0.level, piece.0.offset, &piece.1, &mut self.keys)
    }

    pub(crate) fn read_all(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            self.read(piece).unwrap();
        }
    }

    /// Everything it has to say, in pieces of at most `size` bytes.
    pub(crate) fn pieces(&mut self, size: usize) -> Vec<Piece> {
        let next = |level| {
            let handshake = &mut self.handshake;
            let pieces: Vec<_> = std::iter::from_fn(|| handshake.next_crypto(level, size)).collect();
            assert!(!handshake.wants_to_send(level));
            pieces
        };
        LEVELS.into_iter().flat_map(next).collect()
    }
}

/// What a CRYPTO frame holds.
pub(crate) type Piece = (CryptoRange, Bytes);

/// Lets both talk, in order and without loss, until neither has anything to say.
pub(crate) fn run(client: &mut End, server: &mut End) -> Result<(), TransportError> {
    loop {
        let (up, down) = (client.pieces(1000), server.pieces(1000));
        if up.is_empty() && down.is_empty() {
            return Ok(());
        }
        for piece in &up {
            server.read(piece)?;
            client.handshake.on_acked(piece.0);
        }
        for piece in &down {
            client.read(piece)?;
            server.handshake.on_acked(piece.0);
        }
    }
}

/// Two ends that have finished.
pub(crate) fn connected() -> (End, End) {
    let (client, server) = configs();
    let (mut client, mut server) = (End::client(&client), End::server(&server));
    run(&mut client, &mut server).unwrap();
    (client, server)
}
