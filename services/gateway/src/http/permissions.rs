//! `/v1/documents/{id}/permissions` and `/v1/documents/{id}/links`.

use std::sync::Arc;

use aetherflow_schema::{
    access::{AuthorizedEdit, Caller, Grant, Grantee, Operation, PermissionChange, Role},
    id::DocumentId,
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{asker::Asker, body, parameters as p, problem::Problem};
use crate::{caller::now_s, shared::Shared};

/// Bytes of a body here.
const BODY_BYTES: usize = 4096;

type App = State<Arc<Shared>>;
type Id = Result<Path<String>, PathRejection>;
type Named = Result<Path<(String, String)>, PathRejection>;
type Answer = Result<Json<Value>, Problem>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantBody {
    role: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LinkBody {
    role: String,
    expires_in: u64,
}

/// `GET /v1/documents/{id}/permissions`
pub(super) async fn list(State(shared): App, Asker(caller): Asker, id: Id) -> Answer {
    let document = p::document(id)?;
    let grant = administer(&shared, &caller, &document)?;
    let permissions: Vec<_> = shared
        .permissions
        .list(&grant)
        .into_iter()
        .map(|permission| {
            json!({
                "grantee": permission.grantee.to_string(),
                "role": permission.role.map(Role::name),
                "since": permission.since,
            })
        })
        .collect();
    Ok(Json(
        json!({"documentId": document.to_string(), "permissions": permissions}),
    ))
}

/// `PUT /v1/documents/{id}/permissions/{grantee}`
pub(super) async fn grant(
    State(shared): App,
    Asker(caller): Asker,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (document, grantee) = parse(named)?;
    let GrantBody { role } = read(&headers, body).await?;
    change(&shared, &caller, document, grantee, Some(parse_role(&role)?)).await
}

/// `DELETE /v1/documents/{id}/permissions/{grantee}`
pub(super) async fn revoke(State(shared): App, Asker(caller): Asker, named: Named) -> Answer {
    let (document, grantee) = parse(named)?;
    change(&shared, &caller, document, grantee, None).await
}

/// `POST /v1/documents/{id}/links`
pub(super) async fn link(
    State(shared): App,
    Asker(caller): Asker,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let document = p::document(id)?;
    let LinkBody { role, expires_in } = read(&headers, body).await?;
    let role = parse_role(&role)?;
    let grant = administer(&shared, &caller, &document)?;
    let link = shared.permissions.link(&grant, role, now_s(), expires_in)?;
    let body = json!({
        "documentId": document.to_string(),
        "role": role.name(),
        "token": link.token,
        "principal": link.principal.as_str(),
        "expiresAt": link.expires_at,
    });
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn change(
    shared: &Shared,
    caller: &Caller,
    document: DocumentId,
    grantee: Grantee,
    role: Option<Role>,
) -> Answer {
    let grant = administer(shared, caller, &document)?;
    let change = PermissionChange {
        document: document.clone(),
        grantee: grantee.clone(),
        role,
        nonce: *Uuid::new_v4().as_bytes(),
    };
    let edit =
        AuthorizedEdit::new(&grant, change).ok_or_else(|| Problem::internal("the grant is for something else"))?;
    let offset = shared.permissions.change(edit).await?;
    Ok(Json(json!({
        "documentId": document.to_string(),
        "grantee": grantee.to_string(),
        "role": role.map(Role::name),
        "offset": offset,
    })))
}

fn administer(shared: &Shared, caller: &Caller, document: &DocumentId) -> Result<Grant, Problem> {
    Ok(Grant::check(&*shared.access, caller, Operation::Administer, document)?)
}

fn parse(named: Named) -> Result<(DocumentId, Grantee), Problem> {
    let Path((document, grantee)) = named.map_err(|error| Problem::bad_request("path", error.body_text()))?;
    let grantee = grantee
        .parse()
        .map_err(|error: aetherflow_schema::access::NoGrantee| Problem::bad_request("grantee", error.to_string()))?;
    Ok((p::parse_document(&document)?, grantee))
}

fn parse_role(role: &str) -> Result<Role, Problem> {
    let wrong = |error: aetherflow_schema::access::NoSuchRole| Problem::bad_request("role", error.to_string());
    role.parse().map_err(wrong)
}

async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    body::expect(headers, &["application/json"])?;
    let bytes = body::bytes(body, BODY_BYTES, "a constant").await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::bad_request("json", error.to_string()))
}
