//! `/v1/documents/{id}/presence`: who is here, once, and as it changes.
//!
//! Whoever may be present on a document is told; what is told of sessions beside (client and protocol) is what the session
//! service knows at that moment, and left out where it knows nothing.

mod ear;

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use aetherflow_schema::{
    access::{Caller, Grant, Operation},
    id::DocumentId,
    presence::{PresenceChange, PresenceEvent},
};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::stream::unfold;
use hyper::{
    Uri,
    header::{CACHE_CONTROL, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::ear::{Ear, Heard};
use super::{asker::Asker, parameters as p, problem::Problem, sessions};
use crate::{caller::now_s, shared::Shared};

type App = State<Arc<Shared>>;
type Id = Result<Path<String>, PathRejection>;

/// Sessions in one page, and in the first event of a stream.
const PAGE: usize = 1000;

/// How long a server that lost its stream waits before it asks again.
const RETRY: Duration = Duration::from_secs(2);

/// Tells proxies that know it (nginx) not to keep events back.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /v1/documents/{id}/presence`
pub(super) async fn here(State(shared): App, Asker(caller): Asker, id: Id, uri: Uri) -> Result<Json<Value>, Problem> {
    let document = admit(&shared, &caller, id)?;
    let page: p::Page = p::query(&uri)?;
    let limit = p::limit(page.limit, 100, PAGE)?;
    let after = page.after.as_deref().map(sessions::parse).transpose()?;
    let here = shared.presence.here(&document);
    let from = here.partition_point(|event| after.is_some_and(|after| event.session <= after));
    let (page, rest) = here[from..].split_at(limit.min(here.len() - from));
    let mut present = Vec::with_capacity(page.len());
    for event in page {
        present.push(describe(&shared, event).await);
    }
    let last = page.last().filter(|_| !rest.is_empty());
    let next = last.map(|event| event.session.to_string());
    Ok(Json(json!({
        "documentId": document.to_string(),
        "present": present,
        "next": next,
    })))
}

/// `GET /v1/documents/{id}/presence/events`
pub(super) async fn events(State(shared): App, Asker(caller): Asker, id: Id) -> Result<Response, Problem> {
    let document = admit(&shared, &caller, id)?;
    let stream = Stream {
        ear: Ear::new(shared, caller, document),
        begun: false,
        ready: VecDeque::new(),
    };
    let events = unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let mut response = Sse::new(events).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    Ok(response)
}

fn admit(shared: &Shared, caller: &Caller, id: Id) -> Result<DocumentId, Problem> {
    let document = p::document(id)?;
    Grant::check(&*shared.access, caller, Operation::Presence, &document)?;
    Ok(document)
}

/// A stream of events, from the first look to the end of the caller's access, of its token, or of the server.
struct Stream {
    ear: Ear,
    begun: bool,
    ready: VecDeque<Heard>,
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        if !self.begun {
            self.begun = true;
            return self.snapshot().await;
        }
        let shared = self.ear.shared().clone();
        loop {
            if !self.ear.is_allowed() || shared.shutdown.is_triggered() {
                return None;
            }
            if let Some(heard) = self.ready.pop_front() {
                return self.event(&heard).await;
            }
            let expired = async {
                match self.ear.caller().identity.expires_at {
                    Some(end) => sleep(Duration::from_secs(end.saturating_sub(now_s()))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.shutdown.triggered() => return None,
                () = expired => return None,
                () = self.ear.some() => self.ready = self.ear.take(PAGE).into(),
                () = sleep(shared.options.timeouts.keepalive()) => {
                    if self.ear.is_allowed() {
                        return Some(Event::default().comment("still here"));
                    }
                }
            }
        }
    }

    /// Who is here, as far as that fits into one event: the others follow at once, as if they came.
    async fn snapshot(&mut self) -> Option<Event> {
        let mut present = Vec::new();
        for heard in self.ear.take(PAGE) {
            present.push(describe(self.ear.shared(), &heard.event).await);
        }
        let snapshot = json!({"documentId": self.ear.document().to_string(), "present": present});
        Event::default().event("snapshot").retry(RETRY).json_data(snapshot).ok()
    }

    async fn event(&self, heard: &Heard) -> Option<Event> {
        let shared = self.ear.shared();
        let (name, body) = match (heard.event.change, heard.known) {
            (PresenceChange::Left, _) => ("left", who(&heard.event)),
            (_, true) => ("updated", describe(shared, &heard.event).await),
            (_, false) => ("joined", describe(shared, &heard.event).await),
        };
        Event::default().event(name).json_data(body).ok()
    }
}

fn who(event: &PresenceEvent) -> Value {
    json!({"session": event.session.to_string(), "principal": event.principal.as_str()})
}

/// Somebody who is present.
async fn describe(shared: &Shared, event: &PresenceEvent) -> Value {
    let mut body = who(event);
    body["state"] = STANDARD.encode(&event.state).into();
    body["ttlMs"] = event.ttl_ms.into();
    if let Ok(json) = serde_json::from_slice::<Value>(&event.state) {
        body["json"] = json;
    }
    if let Ok(session) = shared.sessions.find(event.session).await {
        body["client"] = session.client.as_str().into();
        body["protocol"] = sessions::protocol(session.protocol).into();
    }
    body
}
