//! What browsers are told about how to treat an answer.
//!
//! **Owns** the security headers. **Invariant**: every answer has those of [`every_answer`]; every file of the console, which
//! runs with somebody's token in its memory, those of [`console_file`] as well.

use hyper::{
    HeaderMap,
    header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};

/// Scripts, styles and connections of the console's own origin and no other, so that nothing that got into the page could
/// send a token away; WebAssembly, which automerge is; inline styles, which the editor makes; and nobody may put the console
/// into a frame.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
     object-src 'none'; frame-ancestors 'none'";

/// A page that opens the console, or is opened by it, gets no hold of its window.
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// For everything that is answered: types are not guessed, and where somebody came from (which may be a link with a token
/// in it) is told to nobody.
pub(super) fn every_answer(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// For the console's files, of whatever type: a picture that is opened by itself is a page, too.
pub(super) fn console_file(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_of_another_origin_or_inline_runs() {
        let directive = |name: &str| {
            POLICY
                .split("; ")
                .find_map(|directive| directive.strip_prefix(name))
                .unwrap()
                .trim()
        };
        assert_eq!(directive("script-src"), "'self' 'wasm-unsafe-eval'");
        assert_eq!(directive("connect-src"), "'self'");
        for none in ["frame-ancestors", "base-uri", "form-action", "object-src"] {
            assert_eq!(directive(none), "'none'", "{none}");
        }
    }
}
