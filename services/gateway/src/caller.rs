//! Who is at the other end of a connection, and for how long.
//!
//! **Owns** a connection's identity, which a fresh token prolongs and never changes to somebody else's. **Invariants**: a
//! token is looked for in one place for each protocol, and never printed; an identity that has ended ends its connection.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aetherflow_schema::{
    access::{AuthFailure, Author, Caller, Identity},
    close::CloseCode,
    history::AGENT_BYTES,
    id::SessionId,
    native::TOKEN_BYTES,
};
use hyper::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL, USER_AGENT},
};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::{close::Close, shared::Shared};

/// Before the token, where it comes as a subprotocol: browsers can name those and no headers.
const SUBPROTOCOL: &str = "bearer.";

/// The longest that keys are waited for, which are being fetched.
const KEYS: Duration = Duration::from_secs(3);

/// The longest a timer is set for at once: clocks are set, and machines sleep.
const NAP: Duration = Duration::from_secs(60);

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Who a request or connection is from, before it said who it is.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its address.
    pub(crate) peer: SocketAddr,
    /// Who it showed to be, if it showed anything.
    pub(crate) identity: Option<Arc<Identity>>,
    /// What program it says it is.
    pub(crate) agent: String,
}

/// What program a client says it is, as much of it as is kept.
pub(crate) fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    // A header that is text is ASCII.
    agent.unwrap_or_default().chars().take(AGENT_BYTES).collect()
}

/// One connection's identity.
pub(crate) struct Who {
    session: OnceLock<SessionId>,
    pub(crate) address: IpAddr,
    identity: RwLock<Arc<Identity>>,
}

impl Who {
    /// In no session yet.
    pub(crate) fn new(identity: Arc<Identity>, address: IpAddr) -> Self {
        Self {
            session: OnceLock::new(),
            address,
            identity: RwLock::new(identity),
        }
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its session. There is one before anything is done on its behalf.
    pub(crate) fn session(&self) -> SessionId {
        self.session.get().copied().unwrap_or(SessionId(Uuid::nil()))
    }

    /// It has this session, for as long as it lasts.
    pub(crate) fn is_in(&self, session: SessionId) {
        let known = *self.session.get_or_init(|| session);
        debug_assert_eq!(known, session);
    }

    /// For asking the access policy.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            identity: self.identity(),
            session: self.session(),
        }
    }

    /// For the log.
    pub(crate) fn author(&self) -> Author {
        self.caller().author()
    }

    /// It is this one from now on.
    pub(crate) fn is(&self, identity: Arc<Identity>) {
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

/// How long a connection may go on, and how fast.
pub(crate) struct Lease {
    timer: Pin<Box<Sleep>>,
    /// Nothing is read until then.
    paused: Option<Pin<Box<Sleep>>>,
    /// It was said that the identity has ended. That is said once: what follows is the connection's matter.
    ended: bool,
    /// Whoever came with an API key, and was asked about once more.
    confirmed: Option<Arc<Identity>>,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            timer: Box::pin(sleep_until(Instant::now())),
            paused: None,
            ended: false,
            confirmed: None,
        }
    }
}

impl Lease {
    /// A frame came. One that is too much is taken still, and nothing after it until there is room: so nothing is lost,
    /// and whoever sends too fast feels it.
    pub(crate) fn on_frame(&mut self, shared: &Shared, who: &Who, bytes: usize) {
        if let Err(too_much) = shared.throttle.operation(&who.identity(), who.address, bytes) {
            shared.metrics.throttled.inc();
            let until = Instant::now() + too_much.retry_after;
            self.paused = Some(Box::pin(sleep_until(until)));
        }
    }

    /// Whether more may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.paused.is_none()
    }

    /// Ready when a pause is over, and with an error when the identity has ended.
    pub(crate) fn poll(&mut self, shared: &Shared, who: &Who, context: &mut Context<'_>) -> Poll<Result<(), Close>> {
        let identity = who.identity();
        let confirmed = self.confirmed.as_ref();
        if identity.credential.is_some() && !confirmed.is_some_and(|known| Arc::ptr_eq(known, &identity)) {
            let is_current = shared.authenticator.is_current(&identity);
            self.confirmed = Some(identity);
            if !is_current {
                self.ended = true;
                let close = Close::because(CloseCode::Unauthorized, "the key was revoked");
                return Poll::Ready(Err(close));
            }
        }
        if let Some(paused) = &mut self.paused
            && paused.as_mut().poll(context).is_ready()
        {
            self.paused = None;
            return Poll::Ready(Ok(()));
        }
        loop {
            let Some(end) = who.identity().expires_at.filter(|_| !self.ended) else {
                return Poll::Pending;
            };
            let left = Duration::from_secs(end.saturating_sub(now_s()));
            if left.is_zero() {
                self.ended = true;
                return Poll::Ready(Err(Close::plain(CloseCode::TokenExpired)));
            }
            let latest = Instant::now() + left.min(NAP);
            if self.timer.deadline() > latest || self.timer.is_elapsed() {
                self.timer.as_mut().reset(latest);
            }
            ready!(self.timer.as_mut().poll(context));
        }
    }
}

/// Finds out whose token this is, waiting a little where keys are being fetched.
pub(crate) async fn identify(shared: &Shared, token: Option<&str>) -> Result<Arc<Identity>, AuthFailure> {
    let found = shared.authenticator.authenticate(token, now_s());
    let found = match found {
        Err(AuthFailure::KeysUnavailable) => {
            // Whether in time or not: the second answer says.
            let _ = timeout(KEYS, shared.authenticator.refreshed()).await;
            shared.authenticator.authenticate(token, now_s())
        }
        found => found,
    };
    if let Err(failure) = &found {
        shared.metrics.unauthenticated.inc();
        tracing::debug!(%failure, "not authenticated");
    }
    found.map(Arc::new)
}

/// The token in `Authorization: Bearer`. Another scheme, or bytes that are no text, count as a token that is no good.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(AUTHORIZATION)?;
    let text = header.to_str().unwrap_or("?");
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "?",
    };
    Some(if token.is_empty() { "?" } else { token }.to_owned())
}

/// The token of an upgrade: in the header, in `?token=`, or as a subprotocol, the first of which there is one.
pub(crate) fn of_upgrade(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    bearer(headers)
        .or_else(|| in_query(uri))
        .or_else(|| subprotocol(headers).map(|named| named[SUBPROTOCOL.len()..].to_owned()))
        .filter(|token| !token.is_empty())
}

/// The subprotocol with a token in it, which the answer must repeat.
pub(crate) fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value: &HeaderValue| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find(|name| name.starts_with(SUBPROTOCOL))
}

fn in_query(uri: &Uri) -> Option<String> {
    let token = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    // Nothing in a token needs to be escaped, and what is longer is none.
    Some(token.chars().take(TOKEN_BYTES + 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    fn of(pairs: &[(&'static str, &'static str)], uri: &str) -> Option<String> {
        of_upgrade(&headers(pairs), &uri.parse().unwrap())
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        let header = ("authorization", "bearer abc.def");
        let protocol = ("sec-websocket-protocol", "aether.1, bearer.abc.def");
        assert_eq!(of(&[header], "/").as_deref(), Some("abc.def"));
        assert_eq!(of(&[protocol], "/").as_deref(), Some("abc.def"));
        assert_eq!(of(&[], "/?x=1&token=abc.def").as_deref(), Some("abc.def"));
        assert_eq!(of(&[], "/?tokens=1"), None);
        assert_eq!(of(&[("sec-websocket-protocol", "bearer.")], "/"), None);
        assert_eq!(of(&[header, protocol], "/?token=other").as_deref(), Some("abc.def"));
    }

    #[test]
    fn a_header_that_is_no_token_is_not_taken_for_none() {
        for value in ["Basic YTpi", "Bearer", "Bearer ", "x"] {
            assert_eq!(
                bearer(&headers(&[("authorization", value)])).as_deref(),
                Some("?"),
                "{value}"
            );
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
