//! Finding out who says hello. Where keys are being fetched that takes a while, in which nothing else is read.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use aetherflow_schema::{
    access::{AuthFailure, Identity},
    documents::BoxFuture,
};
use bytes::Bytes;

use crate::{caller::identify, shared::Shared};

/// See the [module](self).
pub(super) struct Identifying {
    found: BoxFuture<'static, Result<Arc<Identity>, AuthFailure>>,
    client: String,
    resume: Bytes,
}

/// Who it is, what the client calls itself, and with what it wants to go on.
pub(super) type Identified = (Result<Arc<Identity>, AuthFailure>, String, Bytes);

impl Identifying {
    /// Begins with the token, client and token to go on with of a hello.
    pub(super) fn new(shared: Arc<Shared>, token: String, client: String, resume: Bytes) -> Self {
        let found = Box::pin(async move { identify(&shared, Some(&token)).await });
        Self { found, client, resume }
    }

    /// Ready, once, when that is known. Bounded by how long keys are waited for.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Identified> {
        let found = ready!(Pin::new(&mut self.found).poll(context));
        Poll::Ready((
            found,
            std::mem::take(&mut self.client),
            std::mem::take(&mut self.resume),
        ))
    }
}
