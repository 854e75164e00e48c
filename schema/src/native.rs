//! The native protocol, `aether/1`: protobuf frames over WebSocket and Quantum alike.
//!
//! Owns: the frames (`proto/aether/v1/frames.proto`, generated into [`wire`]) and the checks between those and the
//! domain. What a client sends arrives as [`ClientFrame`], in which ids are ids and nothing exceeds its limit; what a
//! server sends is built as [`wire::ServerFrame`] and encoded by [`encode`].
//!
//! Invariants:
//! * Decoding takes any bytes: it does not panic, and allocates no more than a small multiple of the frame's length,
//!   since the number of fields is bounded before any is stored. Payloads are slices of the frame.
//! * Field numbers and enum values never change their meaning; the golden vectors hold them down.

mod client;
mod error;
#[cfg(test)]
mod golden_tests;
pub mod lanes;
mod locks;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use prost::Message;

pub use self::{
    client::{ClientFrame, Fetch, Hello, Presence, Start, Submit, Subscribe},
    error::FrameError,
    locks::{AcquireLock, ListLocks, ReleaseLock},
};
use crate::{
    documents::{DocumentError, Retry},
    locks::{Lock, LockError},
};

/// The protocol's name, in ALPN.
pub const PROTOCOL: &str = "aether/1";

/// Its name as a WebSocket subprotocol, which must be without a slash (RFC 6455, section 4.1). Clients need not name it.
pub const SUBPROTOCOL: &str = "aether.1";

/// Where it is spoken over WebSocket.
pub const PATH: &str = "/v1/sync";

/// The capability of frames about locks, and of `Submit.fencing`.
pub const LOCKS: &str = "locks";

/// The capabilities of this version.
pub const KNOWN_CAPABILITIES: &[&str] = &[LOCKS];

/// Bytes of a token in [`Hello`].
pub const TOKEN_BYTES: usize = 8192;

/// Bytes of a resume token.
pub const RESUME_TOKEN_BYTES: usize = 256;

/// Capabilities that a [`Hello`] may name.
pub const CAPABILITIES: usize = 32;

/// Bytes of a capability's name.
pub const CAPABILITY_BYTES: usize = 64;

/// Changes in one [`Submit`].
pub const SUBMIT_CHANGES: usize = 1024;

/// Bytes of a presence state.
pub const PRESENCE_BYTES: usize = 16 << 10;

/// The longest time for which a presence state holds without being repeated, in milliseconds: an hour.
pub const PRESENCE_TTL_MS_MAX: u32 = 3_600_000;

/// Fields in one frame from a client, its own and those of the message in it: what the longest [`Submit`] needs, with
/// room for fields of later versions. At worst each costs 32 bytes of memory.
pub const FRAME_FIELDS: usize = SUBMIT_CHANGES + 64;

/// The frames as they are on the wire, generated from `proto/aether/v1/frames.proto`. Nothing in them is checked.
#[allow(clippy::all, missing_docs, rustdoc::all)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/aether.v1.rs"));
}

/// A client's name for a request, repeated in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The bytes of a frame, in one allocation.
pub fn encode(frame: &impl Message) -> Bytes {
    frame.encode_to_vec().into()
}

/// Reads a frame that a server sent. Only its form is checked.
///
/// # Errors
/// When the bytes are not protobuf, or none of the kinds known here.
pub fn decode_server(frame: Bytes) -> Result<wire::server_frame::Kind, FrameError> {
    wire::ServerFrame::decode(frame)?.kind.ok_or(FrameError::NoKind)
}

macro_rules! server_kinds {
    ($($kind:ident),*) => {
        $(impl From<wire::$kind> for wire::ServerFrame {
            fn from(frame: wire::$kind) -> Self {
                Self { kind: Some(wire::server_frame::Kind::$kind(frame)) }
            }
        })*
    };
}

server_kinds!(
    Welcome,
    Receipt,
    Reject,
    Snapshot,
    Ops,
    PresenceEvent,
    GoAway,
    Pong,
    LockGranted,
    LockReleased,
    Locks
);

impl From<&DocumentError> for wire::RejectCode {
    fn from(error: &DocumentError) -> Self {
        match error {
            DocumentError::NotFound => Self::NotFound,
            DocumentError::NoSuchPlace(_) => Self::NoSuchPlace,
            DocumentError::Invalid(_) => Self::Invalid,
            DocumentError::Quarantined(_) => Self::Quarantined,
            DocumentError::Fenced => Self::StaleFencing,
            DocumentError::Overloaded => Self::Overloaded,
            DocumentError::ReadOnly(_) => Self::ReadOnly,
            DocumentError::Unknown(_) => Self::OutcomeUnknown,
            DocumentError::Unreadable(_) => Self::Unreadable,
            DocumentError::Stopping => Self::Stopping,
        }
    }
}

impl From<&LockError> for wire::RejectCode {
    fn from(error: &LockError) -> Self {
        match error {
            LockError::Held(_) | LockError::Settling => Self::Locked,
            LockError::NotHeld => Self::StaleFencing,
            LockError::Ttl => Self::Invalid,
            LockError::TooMany => Self::TooLarge,
            LockError::Unavailable(_) => Self::OutcomeUnknown,
        }
    }
}

impl From<&Lock> for wire::Lock {
    fn from(lock: &Lock) -> Self {
        Self {
            document: Bytes::copy_from_slice(lock.document.as_bytes()),
            fencing: lock.fencing.0,
            session_id: Bytes::copy_from_slice(lock.session.0.as_bytes()),
            principal: lock.principal.as_str().to_owned(),
            until_ms: lock.until_ms,
        }
    }
}

fn retry_after_ms(retry: Retry) -> Option<u32> {
    match retry {
        Retry::Never => None,
        Retry::After(delay) => Some(delay.as_millis().try_into().unwrap_or(u32::MAX)),
    }
}

impl wire::Reject {
    /// The answer to a request on a document that failed.
    pub fn of(request: RequestId, error: &DocumentError) -> Self {
        Self {
            request_id: request.0,
            code: wire::RejectCode::from(error).into(),
            retry_after_ms: retry_after_ms(error.retry()),
            message: error.to_string(),
        }
    }

    /// The answer to a request about a lock that failed.
    pub fn of_lock(request: RequestId, error: &LockError) -> Self {
        Self {
            request_id: request.0,
            code: wire::RejectCode::from(error).into(),
            retry_after_ms: retry_after_ms(error.retry()),
            message: error.to_string(),
        }
    }

    /// The answer to a request that will not be carried out however often it is repeated.
    pub fn never(request: RequestId, code: wire::RejectCode, message: impl Into<String>) -> Self {
        Self {
            request_id: request.0,
            code: code.into(),
            retry_after_ms: None,
            message: message.into(),
        }
    }
}
