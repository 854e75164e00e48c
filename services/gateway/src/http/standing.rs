//! `/v1/access` and `/v1/documents/{id}/access`: what whoever asks may do, so that a client need not find out by being refused.

use std::sync::Arc;

use aetherflow_schema::{
    access::{Caller, Operation},
    id::DocumentId,
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{asker::Asker, parameters as p, problem::Problem};
use crate::shared::Shared;

type App = State<Arc<Shared>>;

/// `GET /v1/access`
pub(super) async fn anywhere(State(shared): App, Asker(caller): Asker) -> Json<Value> {
    let fresh = DocumentId::from_uuid(Uuid::new_v4());
    Json(json!({
        "principal": caller.identity.principal.as_str(),
        "expiresAt": caller.identity.expires_at,
        "create": allows(&shared, &caller, Operation::Create, &fresh),
    }))
}

/// `GET /v1/documents/{id}/access`. Whoever may do nothing is told just that, whether the document is there or not.
pub(super) async fn document(
    State(shared): App,
    Asker(caller): Asker,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let document = p::document(id)?;
    let allowed: Vec<_> = Operation::ALL
        .into_iter()
        .filter(|operation| allows(&shared, &caller, *operation, &document))
        .map(Operation::name)
        .collect();
    Ok(Json(json!({
        "documentId": document.to_string(),
        "principal": caller.identity.principal.as_str(),
        "allows": allowed,
    })))
}

fn allows(shared: &Shared, caller: &Caller, operation: Operation, document: &DocumentId) -> bool {
    shared.access.allows(&caller.identity, operation, document).is_ok()
}
