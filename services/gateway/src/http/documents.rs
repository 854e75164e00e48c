//! `/v1/documents`.

use std::sync::Arc;

use aetherflow_schema::{
    access::{AuthorizedEdit, Caller, Grant, Operation},
    documents::{HistoryChange, Written},
    id::{ChangeHash, DocumentId},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode, Uri,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION},
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{asker::Asker, body, etag, locks, parameters as p, problem::Problem};
use crate::shared::Shared;

const FILE: &str = "application/octet-stream";

type Id = Result<Path<String>, PathRejection>;
type App = State<Arc<Shared>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenBody {
    document_id: String,
    url: String,
    heads: Vec<String>,
    offset: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DocumentBody {
    document_id: String,
    url: String,
    heads: Vec<String>,
    changes: u64,
    content: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListBody {
    documents: Vec<ListedBody>,
    next: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedBody {
    document_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryBody {
    document_id: String,
    total: u64,
    changes: Vec<ChangeBody>,
    next: Option<u64>,
}

#[derive(Serialize)]
struct ChangeBody {
    index: u64,
    hash: String,
    actor: String,
    seq: u64,
    time: i64,
    message: Option<String>,
    operations: u64,
    offset: Option<u64>,
    committed: Option<u64>,
    principal: Option<String>,
    session: Option<String>,
}

/// `POST /v1/documents`
pub(super) async fn create(
    State(shared): App,
    Asker(caller): Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let document = DocumentId::from_uuid(Uuid::new_v4());
    edit(&shared, &caller, Operation::Create, &document)?;
    locks::none(&headers)?;
    let body = body::bytes(body, shared.options.limits.json_bytes, "limits.json_bytes").await?;
    let content = body::json_object(&headers, &body)?;
    let edit = edit(&shared, &caller, Operation::Create, &document)?;
    let written = shared.documents.create(edit, content).await?;
    Ok(created(&document, &written))
}

/// `POST /v1/documents/import`
pub(super) async fn import_new(
    State(shared): App,
    Asker(caller): Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let document = DocumentId::from_uuid(Uuid::new_v4());
    edit(&shared, &caller, Operation::Create, &document)?;
    locks::none(&headers)?;
    let file = file(&shared, &headers, body).await?;
    let edit = edit(&shared, &caller, Operation::Create, &document)?;
    let written = shared.documents.import(edit, file, None).await?;
    Ok(created(&document, &written))
}

/// `POST /v1/documents/{id}/import`
pub(super) async fn import(
    State(shared): App,
    Asker(caller): Asker,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<impl Serialize>, Problem> {
    let document = p::document(id)?;
    edit(&shared, &caller, Operation::Write, &document)?;
    let fence = locks::fence(&shared, &headers, &document)?;
    let file = file(&shared, &headers, body).await?;
    let edit = edit(&shared, &caller, Operation::Write, &document)?;
    let written = shared.documents.import(edit, file, fence).await?;
    Ok(Json(written_body(&document, &written)))
}

/// `GET /v1/documents`
pub(super) async fn list(State(shared): App, Asker(caller): Asker, uri: Uri) -> Result<Json<impl Serialize>, Problem> {
    let page: p::Page = p::query(&uri)?;
    let limit = p::limit(page.limit, 100, 1000)?;
    let after = page.after.as_deref().map(p::parse_document).transpose()?;
    let found = shared.documents.list(after, limit).await?;
    let next = (found.len() == limit)
        .then(|| found.last().map(ToString::to_string))
        .flatten();
    let documents = found
        .iter()
        .filter(|document| Grant::check(&*shared.access, &caller, Operation::Read, document).is_ok())
        .map(|document| ListedBody {
            document_id: document.to_string(),
        })
        .collect();
    Ok(Json(ListBody { documents, next }))
}

/// `GET /v1/documents/{id}`
pub(super) async fn read(
    State(shared): App,
    Asker(caller): Asker,
    id: Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let document = p::document(id)?;
    let at = p::query::<p::Place>(&uri)?.at()?;
    let found = shared.documents.read(reader(&shared, &caller, &document)?, at).await?;
    Ok(etag::respond(&headers, &etag::of_heads(&found.heads), || {
        let body = DocumentBody {
            document_id: document.to_string(),
            url: document.url(),
            heads: texts(&found.heads),
            changes: found.changes,
            content: found.content,
        };
        Json(body).into_response()
    }))
}

/// `GET /v1/documents/{id}/history`
pub(super) async fn history(
    State(shared): App,
    Asker(caller): Asker,
    id: Id,
    uri: Uri,
) -> Result<Json<impl Serialize>, Problem> {
    let document = p::document(id)?;
    let p::Stretch {
        after,
        limit,
        principal,
    } = p::query(&uri)?;
    let limit = p::limit(limit, 200, 1000)?;
    let mut page = shared
        .documents
        .history(reader(&shared, &caller, &document)?, after, limit)
        .await?;
    if let Some(name) = &principal {
        let is_theirs = |change: &HistoryChange| change.author.as_ref().is_some_and(|of| of.principal.as_str() == name);
        page.changes.retain(is_theirs);
    }
    Ok(Json(HistoryBody {
        document_id: document.to_string(),
        total: page.total,
        changes: page.changes.into_iter().map(ChangeBody::from).collect(),
        next: page.next,
    }))
}

/// `GET /v1/documents/{id}/export`
pub(super) async fn export(
    State(shared): App,
    Asker(caller): Asker,
    id: Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let document = p::document(id)?;
    let at = p::query::<p::Place>(&uri)?.at()?;
    let file = shared
        .documents
        .export(reader(&shared, &caller, &document)?, at)
        .await?;
    Ok(etag::respond(&headers, &etag::of_bytes(&file), || {
        let name = format!("attachment; filename=\"{document}.automerge\"");
        ([(CONTENT_TYPE, FILE), (CONTENT_DISPOSITION, &name)], file).into_response()
    }))
}

async fn file(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    body::expect(headers, &[FILE])?;
    let file = body::bytes(body, shared.options.limits.change_bytes, "limits.change_bytes").await?;
    if file.is_empty() {
        return Err(Problem::bad_request(
            "body",
            "the body is to be an automerge file, and there is none",
        ));
    }
    Ok(file)
}

/// Asks the policy. Those who send a body are asked about before it is read, so that nobody makes the server read what it
/// refuses, and once more when it has come: what was taken away meanwhile does not count.
fn edit(
    shared: &Shared,
    caller: &Caller,
    operation: Operation,
    document: &DocumentId,
) -> Result<AuthorizedEdit<DocumentId>, Problem> {
    let grant = Grant::check(&*shared.access, caller, operation, document)?;
    AuthorizedEdit::new(&grant, document.clone()).ok_or_else(|| Problem::internal("the grant is for reading only"))
}

fn reader(shared: &Shared, caller: &Caller, document: &DocumentId) -> Result<Grant, Problem> {
    Ok(Grant::check(&*shared.access, caller, Operation::Read, document)?)
}

fn created(document: &DocumentId, written: &Written) -> Response {
    let location = format!("/v1/documents/{document}");
    let body = Json(written_body(document, written));
    (StatusCode::CREATED, [(LOCATION, location)], body).into_response()
}

fn written_body(document: &DocumentId, written: &Written) -> WrittenBody {
    WrittenBody {
        document_id: document.to_string(),
        url: document.url(),
        heads: texts(&written.heads),
        offset: written.offset.0,
    }
}

fn texts(heads: &[ChangeHash]) -> Vec<String> {
    heads.iter().map(ToString::to_string).collect()
}

impl From<HistoryChange> for ChangeBody {
    fn from(change: HistoryChange) -> Self {
        Self {
            index: change.index,
            hash: change.hash.to_string(),
            actor: change.actor,
            seq: change.seq,
            time: change.time_ms,
            message: change.message,
            operations: change.operations,
            offset: change.offset.map(|offset| offset.0),
            committed: change.committed_ms,
            principal: change
                .author
                .as_ref()
                .map(|author| author.principal.as_str().to_owned()),
            session: change.author.map(|author| author.session.to_string()),
        }
    }
}
