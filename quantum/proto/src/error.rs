//! What can go wrong, and the codes by which the peer hears of it.

use std::{borrow::Cow, fmt};

/// Why a connection was closed, as it stands in a CLOSE frame. `quantum/SPEC.md` section 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u64);

impl CloseCode {
    /// Graceful: everything was delivered.
    pub const NO_ERROR: Self = Self(0x00);
    /// A fault of the closing end.
    pub const INTERNAL: Self = Self(0x01);
    /// The server takes no connections.
    pub const REFUSED: Self = Self(0x02);
    /// A malformed frame.
    pub const FRAME: Self = Self(0x03);
    /// A frame that is not allowed where it stood.
    pub const PROTOCOL: Self = Self(0x04);
    /// More than flow control allows.
    pub const FLOW_CONTROL: Self = Self(0x05);
    /// Malformed or missing transport parameters.
    pub const PARAMETERS: Self = Self(0x06);
    /// Another limit was exceeded.
    pub const LIMIT: Self = Self(0x07);
    /// A key was used up.
    pub const KEYS: Self = Self(0x08);

    /// A TLS alert, by its description.
    pub const fn tls(alert: u8) -> Self {
        Self(0x80 + alert as u64)
    }

    /// A code of the application, from 0.
    pub const fn application(code: u64) -> Self {
        Self(0x100 + code)
    }

    /// The application's own code; `None` when the transport closed the connection.
    pub const fn as_application(self) -> Option<u64> {
        self.0.checked_sub(0x100)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x00 => f.write_str("no error"),
            0x01 => f.write_str("internal error"),
            0x02 => f.write_str("connection refused"),
            0x03 => f.write_str("malformed frame"),
            0x04 => f.write_str("protocol violation"),
            0x05 => f.write_str("flow control violation"),
            0x06 => f.write_str("bad transport parameters"),
            0x07 => f.write_str("limit exceeded"),
            0x08 => f.write_str("keys used up"),
            code @ 0x80..=0xff => write!(f, "TLS alert {}", code - 0x80),
            code @ 0x100.. => write!(f, "application code {}", code - 0x100),
            code => write!(f, "unknown code {code:#x}"),
        }
    }
}

/// The peer broke a rule, or TLS failed: the connection is closed with this code and reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TransportError {
    /// What the peer is told.
    pub code: CloseCode,
    /// The same in words.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.is_empty() {
            true => self.code.fmt(f),
            false => write!(f, "{}: {}", self.code, self.reason),
        }
    }
}

impl TransportError {
    pub(crate) fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// This end closed it.
    #[error("closed by this end")]
    Closed,
    /// The peer closed it.
    #[error("closed by the peer: {0}")]
    ClosedByPeer(TransportError),
    /// The peer broke a rule, or did not prove who it is.
    #[error("{0}")]
    Transport(#[from] TransportError),
    /// Nothing was heard for the idle timeout.
    #[error("timed out: nothing was heard from the peer")]
    TimedOut,
    /// The peer has lost the connection's state, for example by a restart.
    #[error("reset: the peer no longer knows the connection")]
    Reset,
    /// The server speaks other versions only.
    #[error("the server does not speak this version of the protocol")]
    Version,
}

/// Why a connection cannot be begun.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a DNS name or an IP address.
    #[error("{0:?} is not a valid server name")]
    ServerName(String),
    /// TLS refuses its configuration.
    #[error("the TLS configuration cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The endpoint is closing or has as many connections as it may.
    #[error("the endpoint takes no more connections")]
    Full,
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full: try again after [`Event::Writable`](crate::Event::Writable).
    #[error("the queue is full")]
    Blocked,
    /// Longer than the peer takes.
    #[error("the message has {bytes} bytes, the peer takes at most {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The peer's limit.
        max: usize,
    },
    /// The peer has fewer channels.
    #[error("the peer has {max} channels")]
    NoSuchChannel {
        /// The peer's limit.
        max: u32,
    },
    /// The connection is over or closing.
    #[error("the connection is closed")]
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_shown_when_there_is_one() {
        let shown =
            |reason| ConnectionError::ClosedByPeer(TransportError::new(CloseCode::NO_ERROR, reason)).to_string();
        assert_eq!(shown(""), "closed by the peer: no error");
        assert_eq!(shown("bye"), "closed by the peer: no error: bye");
    }
}
