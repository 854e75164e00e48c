//! The TLS handshake in CRYPTO frames: one byte stream for each level and direction. RFC 9001 section 4.
//!
//! Owns the TLS session and what it has to say until that is acknowledged. Takes CRYPTO frames and their fate; its
//! effects are keys, installed in the [`Keyring`] that is passed in, and CRYPTO frames to send. Bounded: 64 KiB out
//! of order for each level.
//!
//! Invariants: both ends agree on an ALPN protocol or fail; bytes that TLS writes before a change of keys go at the
//! level before it; a level's bytes are read by TLS only while it expects that level. After an error the session is
//! of no further use.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use rustls::{
    AlertDescription, CertificateError,
    pki_types::ServerName,
    quic::{ClientConnection, Connection, KeyChange, ServerConnection, Version},
};

use self::{incoming::Incoming, outgoing::Outgoing};
use crate::{
    crypto::Keyring,
    error::{CloseCode, ConnectError, TransportError},
    params::Params,
    types::{Level, Side},
};

mod incoming;
mod outgoing;
#[cfg(test)]
pub(crate) mod tests;

/// A piece of a level's byte stream that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoRange {
    pub(crate) level: Level,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Early keys were installed.
    pub(crate) early: bool,
    /// Handshake keys were installed.
    pub(crate) handshake: bool,
    /// Application keys were installed.
    pub(crate) application: bool,
    /// TLS has finished.
    pub(crate) complete: bool,
}

/// The levels that carry handshake bytes, in the order of the handshake.
const LEVELS: [Level; 3] = [Level::Initial, Level::Handshake, Level::Application];

pub(crate) struct Handshake {
    tls: Connection,
    /// Of each of [`LEVELS`], while its keys last.
    streams: [Option<Stream>; 3],
    /// Where the next bytes that TLS writes belong: the level of the newest keys.
    writing: Level,
    /// Early keys were installed.
    early: bool,
    /// TLS has finished.
    complete: bool,
}

/// The handshake bytes of a level.
#[derive(Default)]
struct Stream {
    incoming: Incoming,
    outgoing: Outgoing,
}

impl Handshake {
    /// Begins; the first flight waits in [`Self::next_crypto`], early keys (if it resumes) are installed in `keys`.
    ///
    /// # Errors
    /// The name is none, or TLS refuses its configuration (TLS 1.3 and an ALPN protocol are required).
    pub(crate) fn client(
        tls: Arc<rustls::ClientConfig>,
        name: &str,
        params: &Params,
        keys: &mut Keyring,
    ) -> Result<Self, ConnectError> {
        require_alpn(&tls.alpn_protocols)?;
        let name = ServerName::try_from(name.to_owned()).map_err(|_| ConnectError::ServerName(name.to_owned()))?;
        let tls = ClientConnection::new(tls, Version::V1, name, params.encode())?;
        let mut handshake = Self::new(tls.into());
        handshake.advance(keys);
        Ok(handshake)
    }

    /// Waits for a client's first flight.
    ///
    /// # Errors
    /// TLS refuses its configuration (TLS 1.3 and an ALPN protocol are required).
    pub(crate) fn server(tls: Arc<rustls::ServerConfig>, params: &Params) -> Result<Self, ConnectError> {
        require_alpn(&tls.alpn_protocols)?;
        let tls = ServerConnection::new(tls, Version::V1, params.encode())?;
        Ok(Self::new(tls.into()))
    }

    fn new(tls: Connection) -> Self {
        Self {
            tls,
            streams: LEVELS.map(|_| Some(Stream::default())),
            writing: Level::Initial,
            early: false,
            complete: false,
        }
    }

    /// Takes handshake bytes of a level, in any order and more than once; installs the keys that follow from them.
    /// Bytes of a dropped level are ignored.
    ///
    /// # Errors
    /// TLS fails (its alert as code), too much is out of order (LIMIT), or bytes are at a level where they have no
    /// business (PROTOCOL).
    pub(crate) fn read(
        &mut self,
        level: Level,
        offset: u64,
        data: &[u8],
        keys: &mut Keyring,
    ) -> Result<Progress, TransportError> {
        if level == Level::Early {
            return Err(TransportError::new(
                CloseCode::PROTOCOL,
                "handshake bytes in an early packet",
            ));
        }
        if let Some(stream) = self.stream_mut(level) {
            stream.incoming.insert(offset, data)?;
        }
        let mut progress = Progress::default();
        while let Some(bytes) = self
            .stream_mut(self.reading())
            .and_then(|stream| stream.incoming.take())
        {
            self.tls.read_hs(&bytes).map_err(|error| self.failure(&error))?;
            progress = progress.and(self.advance(keys));
        }
        let passed = LEVELS.iter().take_while(|level| **level < self.reading());
        if passed
            .filter_map(|level| self.stream(*level))
            .any(|stream| !stream.incoming.is_empty())
        {
            return Err(TransportError::new(
                CloseCode::PROTOCOL,
                "handshake bytes after the end of their level",
            ));
        }
        Ok(progress)
    }

    /// Takes what TLS has to say and the keys that it has come to.
    fn advance(&mut self, keys: &mut Keyring) -> Progress {
        let mut progress = Progress::default();
        if !self.early
            && let Some(early) = self.tls.zero_rtt_keys()
        {
            keys.install_early(early);
            self.early = true;
            progress.early = true;
        }
        loop {
            let mut bytes = Vec::new();
            let change = self.tls.write_hs(&mut bytes);
            if let Some(stream) = self.stream_mut(self.writing).filter(|_| !bytes.is_empty()) {
                stream.outgoing.push(bytes);
            }
            match change {
                Some(KeyChange::Handshake { keys: handshake }) => {
                    keys.install_handshake(handshake);
                    self.writing = Level::Handshake;
                    progress.handshake = true;
                }
                Some(KeyChange::OneRtt {
                    keys: application,
                    next,
                }) => {
                    keys.install_application(application, next);
                    self.writing = Level::Application;
                    progress.application = true;
                }
                None => break,
            }
        }
        if !self.complete && !self.tls.is_handshaking() {
            keys.on_tls_finished();
            self.complete = true;
            progress.complete = true;
        }
        progress
    }

    /// The level whose bytes TLS expects. A server has application keys to write with before it has read the client's
    /// Finished.
    fn reading(&self) -> Level {
        match self.writing {
            _ if self.complete => Level::Application,
            Level::Initial => Level::Initial,
            _ => Level::Handshake,
        }
    }

    /// What the peer is told of an error of TLS.
    fn failure(&self, error: &rustls::Error) -> TransportError {
        let alert = match error {
            rustls::Error::InvalidMessage(_) => Some(AlertDescription::DecodeError),
            _ => self.tls.alert(),
        };
        let code = alert.map_or(CloseCode::PROTOCOL, |alert| CloseCode::tls(alert.into()));
        let reason = match error {
            // Of a verifier of our own: rustls would print the type instead of the words.
            rustls::Error::InvalidCertificate(CertificateError::Other(own)) => own.0.to_string(),
            _ => error.to_string(),
        };
        TransportError::new(code, reason)
    }

    /// The next bytes to send at a level, at most `budget` of them; what was lost comes first.
    pub(crate) fn next_crypto(&mut self, level: Level, budget: usize) -> Option<(CryptoRange, Bytes)> {
        let (offset, bytes) = self.stream_mut(level)?.outgoing.next(budget.min(u32::MAX as usize))?;
        Some((
            CryptoRange {
                level,
                offset,
                len: bytes.len() as u32,
            },
            bytes,
        ))
    }

    /// Whether [`Self::next_crypto`] has something.
    pub(crate) fn wants_to_send(&self, level: Level) -> bool {
        self.stream(level).is_some_and(|stream| stream.outgoing.wants_to_send())
    }

    pub(crate) fn on_acked(&mut self, range: CryptoRange) {
        if let Some(stream) = self.stream_mut(range.level) {
            stream.outgoing.on_acked(range.bytes());
        }
    }

    pub(crate) fn on_lost(&mut self, range: CryptoRange) {
        if let Some(stream) = self.stream_mut(range.level) {
            stream.outgoing.on_lost(range.bytes());
        }
    }

    /// What of the level was sent and not acknowledged goes out once more, as extra.
    pub(crate) fn repeat(&mut self, level: Level) {
        if let Some(stream) = self.stream_mut(level) {
            stream.outgoing.repeat();
        }
    }

    /// Starts anew from the first byte (after a retry).
    pub(crate) fn restart(&mut self) {
        self.streams
            .iter_mut()
            .flatten()
            .for_each(|stream| stream.outgoing.restart());
    }

    /// No longer needed: the level's keys are gone.
    pub(crate) fn drop_level(&mut self, level: Level) {
        if let Some(index) = index(level) {
            self.streams[index] = None;
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What the peer said, once it is known; on a resuming client before that what it said the last time, of which
    /// the connection id and the reset token are those of that connection. Not to be relied on before
    /// [`Self::is_complete`]. Decoded anew at each call.
    pub(crate) fn peer_params(&self) -> Option<Result<Params, TransportError>> {
        let peer = match self.tls {
            Connection::Client(_) => Side::Server,
            Connection::Server(_) => Side::Client,
        };
        self.tls
            .quic_transport_parameters()
            .map(|bytes| Params::decode(peer, bytes))
    }

    /// On a client that sent early data, once known: whether the server took it.
    pub(crate) fn early_accepted(&self) -> Option<bool> {
        match &self.tls {
            Connection::Client(client) if self.early && self.complete => Some(client.is_early_data_accepted()),
            _ => None,
        }
    }

    /// The application protocol, once it is agreed.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The peer's certificates, DER, its own first.
    pub(crate) fn peer_certificates(&self) -> Option<Vec<Vec<u8>>> {
        let chain = self.tls.peer_certificates()?;
        Some(chain.iter().map(|certificate| certificate.to_vec()).collect())
    }

    /// The server name that the client asked for (server only).
    pub(crate) fn server_name(&self) -> Option<String> {
        match &self.tls {
            Connection::Server(server) => server.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        }
    }

    /// RFC 5705.
    ///
    /// # Errors
    /// TLS has not finished, or `out` is too long.
    pub(crate) fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), rustls::Error> {
        self.tls.export_keying_material(out, label, Some(context)).map(|_| ())
    }

    fn stream(&self, level: Level) -> Option<&Stream> {
        self.streams[index(level)?].as_ref()
    }

    fn stream_mut(&mut self, level: Level) -> Option<&mut Stream> {
        self.streams[index(level)?].as_mut()
    }
}

impl CryptoRange {
    fn bytes(self) -> std::ops::Range<u64> {
        self.offset..self.offset + u64::from(self.len)
    }
}

impl Progress {
    /// This and what came of more.
    fn and(self, more: Self) -> Self {
        Self {
            early: self.early | more.early,
            handshake: self.handshake | more.handshake,
            application: self.application | more.application,
            complete: self.complete | more.complete,
        }
    }
}

/// The place of a level in [`LEVELS`].
fn index(level: Level) -> Option<usize> {
    match level {
        Level::Initial => Some(0),
        Level::Handshake => Some(1),
        Level::Early => None,
        Level::Application => Some(2),
    }
}

fn require_alpn(protocols: &[Vec<u8>]) -> Result<(), rustls::Error> {
    if protocols.is_empty() {
        return Err(rustls::Error::General("no ALPN protocol is configured".into()));
    }
    Ok(())
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("reading", &self.reading())
            .field("writing", &self.writing)
            .field("early", &self.early)
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}
