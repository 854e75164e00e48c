//! Who asks. A handler that takes an [`Asker`] runs for nobody whose token is not good, or who asks too often; one that does
//! not take it cannot ask the access policy anything.

use std::{net::IpAddr, sync::Arc};

use aetherflow_schema::{access::Caller, id::SessionId};
use axum::{extract::FromRequestParts, http::request::Parts};
use uuid::Uuid;

use super::problem::Problem;
use crate::{caller, listener::Address, shared::Shared};

/// See the [module](self). Each request is a session of its own.
pub(super) struct Asker(pub(super) Caller);

impl FromRequestParts<Arc<Shared>> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let token = caller::bearer(&parts.headers);
        let identity = caller::identify(shared, token.as_deref()).await?;
        let unknown = IpAddr::from([0, 0, 0, 0]);
        let address = parts.extensions.get::<Address>().map_or(unknown, |address| address.0);
        // A body of another length is not read.
        let length = parts.headers.get(hyper::header::CONTENT_LENGTH);
        let bytes = length
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        shared.throttle.operation(&identity, address, bytes).inspect_err(|_| {
            shared.metrics.throttled.inc();
        })?;
        Ok(Self(Caller {
            identity,
            session: SessionId(Uuid::now_v7()),
        }))
    }
}
