//! Everything else: the console's files.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY},
};

use super::{etag, headers::console_file, problem::Problem};
use crate::{assets::Asset, shared::Shared};

/// Any path that is nothing else.
pub(super) async fn file(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let reads = method == Method::GET || method == Method::HEAD;
    match shared.assets.asset(uri.path(), accept) {
        Some(asset) if reads => {
            let mut response = etag::respond(&headers, asset.etag, || respond(&asset));
            console_file(response.headers_mut());
            response
        }
        Some(_) => super::not_allowed(method).await.into_response(),
        None => super::nothing().await.into_response(),
    }
}

/// `GET /automerge` without an upgrade.
pub(super) async fn websocket_only() -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket-only").detail("WebSocket is spoken here, and nothing else")
}

fn respond(asset: &Asset) -> Response {
    let mut response = asset.body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(asset.cache_control));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(encoding) = asset.content_encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}
