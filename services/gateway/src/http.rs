//! The HTTP API, as `ops/docs/http-api.md` describes it.

mod admin;
mod asker;
mod body;
mod console;
mod documents;
mod etag;
mod health;
mod parameters;
mod permissions;
pub(crate) mod problem;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HOST, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS,
    },
};
use tokio::time::timeout;

use self::problem::Problem;
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
        .route("/v1/documents/{id}/permissions", get(permissions::list))
        .route(
            "/v1/documents/{id}/permissions/{grantee}",
            put(permissions::grant).delete(permissions::revoke),
        )
        .route("/v1/documents/{id}/links", post(permissions::link))
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
    let mut response = if !reads && is_foreign(request.headers()) {
        Problem::new(StatusCode::FORBIDDEN, "foreign-origin")
            .detail("pages of other origins may not change anything here")
            .into_response()
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
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if public && reads && shared.options.http.cross_origin_reads {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("ETag, Retry-After"),
        );
    }
    let status = response.status().as_u16();
    shared.metrics.request(name(&method), route, status, started.elapsed());
    response
}

/// Whether a browser asks on behalf of a page from elsewhere. What is not a browser names no origin; and what a browser
/// lets a foreign page send without asking first cannot carry a forged `X-Forwarded-Host`.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| Some(origin.split_once("://")?.1));
    let own = |name: &str| {
        let host = headers.get(name).and_then(|host| host.to_str().ok());
        host.zip(authority)
            .is_some_and(|(host, authority)| host.eq_ignore_ascii_case(authority))
    };
    !own(HOST.as_str()) && !own("x-forwarded-host")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn only_pages_of_other_origins_are_foreign() {
        for own in [
            &[("host", "af.example")][..],
            &[("host", "af.example:7400"), ("origin", "http://AF.example:7400")],
            &[
                ("host", "10.0.0.1"),
                ("x-forwarded-host", "af.example"),
                ("origin", "https://af.example"),
            ],
        ] {
            assert!(!is_foreign(&headers(own)), "{own:?}");
        }
        for foreign in [
            &[("host", "127.0.0.1:7400"), ("origin", "http://evil.example")][..],
            &[("host", "127.0.0.1:7400"), ("origin", "http://127.0.0.1:5173")],
            &[("host", "127.0.0.1:7400"), ("origin", "null")],
            &[("origin", "http://evil.example")],
        ] {
            assert!(is_foreign(&headers(foreign)), "{foreign:?}");
        }
    }
}
