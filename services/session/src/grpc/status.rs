//! Errors as status codes with details.

use std::{collections::HashMap, time::Duration};

use aetherflow_schema::{
    access::{AuthFailure, TooMuch},
    documents::Retry,
    sessions::SessionError,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// In whose words reasons are.
const DOMAIN: &str = "aetherflow.session";

/// In whose words it is said why somebody is not let in: those of the HTTP API.
const ACCESS: &str = "aetherflow.access";

/// How long a caller that was not let in had better wait.
const NOT_LET_IN: Duration = Duration::from_secs(30);

/// A call that failed.
pub(super) fn failed(error: &SessionError) -> Status {
    let (code, reason) = match error {
        SessionError::NotFound => (Code::NotFound, "SESSION_NOT_FOUND"),
        SessionError::Exists => (Code::AlreadyExists, "SESSION_EXISTS"),
        SessionError::Invalid(_) => (Code::InvalidArgument, "INVALID"),
        SessionError::State(_) => (Code::FailedPrecondition, "WRONG_STATE"),
        SessionError::TakenOver => (Code::FailedPrecondition, "TAKEN_OVER"),
        SessionError::Conflict => (Code::Aborted, "REVISION_CONFLICT"),
        SessionError::Full => (Code::ResourceExhausted, "TOO_MANY_SESSIONS"),
        SessionError::Unavailable(_) => (Code::Unavailable, "STORE_UNAVAILABLE"),
        SessionError::Stopping => (Code::Unavailable, "STOPPING"),
    };
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    if let Retry::After(after) = error.retry() {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(code, error.to_string(), details)
}

/// A request with a field that is not what it should be.
pub(super) fn invalid(field: &str, why: &str) -> Status {
    let mut details = ErrorDetails::with_bad_request_violation(field, why);
    details.set_error_info("INVALID", DOMAIN, HashMap::new());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {why}"), details)
}

/// A watcher that reads too slowly.
pub(super) fn lagged() -> Status {
    let mut details = ErrorDetails::with_error_info("TOO_SLOW", DOMAIN, HashMap::new());
    details.set_retry_info(Some(Duration::ZERO));
    let why = "too much happened while the watcher did not read; watch again";
    Status::with_error_details(Code::ResourceExhausted, why, details)
}

/// A watch that ends because the server does.
pub(super) fn stopping() -> Status {
    failed(&SessionError::Stopping)
}

/// A caller that is not let in.
pub(super) fn refused(failure: &AuthFailure) -> Status {
    let (code, retry_after) = match failure {
        AuthFailure::KeysUnavailable => (Code::Unavailable, Duration::from_secs(1)),
        AuthFailure::Missing
        | AuthFailure::Invalid(_)
        | AuthFailure::Unverified
        | AuthFailure::Expired
        | AuthFailure::Revoked => (Code::Unauthenticated, NOT_LET_IN),
    };
    let mut details = ErrorDetails::with_error_info(failure.kind(), ACCESS, HashMap::new());
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(code, failure.to_string(), details)
}

/// A caller that may not do this.
pub(super) fn denied(why: &str) -> Status {
    let details = ErrorDetails::with_error_info("not-allowed", ACCESS, HashMap::new());
    Status::with_error_details(Code::PermissionDenied, why, details)
}

/// A caller that does too much.
pub(super) fn throttled(too_much: TooMuch) -> Status {
    let mut details = ErrorDetails::with_error_info("rate-limited", ACCESS, HashMap::new());
    details.set_retry_info(Some(too_much.retry_after));
    Status::with_error_details(Code::ResourceExhausted, "too many calls", details)
}
