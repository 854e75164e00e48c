//! `ETag`: what a client holds already need not be sent again.

use aetherflow_schema::id::ChangeHash;
use axum::response::{IntoResponse, Response};
use hyper::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH},
};

/// Names a state by its heads.
pub(super) fn of_heads(heads: &[ChangeHash]) -> String {
    let mut sorted: Vec<_> = heads.iter().map(|head| head.0).collect();
    sorted.sort_unstable();
    of_bytes(sorted.as_flattened())
}

/// Names bytes by their hash.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex();
    format!("\"{}\"", &hash[..32])
}

/// The response, or just that it has not changed, as the request's headers want it.
pub(super) fn respond(request: &HeaderMap, etag: &str, response: impl FnOnce() -> Response) -> Response {
    let mut response = if has(request, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        response()
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    response
}

/// Weak comparison (RFC 9110, section 13.1.2).
fn has(request: &HeaderMap, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    request.get_all(IF_NONE_MATCH).iter().any(|header| {
        header
            .to_str()
            .is_ok_and(|tags| tags.split(',').any(|tag| tag.trim() == "*" || bare(tag) == bare(etag)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_heads_have_the_same_name_in_any_order() {
        let [a, b] = [ChangeHash([1; 32]), ChangeHash([2; 32])];
        assert_eq!(of_heads(&[a, b]), of_heads(&[b, a]));
        assert_ne!(of_heads(&[a]), of_heads(&[b]));
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        for (held, status) in [
            ("\"x\"", 304),
            ("W/\"x\"", 304),
            ("\"y\", \"x\"", 304),
            ("*", 304),
            ("\"y\"", 200),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, held.parse().unwrap());
            let response = respond(&headers, "\"x\"", || "body".into_response());
            assert_eq!(response.status(), status, "{held}");
            assert_eq!(response.headers()[ETAG], "\"x\"");
        }
        assert_eq!(
            respond(&HeaderMap::new(), "\"x\"", || "body".into_response()).status(),
            200
        );
    }
}
