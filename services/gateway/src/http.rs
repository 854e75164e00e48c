//! The HTTP API, as `ops/docs/http-api.md` describes it.

mod admin;
mod asker;
mod body;
mod console;
mod documents;
mod etag;
#[cfg(test)]
mod fuzz;
mod headers;
mod health;
mod history;
mod locks;
pub(crate) mod origin;
mod parameters;
mod permissions;
mod presence;
pub(crate) mod problem;
mod sessions;
mod standing;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use hyper::{Method, StatusCode};
use tokio::time::timeout;

use self::{origin::Origin, problem::Problem};
use crate::shared::Shared;

/// What is served to everybody.
pub(crate) fn public(shared: Arc<Shared>) -> Router {
    let router = Router::new()
        .route("/v1/documents", post(documents::create).get(documents::list))
        .route("/v1/documents/import", post(documents::import_new))
        .route("/v1/documents/{id}", get(documents::read))
        .route("/v1/documents/{id}/import", post(documents::import))
        .route("/v1/documents/{id}/history", get(documents::history))
        .route("/v1/documents/{id}/export", get(documents::export))
        .route("/v1/documents/{id}/locks", get(locks::list).post(locks::acquire))
        .route(
            "/v1/documents/{id}/locks/{fencing}",
            put(locks::renew).delete(locks::release),
        )
        .route("/v1/documents/{id}/permissions", get(permissions::list))
        .route(
            "/v1/documents/{id}/permissions/{grantee}",
            put(permissions::grant).delete(permissions::revoke),
        )
        .route("/v1/documents/{id}/links", post(permissions::link))
        .route("/v1/documents/{id}/access", get(standing::document))
        .route("/v1/documents/{id}/presence", get(presence::here))
        .route("/v1/documents/{id}/presence/events", get(presence::events))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{id}", get(sessions::read).delete(sessions::end))
        .route("/v1/principals/{principal}/entries", get(history::entries))
        .route("/v1/access", get(standing::anywhere))
        .route("/automerge", get(console::websocket_only))
        .route(aetherflow_schema::native::PATH, get(console::websocket_only))
        .fallback(console::file);
    finish(router, shared, true)
}

/// What is served to operators.
pub(crate) fn private(shared: Arc<Shared>) -> Router {
    let router = Router::new()
        .route("/metrics", get(health::metrics))
        .route("/v1/admin/partitions", get(admin::partitions))
        .route("/v1/admin/reload", post(admin::reload))
        .route("/v1/admin/resume", post(admin::resume))
        .route(admin::VERIFY, post(admin::verify))
        .route("/v1/admin/quarantine", get(admin::quarantine))
        .route("/v1/admin/quarantine/{id}/release", post(admin::release))
        .fallback(nothing);
    finish(router, shared, false)
}

fn finish(router: Router<Arc<Shared>>, shared: Arc<Shared>, public: bool) -> Router {
    let surroundings = Surroundings {
        shared: shared.clone(),
        public,
    };
    router
        .route("/healthz", get(health::healthy))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(surroundings, around))
        .with_state(shared)
}

#[derive(Clone)]
struct Surroundings {
    shared: Arc<Shared>,
    public: bool,
}

/// What holds for every request: a deadline, who may ask from a browser, some headers, metrics.
async fn around(State(surroundings): State<Surroundings>, request: Request, next: Next) -> Response {
    let Surroundings { shared, public } = surroundings;
    let started = Instant::now();
    let method = request.method().clone();
    let reads = method == Method::GET || method == Method::HEAD;
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let http = shared.http_options();
    let allowed: &[String] = if public { &http.allowed_origins } else { &[] };
    let origin = Origin::of(request.headers(), allowed);
    let mut response = if let Some(response) = origin.preflight(&method, request.headers()) {
        response
    } else if let Some(refusal) = origin.demand().err().filter(|_| !reads) {
        refusal.into_response()
    } else if let Err(encoded) = body::demand_plain(request.headers()) {
        encoded.into_response()
    } else if route == admin::VERIFY {
        next.run(request).await
    } else {
        match timeout(shared.options.timeouts.request(), next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout")
                .detail("not done in time; if it was to change something, it may yet have done so")
                .into_response(),
        }
    };
    headers::every_answer(response.headers_mut());
    if public {
        origin.share(&http, reads, response.headers_mut());
    }
    let status = response.status().as_u16();
    shared.metrics.request(name(&method), route, status, started.elapsed());
    response
}

/// A method's name for metrics, of which there must not be endlessly many.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

async fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-path").detail("there is nothing at this path")
}

async fn not_allowed(method: Method) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed")
        .detail(format!("{method} is not possible here; the Allow header says what is"))
}
