//! Errors of the HTTP API: `application/problem+json` (RFC 9457).

use std::{borrow::Cow, time::Duration};

use aetherflow_schema::{
    access::{AuthFailure, Denied, PermissionsError, TooMuch},
    documents::{DocumentError, Retry},
    locks::LockError,
};
use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

/// An error, for a person and for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// `kind` is what programs may rely on, and never changes.
    pub(crate) fn new(status: StatusCode, kind: &'static str) -> Self {
        Self {
            status,
            kind,
            detail: Cow::Borrowed(""),
            retry_after: None,
        }
    }

    /// What exactly is wrong, and what to do about it.
    pub(crate) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// When to try again.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A request that makes no sense.
    pub(crate) fn bad_request(kind: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind).detail(detail)
    }

    /// A failure nobody foresaw.
    pub(crate) fn internal(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal").detail(detail)
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        let (status, kind) = match &error {
            DocumentError::NotFound => (StatusCode::NOT_FOUND, "no-such-document"),
            DocumentError::NoSuchPlace(_) => (StatusCode::NOT_FOUND, "no-such-place"),
            DocumentError::Invalid(_) => (StatusCode::BAD_REQUEST, "not-acceptable"),
            DocumentError::Quarantined(_) => (StatusCode::CONFLICT, "quarantined"),
            DocumentError::Fenced => (StatusCode::PRECONDITION_FAILED, "stale-fencing"),
            DocumentError::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            DocumentError::ReadOnly(_) => (StatusCode::SERVICE_UNAVAILABLE, "read-only"),
            DocumentError::Unknown(_) => (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown"),
            DocumentError::Unreadable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unreadable"),
            DocumentError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        let retry_after = match error.retry() {
            Retry::Never => None,
            Retry::After(wait) => Some(wait),
        };
        Self {
            retry_after,
            ..Self::new(status, kind).detail(error.to_string())
        }
    }
}

/// How long a client that was not let in had better wait: stock clients come back every five seconds in any case.
const NOT_LET_IN: Duration = Duration::from_secs(30);

impl From<AuthFailure> for Problem {
    fn from(failure: AuthFailure) -> Self {
        let (status, retry_after) = match &failure {
            AuthFailure::KeysUnavailable => (StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(1)),
            AuthFailure::Missing
            | AuthFailure::Invalid(_)
            | AuthFailure::Unverified
            | AuthFailure::Expired
            | AuthFailure::Revoked => (StatusCode::UNAUTHORIZED, NOT_LET_IN),
        };
        Self {
            retry_after: Some(retry_after),
            ..Self::new(status, failure.kind()).detail(failure.to_string())
        }
    }
}

impl From<LockError> for Problem {
    fn from(error: LockError) -> Self {
        let (status, kind) = match &error {
            LockError::Held(_) => (StatusCode::CONFLICT, "locked"),
            LockError::Settling => (StatusCode::CONFLICT, "lock-settling"),
            LockError::NotHeld => (StatusCode::PRECONDITION_FAILED, "stale-fencing"),
            LockError::Ttl => (StatusCode::BAD_REQUEST, "ttl"),
            LockError::TooMany => (StatusCode::CONFLICT, "too-many-locks"),
            LockError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown"),
        };
        let retry_after = match error.retry() {
            Retry::Never => None,
            Retry::After(wait) => Some(wait),
        };
        Self {
            retry_after,
            ..Self::new(status, kind).detail(error.to_string())
        }
    }
}

impl From<TooMuch> for Problem {
    fn from(too_much: TooMuch) -> Self {
        Self {
            retry_after: Some(too_much.retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited").detail("too many requests")
        }
    }
}

impl From<PermissionsError> for Problem {
    fn from(error: PermissionsError) -> Self {
        match error {
            PermissionsError::Conflict(reason) => Self::new(StatusCode::CONFLICT, "permissions").detail(reason),
            PermissionsError::Unavailable(reason) => {
                Self::new(StatusCode::NOT_IMPLEMENTED, "permissions").detail(reason)
            }
            PermissionsError::Log(error) => error.into(),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not-allowed").detail(denied.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:aetherflow:problem:{}", self.kind),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer realm=\"aetherflow\"");
            headers.insert(WWW_AUTHENTICATE, how);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_says_when() {
        let response = Problem::from(DocumentError::ReadOnly("disk full".into())).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "30");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let response = Problem::from(DocumentError::Overloaded).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
            (429, &"1".parse().unwrap())
        );
        let response = Problem::from(DocumentError::NotFound).into_response();
        assert_eq!(response.status(), 404);
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }
}
