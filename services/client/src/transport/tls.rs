//! Which servers are trusted: the same for both transports.

use std::sync::Arc;

use quantum::{CertificateDer, Fingerprint};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{ServerName, UnixTime},
};

use crate::{error::ConnectError, options::Trust};

fn fail(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::Tls(error.to_string())
}

/// The authorities that this machine trusts.
fn system() -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        Some(error) if found.certs.is_empty() => Err(fail(error)),
        _ if found.certs.is_empty() => Err(fail("this machine trusts no authority")),
        _ => Ok(found.certs),
    }
}

/// For Quantum.
pub(super) fn quantum(trust: &Trust) -> Result<quantum::Trust, ConnectError> {
    Ok(match trust {
        Trust::System => quantum::Trust::Roots(system()?),
        Trust::Roots(roots) => quantum::Trust::Roots(roots.clone()),
        Trust::Fingerprints(pins) => quantum::Trust::Pinned(pins.clone()),
    })
}

/// For TLS over TCP.
pub(super) fn tcp(trust: &Trust) -> Result<Arc<ClientConfig>, ConnectError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(fail)?;
    let authorities = match trust {
        Trust::Fingerprints(pins) => {
            let pins = pins.clone();
            let verifier = Arc::new(Pinned { pins, provider });
            let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
            return Ok(Arc::new(builder.with_no_client_auth()));
        }
        Trust::System => system()?,
        Trust::Roots(roots) => roots.clone(),
    };
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(authorities);
    if added == 0 {
        return Err(fail(format!("none of {ignored} certificates can be used")));
    }
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Trusts certificates by their fingerprints; that the server has the key is still proved.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pins.contains(&Fingerprint::of(end_entity)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
