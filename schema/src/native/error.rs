//! Why a native frame was not accepted.

use crate::{close::CloseCode, id::DocumentIdError};

/// Why bytes are not a frame. The peer is at fault: close its connection with [`FrameError::close_code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not protobuf, or a field of the wrong type.
    #[error("not a frame: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// None of the kinds of frame known here.
    #[error("the frame is of no known kind")]
    NoKind,
    /// More fields than any frame needs.
    #[error("the frame has more than {limit} fields")]
    Fields {
        /// What is allowed.
        limit: usize,
    },
    /// The bytes of a document id are not one.
    #[error("document: {0}")]
    Document(#[from] DocumentIdError),
    /// Too many elements or bytes.
    #[error("{field} has {found}, more than the {limit} allowed")]
    TooLong {
        /// The field, with its frame.
        field: &'static str,
        /// Elements or bytes in it.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A value that makes no sense.
    #[error("{field} must be {expected}")]
    Value {
        /// The field, with its frame.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl FrameError {
    /// The code to close the peer's connection with.
    pub fn close_code(&self) -> CloseCode {
        CloseCode::MalformedMessage
    }
}
