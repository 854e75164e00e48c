//! `/v1/documents/{id}/locks`, and the header that edits carry which were made under a lock.
//!
//! A request is no session that could hold anything, so each lock that is taken here has a session of its own, which is over
//! when the lock is. It belongs to the principal: another request of the same one may renew it and give it back.

use std::{sync::Arc, time::Duration};

use aetherflow_schema::{
    access::{Grant, Operation},
    id::DocumentId,
    locks::{Fence, Fencing, Lock, LockError},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use hyper::{HeaderMap, StatusCode, header::LOCATION};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{asker::Asker, body, parameters as p, problem::Problem};
use crate::shared::Shared;

/// Names the token of the lock under which an edit was made.
pub(super) const HEADER: &str = "aetherflow-fencing";

/// Bytes of a body here.
const BODY_BYTES: usize = 1024;

type App = State<Arc<Shared>>;
type Id = Result<Path<String>, PathRejection>;
type Named = Result<Path<(String, String)>, PathRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AcquireBody {
    ttl_ms: u64,
}

/// `GET /v1/documents/{id}/locks`
pub(super) async fn list(State(shared): App, Asker(caller): Asker, id: Id) -> Result<Json<Value>, Problem> {
    let document = p::document(id)?;
    Grant::check(&*shared.access, &caller, Operation::Read, &document)?;
    let locks: Vec<Value> = shared.locks.holder(&document).await?.iter().map(shown).collect();
    Ok(Json(json!({"documentId": document.to_string(), "locks": locks})))
}

/// `POST /v1/documents/{id}/locks`
pub(super) async fn acquire(
    State(shared): App,
    Asker(caller): Asker,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let document = p::document(id)?;
    let ttl = ttl(&headers, body).await?;
    let grant = Grant::check(&*shared.access, &caller, Operation::Write, &document)?;
    let lock = shared.locks.acquire(&document, grant.author(), ttl).await?;
    let location = format!("/v1/documents/{document}/locks/{}", lock.fencing.0);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(shown(&lock))).into_response())
}

/// `PUT /v1/documents/{id}/locks/{fencing}`
pub(super) async fn renew(
    State(shared): App,
    Asker(caller): Asker,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let (document, fencing) = parse(named)?;
    let ttl = ttl(&headers, body).await?;
    Grant::check(&*shared.access, &caller, Operation::Write, &document)?;
    let lock = held(&shared, &document, fencing).await?;
    if lock.principal != caller.identity.principal {
        return Err(LockError::NotHeld.into());
    }
    let lock = shared.locks.renew(&document, lock.session, fencing, ttl).await?;
    Ok(Json(shown(&lock)))
}

/// `DELETE /v1/documents/{id}/locks/{fencing}`: one's own, or anybody's for those who administer the document.
pub(super) async fn release(State(shared): App, Asker(caller): Asker, named: Named) -> Result<StatusCode, Problem> {
    let (document, fencing) = parse(named)?;
    let lock = held(&shared, &document, fencing).await?;
    if lock.principal != caller.identity.principal {
        Grant::check(&*shared.access, &caller, Operation::Administer, &document)?;
    }
    shared.locks.release(&document, lock.session, fencing).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The lock under which a request says that its edit was made, if it says so.
pub(super) fn fence(shared: &Shared, headers: &HeaderMap, document: &DocumentId) -> Result<Option<Fence>, Problem> {
    let mut named = headers.get_all(HEADER).iter();
    let token = match (named.next(), named.next()) {
        (None, _) => return Ok(None),
        (Some(token), None) => token.to_str().ok().and_then(token_of),
        (Some(_), Some(_)) => None,
    };
    let fencing = token.ok_or_else(malformed)?;
    Ok(Some(Fence::new(shared.locks.clone(), document.clone(), fencing)))
}

/// For requests that make a document, which has no lock.
pub(super) fn none(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.contains_key(HEADER) {
        true => Err(Problem::bad_request(
            "fencing",
            "a document that is made by this request has no lock yet",
        )),
        false => Ok(()),
    }
}

async fn held(shared: &Shared, document: &DocumentId, fencing: Fencing) -> Result<Lock, LockError> {
    let holder = shared.locks.holder(document).await?;
    holder.filter(|lock| lock.fencing == fencing).ok_or(LockError::NotHeld)
}

async fn ttl(headers: &HeaderMap, body: Body) -> Result<Duration, Problem> {
    body::expect(headers, &["application/json"])?;
    let bytes = body::bytes(body, BODY_BYTES, "a constant").await?;
    let body: AcquireBody =
        serde_json::from_slice(&bytes).map_err(|error| Problem::bad_request("json", error.to_string()))?;
    Ok(Duration::from_millis(body.ttl_ms))
}

fn parse(named: Named) -> Result<(DocumentId, Fencing), Problem> {
    let Path((document, token)) = named.map_err(|error| Problem::bad_request("path", error.body_text()))?;
    Ok((p::parse_document(&document)?, token_of(&token).ok_or_else(malformed)?))
}

/// A token is digits and nothing else, and no token is zero.
fn token_of(text: &str) -> Option<Fencing> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|token| digits && *token != 0).map(Fencing)
}

fn malformed() -> Problem {
    Problem::bad_request("fencing", "the token of a lock is a number, as it was given out")
}

/// Tokens exceed what a number in JavaScript holds: they are text.
fn shown(lock: &Lock) -> Value {
    json!({
        "documentId": lock.document.to_string(),
        "fencing": lock.fencing.0.to_string(),
        "session": lock.session.to_string(),
        "principal": lock.principal.as_str(),
        "until": lock.until_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_number_and_nothing_else() {
        assert_eq!(token_of("18446744073709551615"), Some(Fencing(u64::MAX)));
        for wrong in ["", "0", "+1", "-1", " 1", "1.0", "18446744073709551616", "x"] {
            assert_eq!(token_of(wrong), None, "{wrong:?}");
        }
    }
}
