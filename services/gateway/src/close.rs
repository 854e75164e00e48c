//! Why and how one connection is closed.

use std::borrow::Cow;

use aetherflow_schema::close::CloseCode;

/// Bytes of text in a close frame (RFC 6455, section 5.5: 125 for the payload, less the code).
const TEXT_BYTES: usize = 123;

/// A close code with the text that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: CloseCode,
    pub(crate) text: Cow<'static, str>,
}

impl Close {
    /// With the text of the code.
    pub(crate) fn plain(code: CloseCode) -> Self {
        Self {
            code,
            text: Cow::Borrowed(code.reason()),
        }
    }

    /// With the text of the code and what exactly was the matter, cut to what fits.
    pub(crate) fn because(code: CloseCode, detail: impl std::fmt::Display) -> Self {
        let mut text = format!("{}: {detail}", code.reason());
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        Self {
            code,
            text: Cow::Owned(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let close = Close::because(CloseCode::MalformedMessage, "é".repeat(200));
        assert!(close.text.len() <= TEXT_BYTES && close.text.len() > TEXT_BYTES - 2);
        assert!(close.text.starts_with("malformed message: é"));
    }
}
