//! Base64 as tokens and keys have it (RFC 7515, section 2): the URL alphabet, without padding.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The bytes that a text stands for.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The text of bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
