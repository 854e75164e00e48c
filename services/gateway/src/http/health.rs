//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use aetherflow_runtime::metrics::CONTENT_TYPE as METRICS;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use crate::shared::Shared;

/// `GET /healthz`
pub(super) async fn healthy(State(shared): State<Arc<Shared>>) -> Response {
    let degraded = shared.health.degraded();
    if degraded.is_empty() {
        return Json(json!({"status": "ok"})).into_response();
    }
    let reasons: Vec<_> = degraded
        .iter()
        .map(|degraded| json!({"component": degraded.component, "reason": degraded.reason}))
        .collect();
    let body = Json(json!({"status": "degraded", "reasons": reasons}));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// `GET /readyz`
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.health.is_ready() {
        return Json(json!({"status": "ready"})).into_response();
    }
    let status = if shared.shutdown.is_triggered() {
        "draining"
    } else {
        "starting"
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": status}))).into_response()
}

/// `GET /metrics`
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, METRICS)], shared.registry.encode()).into_response()
}
