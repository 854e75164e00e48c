//! Who a server is: its certificates and key, from files or made on the spot.

use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use quantum_proto::tls::{Fingerprint, TlsError};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Why an identity or trusted certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// Which one.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is not PEM, or holds something else.
    #[error("{file}: {source}")]
    Pem {
        /// Which one.
        file: String,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The private key in a file cannot be used to make a certificate.
    #[error("{file}: {source}")]
    Key {
        /// Which one.
        file: String,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// There is no certificate in it.
    #[error("{0} holds no certificate")]
    Empty(String),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Generate(#[from] rcgen::Error),
}

/// A server's certificates, its own first, and the private key to that. The key is never shown.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}

impl Identity {
    /// Makes a key and a certificate for these names, which only those trust who know its fingerprint.
    ///
    /// # Errors
    /// A name is neither a DNS name nor an IP address.
    pub fn self_signed<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self, IdentityError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        })
    }

    /// The identity kept in a folder as `certificate.pem` and `key.pem`; made there, self-signed for these names, when there is none. A key
    /// that is there without a certificate gets one: it is never replaced.
    ///
    /// # Errors
    /// What is there cannot be read or used, or nothing can be written.
    pub fn kept_in<N: Into<String>>(folder: &Path, names: impl IntoIterator<Item = N>) -> Result<Self, IdentityError> {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        if !certificate.exists() {
            let names: Vec<String> = names.into_iter().map(Into::into).collect();
            let pair = kept_key(&key)?;
            let signed = rcgen::CertificateParams::new(names)?.self_signed(&pair)?;
            // Last, since its presence says that both are there.
            write_whole(&certificate, signed.pem().as_bytes())?;
        }
        Self::from_pem_files(&certificate, &key)
    }

    /// Reads certificates and key from PEM files.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Self, IdentityError> {
        let bytes = read(key)?;
        Ok(Self {
            chain: certificates_from_pem_file(certificates)?,
            key: PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| pem_error(key, source))?,
        })
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

    /// Of its own certificate: what a client pins ([`Trust::Pinned`](crate::Trust::Pinned)).
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.chain[0])
    }

    pub(crate) fn server_config(&self, protocols: &[Vec<u8>]) -> Result<rustls::ServerConfig, TlsError> {
        let protocols: Vec<&[u8]> = protocols.iter().map(Vec::as_slice).collect();
        quantum_proto::tls::server(self.chain.clone(), self.key.clone_key(), &protocols)
    }
}

/// Reads certificates from a PEM file, for [`Trust::Roots`](crate::Trust::Roots).
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub fn certificates_from_pem_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(IdentityError::Empty(path.display().to_string())),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(pem_error(path, source)),
    }
}

/// The key in this file, which is made when there is none.
fn kept_key(path: &Path) -> Result<rcgen::KeyPair, IdentityError> {
    match fs::read_to_string(path) {
        Ok(pem) => rcgen::KeyPair::from_pem(&pem).map_err(|source| IdentityError::Key {
            file: path.display().to_string(),
            source,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
            write_whole(path, pair.serialize_pem().as_bytes())?;
            Ok(pair)
        }
        Err(source) => Err(io_error(path, source)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    fs::read(path).map_err(|source| io_error(path, source))
}

/// Writes a file that only its owner may read, and the folder if need be: whole or not at all, whatever happens meanwhile.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let draft = path.with_extension("draft");
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        // So that the name survives a power cut: clients have pinned what is in it.
        match path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::Io {
        file: path.display().to_string(),
        source,
    }
}

fn pem_error(path: &Path, source: rustls::pki_types::pem::Error) -> IdentityError {
    IdentityError::Pem {
        file: path.display().to_string(),
        source,
    }
}
