//! Why a frame was not understood.

use crate::{
    close::CloseCode,
    id::{ChangeHashError, DocumentIdError},
};

/// Why a frame is not a message. The peer is at fault: close its connection with [`DecodeError::close_code`].
///
/// `field` is the key on the wire, `at` the byte in the frame where the offending item starts (for
/// [`DecodeError::Truncated`]: where more was expected).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends too early.
    #[error("the frame ends at byte {at}, in {field}")]
    Truncated {
        /// In the middle of this.
        field: &'static str,
        /// The byte.
        at: usize,
    },
    /// Not CBOR: a reserved header, a break where none can be, a piece of another kind.
    #[error("byte {at}, in {field}, is not CBOR")]
    Malformed {
        /// In the middle of this.
        field: &'static str,
        /// The byte.
        at: usize,
    },
    /// The map is followed by something else.
    #[error("the message ends at byte {at} but the frame goes on")]
    Trailing {
        /// The byte.
        at: usize,
    },
    /// Deeper than [`limits::NESTING`](crate::limits::NESTING).
    #[error("{field} is nested too deep at byte {at}")]
    TooDeep {
        /// In the middle of this.
        field: &'static str,
        /// The byte.
        at: usize,
    },
    /// A value of the wrong kind.
    #[error("{field} must be {expected}, and at byte {at} there is {found}")]
    Type {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
        /// The byte.
        at: usize,
    },
    /// A field without which the message has no meaning.
    #[error("{field} is missing in the map at byte {at}")]
    Missing {
        /// The field.
        field: &'static str,
        /// The byte at which the map starts that should contain it.
        at: usize,
    },
    /// A key that occurs twice.
    #[error("{field} occurs a second time at byte {at}")]
    Duplicate {
        /// The field.
        field: &'static str,
        /// The byte.
        at: usize,
    },
    /// More bytes, or more elements, than allowed.
    #[error("{field}, at byte {at}, exceeds {limit}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// What is allowed: bytes of text, or elements.
        limit: usize,
        /// The byte.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("{field}, at byte {at}, is not UTF-8")]
    Utf8 {
        /// The field.
        field: &'static str,
        /// The byte.
        at: usize,
    },
    /// A number out of range: negative, fractional, or not finite.
    #[error("{field}, at byte {at}, must be {expected}")]
    Number {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The byte.
        at: usize,
    },
    /// Text that names no document.
    #[error("documentId, at byte {at}: {source}")]
    Document {
        /// What is wrong with it.
        source: DocumentIdError,
        /// The byte.
        at: usize,
    },
    /// Text that is no change hash.
    #[error("heads, at byte {at}: {source}")]
    Hash {
        /// What is wrong with it.
        source: ChangeHashError,
        /// The byte.
        at: usize,
    },
}

impl DecodeError {
    /// The code to close the peer's connection with.
    pub fn close_code(&self) -> CloseCode {
        CloseCode::MalformedMessage
    }
}
