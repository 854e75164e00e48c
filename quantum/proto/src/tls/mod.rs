//! The TLS configurations that fit the protocol: TLS 1.3 only, ring's algorithms, ALPN, resumption with early data.
//!
//! Any other `rustls` configuration with TLS 1.3 and ALPN will do; these are those that drivers and tests use.
//! Secrets are never logged.

use std::{fmt, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer},
};

use self::{pinned::PinnedVerifier, sessions::Sessions};

mod fingerprint;
mod pinned;
mod sessions;
#[cfg(test)]
mod tests;

pub use self::{
    fingerprint::{Fingerprint, FingerprintError},
    pinned::PinError,
};

/// Sessions that a server remembers, each for one resumption; a connection makes two. Some hundred bytes each, more
/// where clients have certificates.
const SERVER_SESSIONS: usize = 16_384;

/// Whom a client believes to be the server.
#[derive(Clone)]
pub enum Trust {
    /// Who has a certificate for the server's name from one of these authorities, given as certificates.
    Roots(Vec<CertificateDer<'static>>),
    /// Who has the key of one of these certificates, whatever name and dates stand in it.
    Pinned(Vec<Fingerprint>),
}

/// Why a TLS configuration cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The protocol requires ALPN.
    #[error("no ALPN protocol is given")]
    NoAlpn,
    /// As ALPN has it.
    #[error("the ALPN protocol {0:?} is not 1 to 255 bytes long")]
    Alpn(String),
    /// A server needs one.
    #[error("no certificate is given")]
    NoCertificate,
    /// The certificate or its key cannot be used, or they do not belong together.
    #[error("the certificate with its key cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    /// Nobody would be trusted.
    #[error("neither a root certificate nor a fingerprint is given: no server would be trusted")]
    NoTrust,
    /// A root certificate cannot be read.
    #[error("root certificate {index} cannot be used: {source}")]
    Root {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The cryptography lacks something: a fault of this crate.
    #[error("TLS 1.3 cannot be used: {0}")]
    Provider(#[source] rustls::Error),
}

/// The configuration of a server with this certificate chain (its own first) and the key to it.
///
/// Clients may resume and send early data. A session is remembered in memory, in this configuration, and can be
/// resumed once: who replays a client's first flight gets a full handshake.
///
/// # Errors
/// See [`TlsError`].
pub fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: &[&[u8]],
) -> Result<rustls::ServerConfig, TlsError> {
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Identity)?;
    config.alpn_protocols = protocols(alpn)?;
    config.session_storage = Arc::new(Sessions::new(SERVER_SESSIONS));
    // The only value but 0 that RFC 9001 section 4.6.1 knows.
    config.max_early_data_size = u32::MAX;
    Ok(config)
}

/// The configuration of a client. It remembers sessions in memory, and resumes them with early data.
///
/// # Errors
/// See [`TlsError`].
pub fn client(trust: &Trust, alpn: &[&[u8]]) -> Result<rustls::ClientConfig, TlsError> {
    let provider = provider();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Provider)?;
    let mut config = match trust {
        Trust::Roots(roots) => builder.with_root_certificates(store(roots)?),
        Trust::Pinned(pins) if pins.is_empty() => return Err(TlsError::NoTrust),
        Trust::Pinned(pins) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedVerifier::new(pins.clone(), &provider))),
    }
    .with_no_client_auth();
    config.alpn_protocols = protocols(alpn)?;
    config.enable_early_data = true;
    Ok(config)
}

/// Ring, AES-128 first: it is the cheapest where the processor knows AES, and the client's order decides.
fn provider() -> Arc<CryptoProvider> {
    use ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..ring::default_provider()
    })
}

fn store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    if roots.is_empty() {
        return Err(TlsError::NoTrust);
    }
    let mut store = RootCertStore::empty();
    for (index, root) in roots.iter().enumerate() {
        store
            .add(root.clone())
            .map_err(|source| TlsError::Root { index, source })?;
    }
    Ok(store)
}

fn protocols(alpn: &[&[u8]]) -> Result<Vec<Vec<u8>>, TlsError> {
    if alpn.is_empty() {
        return Err(TlsError::NoAlpn);
    }
    if let Some(wrong) = alpn.iter().find(|name| !(1..=255).contains(&name.len())) {
        return Err(TlsError::Alpn(String::from_utf8_lossy(wrong).into_owned()));
    }
    Ok(alpn.iter().map(|name| name.to_vec()).collect())
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roots(roots) => write!(f, "Roots({})", roots.len()),
            Self::Pinned(pins) => f.debug_tuple("Pinned").field(pins).finish(),
        }
    }
}
