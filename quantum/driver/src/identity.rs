//! Who a server is, and whom a client trusts.

use std::{fmt, fs, io, path::Path, str::FromStr, sync::Arc};

use ring::digest;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Why an identity or a trust cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// A file holds no certificate, no key, or something else.
    #[error("{0}: {1}")]
    Pem(String, #[source] rustls::pki_types::pem::Error),
    /// There is no certificate in it.
    #[error("{0} holds no certificate")]
    Empty(String),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// TLS refuses it.
    #[error("TLS refuses it: {0}")]
    Tls(#[from] rustls::Error),
}

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, with or without colons")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digits = text.bytes().filter(|byte| *byte != b':').map(|byte| char::from(byte).to_digit(16));
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(FingerprintError);
            };
            *byte = (high * 16 + low) as u8;
        }
        digits.next().is_none().then_some(Self(bytes)).ok_or(FingerprintError)
    }
}

/// A server's certificates, its own first, and the private key of that.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}

impl Identity {
    /// Makes a certificate that nobody but those who know its fingerprint has a reason to trust, for these names.
    ///
    /// # Errors
    /// A name is not a DNS name or an IP address.
    pub fn self_signed<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self, IdentityError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| IdentityError::Tls(rustls::Error::General(reason.to_owned())))?;
        Ok(Self { chain: vec![certificate.der().clone()], key })
    }

    /// Reads certificates and key from PEM files.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Self, IdentityError> {
        let name = key.display().to_string();
        let bytes = fs::read(key).map_err(|error| IdentityError::Io(name.clone(), error))?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| IdentityError::Pem(name, error))?;
        Ok(Self { chain: read_certificates(certificates)?, key })
    }

    /// From DER.
    ///
    /// # Errors
    /// There is no certificate.
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, IdentityError> {
        if chain.is_empty() {
            return Err(IdentityError::Empty("the chain".to_owned()));
        }
        Ok(Self { chain, key })
    }

    /// Of its own certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.chain[0])
    }

    pub(crate) fn server_config(&self, protocols: &[Vec<u8>]) -> Result<Arc<rustls::ServerConfig>, IdentityError> {
        Ok(quantum_proto::tls::server(self.chain.clone(), self.key.clone_key(), protocols.to_vec())?)
    }
}

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Servers whose certificate one of these has signed.
    Roots(Arc<RootCertStore>),
    /// The server with this very certificate, whatever its name.
    Fingerprint(Fingerprint),
}

impl Trust {
    /// Reads root certificates from a PEM file.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate.
    pub fn from_pem_file(path: &Path) -> Result<Self, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(path)? {
            roots.add(certificate)?;
        }
        Ok(Self::Roots(Arc::new(roots)))
    }

    pub(crate) fn client_config(&self, protocols: &[Vec<u8>]) -> Result<Arc<rustls::ClientConfig>, IdentityError> {
        Ok(match self {
            Self::Roots(roots) => quantum_proto::tls::client(roots.clone(), protocols.to_vec())?,
            Self::Fingerprint(print) => quantum_proto::tls::client_pinned(vec![print.0], protocols.to_vec())?,
        })
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| IdentityError::Io(name.clone(), error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(IdentityError::Empty(name)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(IdentityError::Pem(name, error)),
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    Fingerprint(bytes)
}
