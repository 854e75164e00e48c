//! `/v1/sessions`: who is connected.
//!
//! Whoever administers all documents sees and ends everybody's sessions; a user or a server its own. Sessions of others are
//! not there for them.

use std::{net::SocketAddr, sync::Arc};

use aetherflow_schema::{
    access::{Caller, ClientKind, Operation, Principal},
    documents::Retry,
    id::SessionId,
    sessions::{NodeId, PAGE, Protocol, SessionError, SessionFilter, SessionInfo, SessionState},
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use hyper::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{asker::Asker, parameters as p, problem::Problem};
use crate::shared::Shared;

type App = State<Arc<Shared>>;
type Id = Result<Path<String>, PathRejection>;

/// The query of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    principal: Option<String>,
    node: Option<String>,
    state: Option<String>,
    document: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/sessions`
pub(super) async fn list(State(shared): App, Asker(caller): Asker, uri: Uri) -> Result<Json<Value>, Problem> {
    let filter: Filter = p::query(&uri)?;
    let limit = p::limit(filter.limit, 100, PAGE)?;
    let after = filter.after.as_deref().map(parse).transpose()?;
    let mut wanted = filter.parse()?;
    if let Some(own) = scope(&shared, &caller)? {
        if wanted.principal.as_ref().is_some_and(|principal| *principal != own) {
            return Err(forbidden("you may see your own sessions only"));
        }
        wanted.principal = Some(own);
    }
    let page = shared.sessions.list(wanted, after, limit).await?;
    let sessions: Vec<_> = page.sessions.iter().map(describe).collect();
    let next = page.next.map(|id| id.to_string());
    Ok(Json(json!({"sessions": sessions, "next": next})))
}

/// `GET /v1/sessions/{id}`
pub(super) async fn read(State(shared): App, Asker(caller): Asker, id: Id) -> Result<Json<Value>, Problem> {
    Ok(Json(describe(&find(&shared, &caller, id).await?)))
}

/// `DELETE /v1/sessions/{id}`
pub(super) async fn end(State(shared): App, Asker(caller): Asker, id: Id) -> Result<StatusCode, Problem> {
    let session = find(&shared, &caller, id).await?;
    tracing::info!(session = %session.id, by = %caller.identity.principal, "asked to end a session");
    shared.sessions.delete(session.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A session that the caller may see.
async fn find(shared: &Shared, caller: &Caller, id: Id) -> Result<SessionInfo, Problem> {
    let Path(id) = id.map_err(|error| Problem::bad_request("session-id", error.body_text()))?;
    let id = parse(&id)?;
    let own = scope(shared, caller)?;
    let session = shared.sessions.find(id).await?;
    if own.is_some_and(|own| own != session.principal) {
        return Err(SessionError::NotFound.into());
    }
    Ok(session)
}

/// Whose sessions somebody may see and end: `None` for everybody's.
fn scope(shared: &Shared, caller: &Caller) -> Result<Option<Principal>, Problem> {
    let identity = &caller.identity;
    if shared.access.allows_everywhere(identity, Operation::Administer).is_ok() {
        return Ok(None);
    }
    match identity.kind {
        ClientKind::User | ClientKind::Server => Ok(Some(identity.principal.clone())),
        // Many may share this name.
        ClientKind::Anonymous => Err(forbidden("you are nobody in particular")),
    }
}

fn forbidden(why: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "not-allowed").detail(why)
}

/// A session's id, as it stands in paths and queries.
pub(super) fn parse(id: &str) -> Result<SessionId, Problem> {
    let wrong = |error: uuid::Error| Problem::bad_request("session-id", error.to_string());
    id.parse().map(SessionId).map_err(wrong)
}

/// A protocol's name in the API.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::AutomergeRepo => "automerge-repo",
        Protocol::NativeWebSocket => "native-websocket",
        Protocol::NativeQuantum => "native-quantum",
        Protocol::Service => "service",
    }
}

impl Filter {
    fn parse(&self) -> Result<SessionFilter, Problem> {
        let wrong = |what: &str| Problem::bad_request("query", format!("`{what}` is none"));
        let state = |name: &str| {
            let states = SessionState::ALL.into_iter();
            states
                .filter(|state| *state != SessionState::Closed)
                .find(|state| state.to_string() == name)
        };
        let states = self.state.iter().flat_map(|states| states.split(','));
        Ok(SessionFilter {
            principal: self
                .principal
                .as_deref()
                .map(|name| Principal::named(name).ok_or_else(|| wrong("principal")))
                .transpose()?,
            connection: None,
            node: self
                .node
                .as_deref()
                .map(|name| NodeId::named(name).ok_or_else(|| wrong("node")))
                .transpose()?,
            states: states
                .map(|name| state(name).ok_or_else(|| wrong("state")))
                .collect::<Result<_, _>>()?,
            document: self.document.as_deref().map(p::parse_document).transpose()?,
        })
    }
}

fn describe(session: &SessionInfo) -> Value {
    let cursors: serde_json::Map<String, Value> = session
        .cursors
        .iter()
        .map(|(document, offset)| (document.to_string(), offset.0.into()))
        .collect();
    let traffic = &session.traffic;
    json!({
        "session": session.id.to_string(),
        "principal": session.principal.as_str(),
        "client": session.client.as_str(),
        "node": session.node.as_str(),
        "protocol": protocol(session.protocol),
        "address": session.peer.as_ref().map(SocketAddr::to_string),
        "state": session.state.to_string(),
        "connected": session.connection.is_some(),
        "resumable": session.resumable,
        "created": session.created_ms,
        "heard": session.heard_ms,
        "attributes": session.attributes,
        "cursors": cursors,
        "traffic": {
            "bytesIn": traffic.bytes_in,
            "bytesOut": traffic.bytes_out,
            "packetsIn": traffic.packets_in,
            "packetsOut": traffic.packets_out,
            "retransmissions": traffic.retransmissions,
            "rttUs": traffic.rtt_us,
        },
    })
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let (status, kind) = match &error {
            SessionError::NotFound => (StatusCode::NOT_FOUND, "no-such-session"),
            SessionError::Invalid(_) => (StatusCode::BAD_REQUEST, "not-acceptable"),
            SessionError::Exists | SessionError::State(_) | SessionError::Conflict | SessionError::TakenOver => {
                (StatusCode::CONFLICT, "session-changed")
            }
            SessionError::Full | SessionError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "sessions"),
            SessionError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        let problem = Self::new(status, kind).detail(error.to_string());
        match error.retry() {
            Retry::Never => problem,
            Retry::After(wait) => problem.retry_after(wait),
        }
    }
}
