//! Certificates and keys, from PEM files to what rustls needs.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::{Ticketer, default_provider},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

use super::{Speech, TlsOptions};

/// Bytes of a file: a bundle of all the world's authorities has a quarter of that.
const FILE_BYTES: u64 = 1 << 20;

/// Which file is no good, and why.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("`{key}`: {path} cannot be read: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not PEM, or has nothing of the kind in it.
    #[error("`{key}`: {path} holds no {what}: {source}")]
    Pem {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// It holds an authority that is none.
    #[error("`tls.client_ca`: {path} holds something that is no authority: {source}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Clients cannot be verified with it.
    #[error("`tls.client_ca`: {path}: {source}")]
    Verifier {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
    /// Certificate and key are each what they should be, and do not belong together; or one of them is of a kind that is not known.
    #[error("the certificate in {cert} (`tls.cert`) cannot be used with the key in {key} (`tls.key`): {source}")]
    Pair {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// rustls or the system cannot do it.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// What tells a file from the one that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps([Option<[i64; 4]>; 3]);

impl Stamps {
    pub(super) fn of(options: &TlsOptions) -> Self {
        let stamp = |path: &PathBuf| {
            let meta = fs::metadata(path).ok()?;
            Some([
                meta.ino().cast_signed(),
                meta.size().cast_signed(),
                meta.mtime(),
                meta.mtime_nsec(),
            ])
        };
        Self([&options.cert, &options.key, &options.client_ca].map(stamp))
    }
}

/// Files that were read.
pub(super) struct Loaded {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl Loaded {
    pub(super) fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let chain = certificates("tls.cert", &options.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read("tls.key", &options.key)?).map_err(|source| TlsError::Pem {
            key: "tls.key",
            path: options.key.clone(),
            what: "private key",
            source,
        })?;
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Setup)?;
        let builder = match options.client_ca.as_os_str().is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                let path = &options.client_ca;
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|source| TlsError::Verifier {
                    path: path.clone(),
                    source,
                })?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|source| TlsError::Pair {
            cert: options.cert.clone(),
            key: options.key.clone(),
            source,
        })?;
        // Whoever comes back need not be signed for again. Tickets end with the certificates they were made under.
        config.ticketer = Ticketer::new().map_err(TlsError::Setup)?;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self {
            http1: speaking(b"http/1.1"),
            http2: speaking(b"h2"),
        })
    }

    pub(super) fn config(&self, speech: Speech) -> Arc<ServerConfig> {
        match speech {
            Speech::Http1 => self.http1.clone(),
            Speech::Http2 => self.http2.clone(),
        }
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File {
        key,
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES {
        return Err(failed(io::Error::other("it is larger than 1 MiB")));
    }
    fs::read(path).map_err(failed)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem {
        key,
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let content = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found.map_err(failed)? {
        none if none.is_empty() => Err(failed(pem::Error::NoItemsFound)),
        found => Ok(found),
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", path)? {
        roots.add(certificate).map_err(|source| TlsError::Authority {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}
