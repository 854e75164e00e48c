//! Who calls.
//!
//! **Owns** nothing but what it asks: an [`Authenticator`] and a [`Throttle`]. **Inputs**: the metadata of every call.
//! **Effects**: a [`Caller`] goes with each call that passes. **Invariants**: the address is asked about before a token
//! is looked at; whoever shows something that is no good is refused, also where nobody is asked; health alone may be
//! asked for by anybody. **On failure** calls end with the status that `status` has for it.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aetherflow_schema::{
    access::{AccessWatcher, AuthFailure, Authenticator, Identity, Throttle},
    id::DocumentId,
};
use prost::Message;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tonic::{
    Request, Status,
    body::Body,
    codegen::http::{self, HeaderMap, header::AUTHORIZATION},
};
use tower::{Layer, Service};

use super::{
    connection::Peer,
    status::{refused, throttled},
};

/// What may be asked for by anybody: whether the service is well.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The longest that keys are waited for, which are being fetched.
const KEYS: Duration = Duration::from_secs(3);

/// The longest a timer is set for at once: clocks are set, and machines sleep.
const NAP: Duration = Duration::from_secs(60);

/// Stands between callers and calls.
pub struct Guard {
    authenticator: Arc<dyn Authenticator>,
    throttle: Arc<dyn Throttle>,
    open: bool,
    revoked: Notify,
    figures: [AtomicU64; 4],
}

/// What a guard has counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardFigures {
    /// Calls, health aside.
    pub calls: u64,
    /// Of those, with no token that is good.
    pub unauthenticated: u64,
    /// Too many of their caller; TLS handshakes, too.
    pub throttled: u64,
    /// Of those, for something the caller may not do.
    pub denied: u64,
}

#[derive(Clone, Copy)]
enum Figure {
    Calls,
    Unauthenticated,
    Throttled,
    Denied,
}

impl Guard {
    /// With `open`, whoever is let in may do everything.
    pub fn new(authenticator: Arc<dyn Authenticator>, throttle: Arc<dyn Throttle>, open: bool) -> Self {
        Self {
            authenticator,
            throttle,
            open,
            revoked: Notify::new(),
            figures: Default::default(),
        }
    }

    /// Somebody connects from this address: whether it may cost something.
    pub fn allows_arrival(&self, address: IpAddr) -> bool {
        let allowed = self.throttle.arrival(address).is_ok();
        if !allowed {
            self.count(Figure::Throttled);
        }
        allowed
    }

    /// What it has counted.
    pub fn figures(&self) -> GuardFigures {
        let [calls, unauthenticated, throttled, denied] = self.figures.each_ref().map(|figure| figure.load(Relaxed));
        GuardFigures {
            calls,
            unauthenticated,
            throttled,
            denied,
        }
    }

    fn count(&self, figure: Figure) {
        self.figures[figure as usize].fetch_add(1, Relaxed);
    }

    async fn admit(&self, headers: &HeaderMap, address: IpAddr) -> Result<Arc<Identity>, Status> {
        self.count(Figure::Calls);
        self.throttle.arrival(address).map_err(|too_much| {
            self.count(Figure::Throttled);
            throttled(too_much)
        })?;
        let token = bearer(headers);
        let mut found = self.authenticator.authenticate(token, now_s());
        if found == Err(AuthFailure::KeysUnavailable) {
            // Whether in time or not: the second answer says.
            let _ = timeout(KEYS, self.authenticator.refreshed()).await;
            found = self.authenticator.authenticate(token, now_s());
        }
        found.map(Arc::new).map_err(|failure| {
            self.count(Figure::Unauthenticated);
            tracing::debug!(%address, %failure, "a call was not authenticated");
            refused(&failure)
        })
    }
}

/// Ends watches of those whose key is gone.
impl AccessWatcher for Guard {
    fn document_changed(&self, _: &DocumentId) {}

    fn credential_revoked(&self, _: &str) {
        self.revoked.notify_waiters();
    }
}

/// Who makes a call. Cheap to clone.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) identity: Arc<Identity>,
    address: IpAddr,
    guard: Arc<Guard>,
}

impl Caller {
    /// Who makes this call, which counts with its bytes.
    pub(super) fn of<M: Message>(request: &Request<M>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        let caller = caller.ok_or_else(|| refused(&AuthFailure::Missing))?;
        let bytes = request.get_ref().encoded_len();
        let allowed = caller.guard.throttle.operation(&caller.identity, caller.address, bytes);
        allowed.map_err(|too_much| {
            caller.guard.count(Figure::Throttled);
            throttled(too_much)
        })?;
        Ok(caller)
    }

    /// Whether everybody may do everything.
    pub(super) fn is_in_the_open(&self) -> bool {
        self.guard.open
    }

    pub(super) fn was_denied(&self) {
        self.guard.count(Figure::Denied);
    }

    /// Ready when it may go on no longer, with the reason.
    pub(super) async fn ended(&self) -> AuthFailure {
        loop {
            let revoked = self.guard.revoked.notified();
            if !self.guard.authenticator.is_current(&self.identity) {
                return AuthFailure::Revoked;
            }
            let left = match self.identity.expires_at.map(|end| end.saturating_sub(now_s())) {
                Some(0) => return AuthFailure::Expired,
                Some(left) => Duration::from_secs(left).min(NAP),
                None => NAP,
            };
            // Which of them it was is found out above.
            tokio::select! {
                () = revoked => {}
                () = sleep(left) => {}
            }
        }
    }
}

/// The token in `authorization: Bearer`. Another scheme, or bytes that are no text, count as a token that is no good.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?;
    let token = match header.to_str().unwrap_or("?").split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "?",
    };
    Some(if token.is_empty() { "?" } else { token })
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[derive(Clone)]
pub(super) struct GuardLayer(pub(super) Arc<Guard>);

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: self.0.clone(),
        }
    }
}

/// A service behind a guard.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    guard: Arc<Guard>,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, E>> + Send>>;

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(HEALTH) {
            return Box::pin(self.inner.call(request));
        }
        let clone = self.inner.clone();
        // The one that is ready.
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let guard = self.guard.clone();
        Box::pin(async move {
            let peer = request.extensions().get::<Peer>().copied();
            let address = peer.map_or(IpAddr::from([0, 0, 0, 0]), |Peer(peer): Peer| SocketAddr::ip(&peer));
            match guard.admit(request.headers(), address).await {
                Ok(identity) => {
                    let caller = Caller {
                        identity,
                        address,
                        guard,
                    };
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
