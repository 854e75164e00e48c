//! TLS 1.3 for everything that listens on TCP.
//!
//! | module | what |
//! | --- | --- |
//! | `files` | certificates and keys, from PEM files to what rustls needs |
//! | [`stream`] | a connection with or without TLS, for those who wait for bytes |
//! | [`wire`] | the same, for those who wait for readiness and hold no buffers |
//!
//! **Owns** the certificates, which it reads again when their files change. **Inputs**: connections that were accepted.
//! **Invariants**: a handshake has a deadline; there are never more at the same time than configured, others wait within
//! their own; connections that exist are not touched when certificates change. **On failure** to read the files again
//! those of before still count.

mod files;
pub mod stream;
pub mod wire;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use self::files::{Loaded, Stamps};
pub use self::{files::TlsError, stream::Stream, wire::Wire};
use crate::{config::Invalid, lock};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// The first byte of a TLS record that begins a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Said to whoever speaks HTTP where TLS is spoken.
const NOT_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 51\r\nConnection: close\r\n\r\n\
    This port speaks TLS: use https://, or wss:// here.";

/// Bytes that are read and forgotten of somebody who is being told that, so that the answer is not lost with them.
const FORGOTTEN: usize = 64 << 10;

/// Section `[tls]`: certificates for `listen` and `grpc.listen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// A PEM file with the server's certificate, and then those of the authorities between it and a root. Default empty: no
    /// TLS. Quantum uses it as well, unless `quantum.identity` is given. Read again when it changes; connections stay.
    pub cert: PathBuf,
    /// A PEM file with its private key: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
    /// A PEM file with authorities, default empty. When given, only clients with a certificate of theirs are let in on TCP; who a
    /// client is, its token says all the same.
    pub client_ca: PathBuf,
    /// Milliseconds until a handshake is complete, default 10,000.
    pub handshake_ms: u64,
    /// Handshakes in progress at the same time, default 1,024; more wait. Worst case: about 40 KiB each.
    pub handshakes: usize,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            handshake_ms: 10_000,
            handshakes: 1_024,
        }
    }
}

impl TlsOptions {
    /// Notes what makes no sense. Files are looked at by [`Tls::open`].
    pub fn validate(&self, invalid: &mut Invalid) {
        let [cert, key, client_ca] = [&self.cert, &self.key, &self.client_ca].map(|path| !path.as_os_str().is_empty());
        invalid.unless(cert || !key, "tls.cert", "is empty, and there is a `tls.key`");
        invalid.unless(key || !cert, "tls.key", "is empty, and there is a `tls.cert`");
        invalid.unless(cert || !client_ca, "tls.client_ca", "needs a `tls.cert`");
        invalid.unless_within("tls.handshake_ms", self.handshake_ms, 1, 600_000);
        invalid.unless_within("tls.handshakes", self.handshakes, 1, 1_000_000);
    }

    /// Whether TLS is spoken at all.
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }
}

/// What is spoken once the handshake is over (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1: WebSocket is asked for in it.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client did not finish in time, or there were too many before it.
    #[error("not complete in time")]
    Late,
    /// It spoke something else.
    #[error("this is no TLS")]
    NotTls,
    /// It broke off, or what it showed is not good.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

#[derive(Default)]
struct Figures {
    completed: AtomicU64,
    late: AtomicU64,
    not_tls: AtomicU64,
    failed: AtomicU64,
}

/// See the [module](self).
pub struct Tls {
    options: TlsOptions,
    loaded: RwLock<Arc<Loaded>>,
    /// Of the files that were looked at last, good or not.
    seen: Mutex<Stamps>,
    slots: Semaphore,
    figures: Figures,
}

impl Tls {
    /// Reads the files; `None` when none are named.
    ///
    /// # Errors
    /// See [`TlsError`], which says in which file it lies.
    pub fn open(options: &TlsOptions) -> Result<Option<Arc<Self>>, TlsError> {
        if !options.is_on() {
            return Ok(None);
        }
        let seen = Stamps::of(options);
        Ok(Some(Arc::new(Self {
            loaded: RwLock::new(Arc::new(Loaded::read(options)?)),
            seen: Mutex::new(seen),
            slots: Semaphore::new(options.handshakes),
            figures: Figures::default(),
            options: options.clone(),
        })))
    }

    /// Reads the files again, for connections to come.
    ///
    /// # Errors
    /// When they are no good; those of before still count.
    pub fn reload(&self) -> Result<(), TlsError> {
        *lock(&self.seen) = Stamps::of(&self.options);
        let loaded = Arc::new(Loaded::read(&self.options)?);
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        tracing::info!(cert = %self.options.cert.display(), "read the certificate again");
        Ok(())
    }

    /// Reads the files again whenever they have changed, for as long as somebody holds this.
    pub async fn follow(this: Weak<Self>) {
        loop {
            sleep(LOOK).await;
            let Some(this) = this.upgrade() else { return };
            let look = tokio::task::spawn_blocking(move || {
                let changed = *lock(&this.seen) != Stamps::of(&this.options);
                if changed { this.reload() } else { Ok(()) }
            });
            match look.await {
                Ok(Ok(())) => {}
                // Also while one of two files is written and the other is not yet; both count once they fit.
                Ok(Err(error)) => tracing::warn!(%error, "the certificate of before still counts"),
                Err(error) => tracing::error!(%error, "the certificate was not looked at"),
            }
        }
    }

    /// Makes a connection one with TLS.
    ///
    /// # Errors
    /// See [`HandshakeError`]; the connection is closed then.
    pub async fn accept(&self, stream: TcpStream, speech: Speech) -> Result<Stream, HandshakeError> {
        let deadline = Duration::from_millis(self.options.handshake_ms);
        let handshake = Box::pin(self.handshake(stream, speech));
        let result = timeout(deadline, handshake).await.unwrap_or(Err(HandshakeError::Late));
        let figure = match &result {
            Ok(_) => &self.figures.completed,
            Err(HandshakeError::Late) => &self.figures.late,
            Err(HandshakeError::NotTls) => &self.figures.not_tls,
            Err(HandshakeError::Failed(_)) => &self.figures.failed,
        };
        figure.fetch_add(1, Relaxed);
        result
    }

    async fn handshake(&self, stream: TcpStream, speech: Speech) -> Result<Stream, HandshakeError> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if first != [HANDSHAKE] {
            explain(stream).await?;
            return Err(HandshakeError::NotTls);
        }
        // Never closed.
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = TlsAcceptor::from(loaded.config(speech)).accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Tells somebody who does not speak TLS, and lets what it sent run out: with bytes unread, closing would take the answer back.
async fn explain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NOT_TLS).await?;
    stream.shutdown().await?;
    let mut left = FORGOTTEN;
    let mut buffer = [0; 4096];
    while left > 0 {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

/// What `/metrics` says of TLS.
pub struct TlsFigures(pub Arc<Tls>);

impl std::fmt::Debug for TlsFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsFigures")
    }
}

impl Collector for TlsFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = &self.0.figures;
        let mut family = encoder.encode_descriptor(
            "handshakes",
            "TLS handshakes, by how they ended",
            None,
            MetricType::Counter,
        )?;
        for (outcome, figure) in [
            ("completed", &figures.completed),
            ("late", &figures.late),
            ("not_tls", &figures.not_tls),
            ("failed", &figures.failed),
        ] {
            let counter = ConstCounter::new(figure.load(Relaxed));
            counter.encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
