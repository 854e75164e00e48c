//! Who asks. A handler that takes an [`Asker`] runs for nobody whose token is not good, or who asks too often; one that does
//! not take it cannot ask the access policy anything.

use std::{net::SocketAddr, sync::Arc};

use aetherflow_schema::{
    access::Caller,
    history::{Arrival, Via},
    id::SessionId,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use uuid::Uuid;

use super::problem::Problem;
use crate::{caller, listener::Address, shared::Shared};

/// See the [module](self). Each request is a session of its own; where those came from that are to change something is
/// written down.
pub(super) struct Asker(pub(super) Caller);

impl FromRequestParts<Arc<Shared>> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let token = caller::bearer(&parts.headers);
        let identity = caller::identify(shared, token.as_deref()).await?;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = parts.extensions.get::<Address>().map_or(unknown, |address| address.0);
        // A body of another length is not read.
        let length = parts.headers.get(hyper::header::CONTENT_LENGTH);
        let bytes = length
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        shared
            .throttle
            .operation(&identity, peer.ip(), bytes)
            .inspect_err(|_| {
                shared.metrics.throttled.inc();
            })?;
        let session = SessionId(Uuid::now_v7());
        if !parts.method.is_safe() {
            shared.arrivals.note(Arrival {
                session,
                at_ms: caller::now_ms(),
                address: peer,
                via: Via::Http,
                client: String::new(),
                agent: caller::agent(&parts.headers),
            });
        }
        Ok(Self(Caller { identity, session }))
    }
}
