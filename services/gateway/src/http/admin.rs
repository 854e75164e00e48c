//! `/v1/admin`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use serde_json::{Value, json};

use super::{parameters, problem::Problem};
use crate::{admin::AdminError, shared::Shared};

/// The one path without a deadline: reading the whole log takes as long as it takes.
pub(super) const VERIFY: &str = "/v1/admin/verify";

type Answer = Result<Json<Value>, Problem>;
type App = State<Arc<Shared>>;

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        Self::internal(error.0)
    }
}

/// `GET /v1/admin/partitions`
pub(super) async fn partitions(State(shared): App) -> Answer {
    let partitions = shared.admin.partitions().await?;
    Ok(Json(json!({"partitions": partitions})))
}

/// `POST /v1/admin/resume`
pub(super) async fn resume(State(shared): App) -> Answer {
    tracing::info!("asked to leave failsafe");
    shared.admin.resume().await?;
    Ok(Json(json!({"status": "ok"})))
}

/// `POST /v1/admin/reload`
pub(super) async fn reload(State(shared): App) -> Answer {
    tracing::info!("asked to read the configuration again");
    let reloaded = shared.admin.reload().await;
    let reloaded = reloaded.map_err(|error| Problem::bad_request("configuration", error.0))?;
    Ok(Json(json!(reloaded)))
}

/// `POST /v1/admin/verify`
pub(super) async fn verify(State(shared): App) -> Answer {
    let verification = shared.admin.verify().await?;
    if !verification.ok {
        tracing::error!(problems = ?verification.problems, "the log does not verify");
    }
    Ok(Json(json!(verification)))
}

/// `GET /v1/admin/quarantine`
pub(super) async fn quarantine(State(shared): App) -> Answer {
    let documents: Vec<_> = shared
        .documents
        .quarantined()
        .await
        .iter()
        .map(|entry| {
            json!({
                "documentId": entry.document.to_string(),
                "offset": entry.offset,
                "reason": entry.reason,
                "since": entry.since_ms,
            })
        })
        .collect();
    Ok(Json(json!({"documents": documents})))
}

/// `POST /v1/admin/quarantine/{id}/release`
pub(super) async fn release(State(shared): App, id: Result<Path<String>, PathRejection>) -> Answer {
    let document = parameters::document(id)?;
    tracing::info!(%document, "asked to release it from quarantine");
    shared.documents.release(document).await?;
    Ok(Json(json!({"status": "ok"})))
}
