//! Bodies, up to a limit.
//!
//! **Invariant**: what is read was counted before, when it was found out who asks: a body that does not say how long it is, is
//! refused unread.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, StatusCode,
    body::Body as _,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;

use super::problem::Problem;

/// The whole body.
pub(super) async fn bytes(body: Body, limit: usize, key: &str) -> Result<Bytes, Problem> {
    let Some(length) = body.size_hint().exact() else {
        let detail = "say with Content-Length how long the body is";
        return Err(Problem::new(StatusCode::LENGTH_REQUIRED, "length-required").detail(detail));
    };
    if length > limit as u64 {
        let detail = format!("more than {limit} bytes (`{key}`)");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large").detail(detail));
    }
    let whole = body.collect().await;
    let whole = whole.map_err(|error| Problem::bad_request("body", format!("the body cannot be read: {error}")))?;
    Ok(whole.to_bytes())
}

/// Refuses a body that is encoded: it would have to be unfolded before anybody knows how large it is. What is accepted is
/// said as RFC 9110, section 12.5.3, has it.
pub(super) fn demand_plain(headers: &HeaderMap) -> Result<(), Box<Response>> {
    let plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        return Ok(());
    }
    let mut response = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding")
        .detail("send the body as it is, without Content-Encoding")
        .into_response();
    response
        .headers_mut()
        .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Err(Box::new(response))
}

/// A JSON object, or nothing.
pub(super) fn json_object(headers: &HeaderMap, body: &Bytes) -> Result<Option<Value>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    expect(headers, &["application/json"])?;
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(Some(value)),
        Ok(_) => Err(Problem::bad_request(
            "json",
            "the content of a document is a JSON object",
        )),
        Err(error) => Err(Problem::bad_request("json", format!("the body is not JSON: {error}"))),
    }
}

/// The body must say that it is of one of these types.
pub(super) fn expect(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| types.iter().any(|known| known.eq_ignore_ascii_case(essence))) {
        return Ok(());
    }
    let detail = format!("send it with Content-Type: {}", types.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type").detail(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Option<Value>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        json_object(&headers, &Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn content_is_an_object_of_bounded_depth_or_nothing() {
        assert_eq!(json(""), Ok(None));
        assert!(json("{\"a\": [1]}").unwrap().is_some());
        for wrong in ["[1]", "3", "{", "{}{}", &format!("{{\"a\":{}", "[".repeat(100_000))] {
            assert!(json(wrong).is_err(), "{}", &wrong[..wrong.len().min(9)]);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        assert!(bytes(Body::from(vec![0; 10]), 10, "limits.x").await.is_ok());
        let problem = bytes(Body::from(vec![0; 11]), 10, "limits.x").await.unwrap_err();
        assert!(format!("{problem:?}").contains("limits.x"));
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_refused_unread() {
        let unread = futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, std::io::Error>>> {
            panic!("it was read")
        });
        let problem = bytes(Body::from_stream(unread), 10, "limits.x").await.unwrap_err();
        assert!(format!("{problem:?}").contains("length-required"));
        assert!(bytes(Body::empty(), 10, "limits.x").await.unwrap().is_empty());
    }
}
