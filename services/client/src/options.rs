//! What the user of the crate may choose.

use std::{fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use quantum::{CertificateDer, Fingerprint};
use uuid::Uuid;

pub use crate::session::Backoff;
use crate::{error::ConnectError, session::Tuning};
use aetherflow_schema::{limits::PEER_ID_BYTES, native::TOKEN_BYTES};

/// Which servers are trusted, where the transport is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those with a certificate for their name from an authority that this machine trusts.
    #[default]
    System,
    /// Those with a certificate for their name from one of these authorities, given in DER.
    /// [`quantum::certificates_from_pem_file`] reads them.
    Roots(Vec<CertificateDer<'static>>),
    /// Those with one of these certificates, given by the SHA-256 of their DER, whatever names stand in them: what a
    /// development server prints when it starts.
    Fingerprints(Vec<Fingerprint>),
}

/// Where to find the same server by WebSocket when Quantum does not get through, as where UDP is blocked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Over TLS at the host and port of the Quantum address.
    #[default]
    Same,
    /// There: `wss://...`, or `ws://...`, which is not encrypted, so that nobody proves to be the server.
    At(String),
    /// Nowhere: Quantum or nothing.
    None,
}

/// How long things may take. None of them makes an edit fail: what has no answer is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Making a connection, by whatever transport. Default 10 s.
    pub connect: Duration,
    /// The answer to a hello or a ping. Default 10 s.
    pub answer: Duration,
    /// The answer to a submit. Default 60 s, which is more than a server takes before it gives up.
    pub submit: Duration,
    /// Silence after which the server is asked whether it is there. Default 15 s.
    pub silence: Duration,
    /// How long an edit waits for a place, see [`Options::unacknowledged_changes`]. Default 30 s.
    pub edit: Duration,
    /// The head start that Quantum gets before WebSocket is tried, too. Default 300 ms.
    pub head_start: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            submit: Duration::from_secs(60),
            silence: Duration::from_secs(15),
            edit: Duration::from_secs(30),
            head_start: Duration::from_millis(300),
        }
    }
}

/// What the longest message from the server may be. The server puts some 256 KiB of history into one.
const MESSAGE_BYTES: RangeInclusive<u32> = 1 << 20..=1 << 30;

/// How a client connects and what it may use.
#[derive(Clone)]
pub struct Options {
    /// Says who the client is, when the server asks. Default none.
    pub token: String,
    /// A name that the client keeps for as long as its data lives, 1 to 256 bytes. Default a random one.
    pub client_id: String,
    /// A file that keeps documents and edits, so that work goes on without a server and survives a restart. One client at
    /// a time may use it. Default none: what has no receipt when the client ends is lost.
    pub store: Option<PathBuf>,
    /// Go on with a store that is damaged, without what cannot be read. Default `false`: it is reported.
    pub salvage: bool,
    /// Which servers are trusted. Default those that the system trusts.
    pub trust: Trust,
    /// What to do when Quantum does not get through. Default WebSocket over TLS at the same host and port.
    pub fallback: Fallback,
    /// Bytes of the longest message taken from the server, 1 MiB to 1 GiB: a whole document comes in one, and is in memory for that
    /// time. A document that needs a longer one is refused ([`RejectCode::TooLarge`](crate::RejectCode::TooLarge)). Default `None`:
    /// 64 MiB over Quantum, 256 MiB over WebSocket.
    pub message_bytes: Option<u32>,
    /// Edits that may be without a receipt; further ones wait. Default 65,536; each costs some 200 bytes besides itself.
    pub unacknowledged_changes: usize,
    /// Bytes of edits that may be without a receipt. Default 64 MiB, all in memory.
    pub unacknowledged_bytes: usize,
    /// Delays between attempts to connect.
    pub backoff: Backoff,
    /// How long things may take.
    pub timeouts: Timeouts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: String::new(),
            client_id: Uuid::new_v4().to_string(),
            store: None,
            salvage: false,
            trust: Trust::default(),
            fallback: Fallback::default(),
            message_bytes: None,
            unacknowledged_changes: 1 << 16,
            unacknowledged_bytes: 64 << 20,
            backoff: Backoff::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Leaves out the token.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("client_id", &self.client_id)
            .field("store", &self.store)
            .field("trust", &self.trust)
            .field("fallback", &self.fallback)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl Options {
    pub(crate) fn tuning(&self) -> Result<Tuning, ConnectError> {
        if self.client_id.is_empty() || self.client_id.len() > PEER_ID_BYTES {
            let expected = "1 to 256 bytes long";
            let field = "client_id";
            return Err(ConnectError::Option { field, expected });
        }
        check_token(&self.token)?;
        if self.message_bytes.is_some_and(|bytes| !MESSAGE_BYTES.contains(&bytes)) {
            let expected = "1 MiB to 1 GiB";
            let field = "message_bytes";
            return Err(ConnectError::Option { field, expected });
        }
        Ok(Tuning {
            client_id: self.client_id.clone(),
            token: self.token.clone(),
            backoff: self.backoff,
            silence: self.timeouts.silence,
            patience: self.timeouts.answer,
            answer: self.timeouts.submit,
            stable: Duration::from_secs(5),
            submits: 64,
            submit_bytes: 1 << 20,
        })
    }
}

pub(crate) fn check_token(token: &str) -> Result<(), ConnectError> {
    if token.len() > TOKEN_BYTES {
        let expected = "at most 8192 bytes long";
        let field = "token";
        return Err(ConnectError::Option { field, expected });
    }
    Ok(())
}
