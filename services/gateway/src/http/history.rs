//! `/v1/principals/{principal}/entries`: what somebody wrote, when, and from where.
//!
//! Who may ask: everybody about themselves; those who may administer whatever there is about anybody; and who administers a
//! document about anybody in it. These last are not told where somebody was: that is between a client and the server.

use std::{net::IpAddr, sync::Arc};

use aetherflow_schema::{
    access::{Caller, ClientKind, Grant, Operation, Principal},
    history::{Arrival, Authored, AuthoredQuery, HISTORY_PAGE},
    id::DocumentId,
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use hyper::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::{asker::Asker, parameters as p, problem::Problem};
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    document: Option<String>,
    after: Option<String>,
    since: Option<u64>,
    until: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntriesBody {
    principal: String,
    entries: Vec<EntryBody>,
    next: Option<String>,
    unreadable_partitions: Vec<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryBody {
    time: u64,
    document_id: String,
    offset: u64,
    kind: &'static str,
    bytes: u64,
    session: String,
    via: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whence: Option<WhenceBody>,
}

#[derive(Serialize)]
struct WhenceBody {
    address: IpAddr,
    port: u16,
    client: String,
    agent: String,
}

/// Whether somebody may be told where entries came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Full,
    WithoutAddresses,
}

/// `GET /v1/principals/{principal}/entries`
pub(super) async fn entries(
    State(shared): State<Arc<Shared>>,
    Asker(caller): Asker,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Json<impl Serialize>, Problem> {
    let Path(name) = name.map_err(|error| Problem::bad_request("path", error.body_text()))?;
    let principal =
        Principal::named(&name).ok_or_else(|| Problem::bad_request("principal", "a name has 1 to 255 bytes"))?;
    let parameters: Parameters = p::query(&uri)?;
    let document = parameters.document.as_deref().map(p::parse_document).transpose()?;
    let standing = standing(&shared, &caller, &principal, document.as_ref())?;
    let after = parameters.after.map(|after| after.parse()).transpose();
    let query = AuthoredQuery {
        principal,
        document,
        after: after.map_err(|error: aetherflow_schema::history::NoPosition| {
            Problem::bad_request("query", format!("`after`: {error}"))
        })?,
        since_us: parameters.since.unwrap_or(0).saturating_mul(1000),
        until_us: parameters.until.map_or(u64::MAX, |until| until.saturating_mul(1000)),
        limit: p::limit(parameters.limit, 100, HISTORY_PAGE)?,
    };
    let page = shared.history.authored(query).await?;
    let asked = page
        .entries
        .iter()
        .map(|entry| (entry.session, entry.position.committed_us / 1000));
    let arrivals = shared
        .arrivals
        .find(asked.collect())
        .await
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unreadable").detail(error.to_string()))?;
    let entries = page.entries.into_iter().zip(arrivals);
    Ok(Json(EntriesBody {
        principal: name,
        entries: entries.map(|(entry, arrival)| body(entry, arrival, standing)).collect(),
        next: page.next.map(|next| next.to_string()),
        unreadable_partitions: page.unreadable.into_iter().map(|partition| partition.0).collect(),
    }))
}

fn standing(
    shared: &Shared,
    caller: &Caller,
    principal: &Principal,
    document: Option<&DocumentId>,
) -> Result<Standing, Problem> {
    let identity = &caller.identity;
    // What nobody in particular wrote, or whoever had a link, is nobody's own.
    let own = identity.principal == *principal && identity.kind != ClientKind::Anonymous;
    let everywhere = shared.access.allows_everywhere(identity, Operation::Administer);
    if own || everywhere.is_ok() {
        return Ok(Standing::Full);
    }
    if let Some(document) = document {
        Grant::check(&*shared.access, caller, Operation::Administer, document)?;
        return Ok(Standing::WithoutAddresses);
    }
    let detail = "you may ask about yourself, about a document that you own (`?document=`), or with a grant to own all";
    Err(Problem::new(StatusCode::FORBIDDEN, "not-allowed").detail(detail))
}

fn body(entry: Authored, arrival: Option<Arrival>, standing: Standing) -> EntryBody {
    EntryBody {
        time: entry.position.committed_us / 1000,
        document_id: entry.document.to_string(),
        offset: entry.position.offset.0,
        kind: entry.kind.name(),
        bytes: entry.bytes,
        session: entry.session.to_string(),
        via: arrival.as_ref().map(|arrival| arrival.via.name()),
        whence: arrival
            .filter(|_| standing == Standing::Full)
            .map(|arrival| WhenceBody {
                address: arrival.address.ip(),
                port: arrival.address.port(),
                client: arrival.client,
                agent: arrival.agent,
            }),
    }
}
