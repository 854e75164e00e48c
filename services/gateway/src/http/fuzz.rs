//! Fuzzing: what stands in paths, queries and headers. `schema/tests/fuzz` says how it is run.

#[path = "../../../../quantum/proto/tests/fuzz/run.rs"]
mod run;
#[allow(dead_code, reason = "the transport needs more of it")]
#[path = "../../../../quantum/proto/tests/fuzz/source.rs"]
mod source;

use aetherflow_schema::{
    documents::At,
    id::{ChangeHash, DocumentId},
    native::TOKEN_BYTES,
};
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, IF_NONE_MATCH, ORIGIN, SEC_WEBSOCKET_PROTOCOL},
};
use serde_json::Value;

use self::{run::seeds, source::Source};
use super::{body, etag, origin::Origin, parameters};
use crate::caller;

/// The queries and paths of every route that reads one.
fn parameters(data: &[u8]) {
    let hash = ChangeHash([0xab; 32]);
    let id = DocumentId::from_bytes(&[7; 16]).unwrap();
    let corpus = [
        "change=3".to_owned(),
        format!("heads={hash},{hash}"),
        "after=17&limit=100".to_owned(),
        format!("after={id}&limit=1"),
        format!("token=abc.def&after={}", id.url()),
    ];
    let bytes = Source::new(data).nearly(&corpus);
    let text = String::from_utf8_lossy(&bytes);
    if let Ok(id) = parameters::parse_document(&text) {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let Ok(uri) = format!("http://x/v1/documents?{text}").parse::<Uri>() else {
        return;
    };
    if let Ok(At::Heads(heads)) = parameters::query::<parameters::Place>(&uri).and_then(parameters::Place::at) {
        assert!(heads.len() * 64 <= text.len());
    }
    if let Ok(page) = parameters::query::<parameters::Page>(&uri) {
        let limit = parameters::limit(page.limit, 100, 1000);
        assert!(limit.is_err() || limit.is_ok_and(|limit| (1..=1000).contains(&limit)));
    }
    let _ = parameters::query::<parameters::Stretch>(&uri);
    let token = caller::of_upgrade(&HeaderMap::new(), &uri);
    assert!(token.is_none_or(|token| token.len() <= TOKEN_BYTES + 1));
}

/// The headers that are read here.
fn headers(data: &[u8]) {
    let corpus = [
        "Bearer abc.def.ghi",
        "aether.1, bearer.abc.def",
        "W/\"0123\", \"x\", *",
        "https://app.example:8443",
        "application/json; charset=utf-8",
    ];
    let mut source = Source::new(data);
    let mut map = HeaderMap::new();
    for name in [
        AUTHORIZATION,
        SEC_WEBSOCKET_PROTOCOL,
        IF_NONE_MATCH,
        ORIGIN,
        HOST,
        CONTENT_TYPE,
    ] {
        if let Ok(value) = HeaderValue::from_bytes(&source.nearly(&corpus)) {
            map.append(name, value);
        }
    }
    let uri = Uri::from_static("http://x/");
    // Whoever shows something is never taken for somebody who shows nothing.
    assert_eq!(caller::bearer(&map).is_some(), map.contains_key(AUTHORIZATION));
    let _ = caller::of_upgrade(&map, &uri);
    if let Some(named) = caller::subprotocol(&map) {
        // It is repeated in the answer.
        assert!(HeaderValue::from_str(named).is_ok());
    }
    let response = etag::respond(&map, "\"x\"", || "body".into_response());
    assert!(matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED));
    let allowed = ["https://app.example:*".to_owned()];
    if let Origin::Allowed(origin) = Origin::of(&map, &allowed) {
        assert!(
            origin
                .as_bytes()
                .to_ascii_lowercase()
                .starts_with(b"https://app.example")
        );
    }
}

/// The content of a new document.
fn content(data: &[u8]) {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let corpus = [
        "{\"title\": \"x\", \"done\": [1, -2.5e3, null, {\"é\": \"\\ud83d\\ude00\"}]}",
        &deep,
    ];
    let bytes = Bytes::from(Source::new(data).nearly(&corpus));
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(Some(value)) = body::json_object(&map, &bytes) {
        let written = serde_json::to_vec(&value).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), value);
    }
}

#[test]
fn any_parameters() {
    seeds("any_parameters", 10_000, 200, parameters);
}

#[test]
fn any_headers() {
    seeds("any_headers", 10_000, 300, headers);
}

#[test]
fn any_content() {
    seeds("any_content", 10_000, 200, content);
}
