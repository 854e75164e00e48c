//! The native protocol `aether/1` on one connection, whatever carries it.
//!
//! | module | what |
//! | --- | --- |
//! | `session` | what a frame means; no I/O |
//! | `greeting` | a session for who says hello |
//! | `calls` | requests under way: submissions in their order, stretches of history |
//! | `locks` | what is asked about locks |
//! | `subscription` | one followed document: from what the log tells to frames |
//! | `rooms` | who is present on which document, over all connections |
//! | `expiry` | when presence ends by itself |
//! | `carrier` | serving it on a transport of whole messages |
//!
//! **Owns** a client's session, its requests, subscriptions and presence. **Inputs**: whole frames in order. **Effects**:
//! frames in the connection's queue, each with the document it is about, so that a transport with channels may send
//! documents independently of each other; calls to the documents' log.
//! **Invariants**: every request is answered once, and a subscription has nothing after it was ended or rejected; the
//! access policy is asked at each request, and again at whatever a subscription brings.

mod calls;
pub(crate) mod carrier;
mod expiry;
mod greeting;
mod locks;
mod rooms;
mod session;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use aetherflow_schema::{
    access::{AuthFailure, Denied, Grant, Identity, Operation},
    document_log::{Follower, Following},
    id::DocumentId,
    native::{RequestId, Subscribe, encode, wire},
    sessions::{self, ClientId, Resume, ResumeToken, SessionHandle},
};
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};
use uuid::Uuid;

pub(crate) use self::rooms::Rooms;
use self::{
    calls::Calls,
    greeting::{Greeting, Welcomed},
    session::{Action, Session, SessionLimits, Terms},
    subscription::Subscription,
};
use crate::{
    caller::{Lease, Shown, Who, now_ms, now_s},
    close::Close,
    metrics::native::Said,
    outbound::Outbound,
    protocol::{Parting, Protocol},
    shared::Shared,
    stay::Guest,
    websocket::Frame,
};

/// One connection's end of the protocol.
pub(crate) struct Native {
    voice: Voice,
    session: Session,
    calls: Calls,
    subscriptions: HashMap<DocumentId, Followed>,
    /// When presence ends next; far away when there is none.
    timer: Pin<Box<Sleep>>,
    lease: Lease,
    /// It showed a token that is good already.
    shown: bool,
    peer: SocketAddr,
    agent: String,
    protocol: sessions::Protocol,
    stay: Option<Box<dyn SessionHandle>>,
    terms: Terms,
    /// A hello that is being answered.
    greeting: Option<Greeting>,
    /// What was read together with it: no more is read until it is answered.
    behind: VecDeque<Bytes>,
}

struct Followed {
    subscription: Arc<Subscription>,
    _following: Box<dyn Following>,
}

/// A way to speak to the client.
#[derive(Clone)]
struct Voice {
    shared: Arc<Shared>,
    outbound: Arc<Outbound>,
    who: Arc<Who>,
}

impl Voice {
    /// Queues a frame; `false` when the connection ends.
    fn say(&self, document: Option<&DocumentId>, frame: impl Into<wire::ServerFrame>) -> bool {
        let frame: wire::ServerFrame = frame.into();
        let Some(kind) = frame.kind.as_ref().map(Said::from) else {
            return true;
        };
        let payload = encode(&frame);
        let bytes = payload.len();
        let queued = self.outbound.push_frame(Frame::binary(payload).about(document));
        if queued {
            self.shared.metrics.native.said(kind, bytes);
        }
        queued
    }

    fn reject(&self, document: Option<&DocumentId>, reject: wire::Reject) {
        self.shared.metrics.native.rejected(reject.code());
        self.say(document, reject);
    }

    /// Asks the access policy.
    fn grant(&self, operation: Operation, document: &DocumentId) -> Result<Grant, Denied> {
        Grant::check(&*self.shared.access, &self.who.caller(), operation, document)
    }

    /// The answer to a request that the policy did not allow.
    fn forbid(&self, document: &DocumentId, request: RequestId, denied: &Denied) {
        tracing::debug!(connection = %self.outbound.id(), error = %denied, "refused");
        let reject = wire::Reject::never(request, wire::RejectCode::Forbidden, denied.reason);
        self.reject(Some(document), reject);
    }
}

impl Native {
    /// Nobody has said hello.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        outbound: &Arc<Outbound>,
        shown: Shown,
        protocol: sessions::Protocol,
    ) -> Self {
        let limits = &shared.options.limits;
        shared.metrics.native.connections.inc();
        let identity = shown
            .identity
            .clone()
            .unwrap_or_else(|| Arc::new(Identity::anonymous()));
        let voice = Voice {
            shared: shared.clone(),
            outbound: outbound.clone(),
            who: Arc::new(Who::new(identity, shown.peer.ip())),
        };
        Self {
            shown: shown.identity.is_some(),
            peer: shown.peer,
            agent: shown.agent,
            protocol,
            stay: None,
            terms: Terms::default(),
            greeting: None,
            behind: VecDeque::new(),
            lease: Lease::default(),
            session: Session::new(SessionLimits {
                frame_bytes: limits.frame_bytes,
                change_bytes: limits.change_bytes,
                subscriptions: limits.documents_per_connection,
            }),
            calls: Calls::new(voice.clone()),
            subscriptions: HashMap::new(),
            timer: Box::pin(sleep_until(Instant::now())),
            voice,
        }
    }

    fn carry_out(&mut self, action: Action) -> Result<(), Close> {
        match action {
            Action::Welcome { client, token, resume } => {
                self.authenticate(&token.0)
                    .map_err(|failure| Close::because(failure.close_code(), &failure))?;
                self.greet(&client, &resume.0);
            }
            Action::Submit(submit) => self.calls.submit(submit),
            Action::Fetch(fetch) => self.calls.fetch(fetch),
            Action::Lock(request) => self.calls.lock(request),
            Action::Subscribe(subscribe) => self.subscribe(subscribe),
            Action::Unsubscribe(document) => self.unsubscribe(&document),
            Action::Present {
                document,
                state,
                ttl_ms,
            } => {
                if self.voice.grant(Operation::Presence, &document).is_ok() {
                    let rooms = &self.voice.shared.rooms;
                    let author = self.voice.who.author();
                    rooms.present(&document, &author, self.voice.outbound.id(), state, ttl_ms);
                    self.count_present();
                } else {
                    self.session.absent(&document);
                    self.absent(&document);
                }
            }
            Action::Absent(document) => self.absent(&document),
            Action::Pong(nonce) => {
                let server_time_ms = now_ms();
                self.voice.say(None, wire::Pong { nonce, server_time_ms });
            }
            Action::Reject(document, reject) => self.voice.reject(Some(&document), reject),
            Action::Close(close) => return Err(close),
        }
        Ok(())
    }

    /// Finds out who says hello, or shows a fresh token: the same as before, or nobody.
    fn authenticate(&mut self, token: &str) -> Result<(), AuthFailure> {
        if token.is_empty() && self.shown {
            return Ok(());
        }
        let shared = &self.voice.shared;
        let found = shared.authenticator.authenticate(Some(token), now_s());
        let identity = found.inspect_err(|failure| {
            shared.metrics.unauthenticated.inc();
            tracing::debug!(connection = %self.voice.outbound.id(), %failure, "not authenticated");
        })?;
        if self.shown && identity.principal != self.voice.who.identity().principal {
            return Err(AuthFailure::Invalid("it is somebody else's than this connection's"));
        }
        self.shown = true;
        self.voice.outbound.came_with(&identity);
        self.voice.who.is(Arc::new(identity));
        Ok(())
    }

    /// Begins to answer a hello.
    fn greet(&mut self, client: &str, resume: &[u8]) {
        self.greeting = Some(match self.stay.take() {
            Some(session) => Greeting::renew(session, self.terms.resume_window, self.terms.resumed),
            None => {
                let guest = Guest {
                    principal: self.voice.who.identity().principal.clone(),
                    client: ClientId::named(client).unwrap_or_default(),
                    protocol: self.protocol,
                    peer: self.peer,
                    agent: std::mem::take(&mut self.agent),
                    // What is no token is treated as one that is not good any more.
                    resume: ResumeToken::from_bytes(resume).map_or(Resume::Later, Resume::From),
                };
                Greeting::open(self.voice.shared.clone(), self.voice.outbound.clone(), guest)
            }
        });
    }

    /// Answers a hello, and acts on what came behind it.
    fn welcome(&mut self, (session, terms): Welcomed) -> Result<(), Close> {
        self.voice.who.is_in(session.id());
        tracing::debug!(connection = %self.voice.outbound.id(), session = %session.id(), resumed = terms.resumed, "welcome");
        let welcome = self.session.welcome(now_ms(), &self.voice.who.author(), &terms);
        self.voice.say(None, welcome);
        // The token is the client's from here on.
        self.terms = Terms { token: None, ..terms };
        self.stay = Some(session);
        while self.greeting.is_none()
            && let Some(frame) = self.behind.pop_front()
        {
            self.act(frame)?;
        }
        Ok(())
    }

    /// Acts on a frame.
    fn act(&mut self, frame: Bytes) -> Result<(), Close> {
        if self.session.is_full() {
            self.forget_ended();
        }
        let bytes = frame.len();
        let (kind, action) = self.session.handle(Instant::now(), frame);
        self.voice.shared.metrics.native.heard(kind, bytes);
        self.lease.on_frame(&self.voice.shared, &self.voice.who, bytes);
        self.carry_out(action)
    }

    fn subscribe(&mut self, subscribe: Subscribe) {
        let Subscribe {
            request,
            document,
            start,
        } = subscribe;
        self.unfollow(&document);
        let grant = match self.voice.grant(Operation::Read, &document) {
            Ok(grant) => grant,
            Err(denied) => {
                self.session.unsubscribed(&document);
                return self.voice.forbid(&document, request, &denied);
            }
        };
        let subscription = Arc::new(Subscription::new(self.voice.clone(), document.clone(), request));
        let following = self.voice.shared.log.follow(Follower {
            grant,
            start,
            sink: subscription.clone(),
        });
        self.voice.shared.metrics.native.subscriptions.inc();
        self.voice.shared.rooms.watch(&document, subscription.clone());
        let followed = Followed {
            subscription,
            _following: following,
        };
        self.subscriptions.insert(document, followed);
    }

    fn unsubscribe(&mut self, document: &DocumentId) {
        self.session.unsubscribed(document);
        self.unfollow(document);
    }

    fn unfollow(&mut self, document: &DocumentId) {
        if let Some(followed) = self.subscriptions.remove(document) {
            followed.subscription.end();
            self.voice.shared.rooms.unwatch(document, self.voice.outbound.id());
            self.voice.shared.metrics.native.subscriptions.dec();
        }
    }

    /// Forgets subscriptions that ended by themselves, so that they do not count.
    fn forget_ended(&mut self) {
        let ended: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|(_, followed)| followed.subscription.has_ended())
            .map(|(document, _)| document.clone())
            .collect();
        for document in ended {
            self.unsubscribe(&document);
        }
    }

    fn absent(&self, document: &DocumentId) {
        let Voice { shared, outbound, who } = &self.voice;
        shared.rooms.absent(document, who.session(), outbound.id());
        self.count_present();
    }

    fn count_present(&self) {
        let metrics = &self.voice.shared.metrics.native;
        metrics.present.set(self.voice.shared.rooms.sessions() as i64);
    }

    /// Gives up everything that concerns others.
    fn leave(&mut self) {
        for document in self.session.leave() {
            self.absent(&document);
        }
        let documents: Vec<_> = self.subscriptions.keys().cloned().collect();
        for document in documents {
            self.unfollow(&document);
        }
    }

    /// Waits for presence to end by itself.
    fn poll_expiry(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(next) = self.session.next_expiry() else {
            return Poll::Pending;
        };
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        ready!(self.timer.as_mut().poll(context));
        for document in self.session.expired(Instant::now()) {
            self.absent(&document);
        }
        Poll::Ready(())
    }
}

impl Protocol for Native {
    fn on_frame(&mut self, frame: Bytes) -> Result<(), Parting> {
        if self.greeting.is_some() {
            self.behind.push_back(frame);
            return Ok(());
        }
        Ok(self.act(frame)?)
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Close>> {
        if let Poll::Ready(result) = self.lease.poll(&self.voice.shared, &self.voice.who, context) {
            return Poll::Ready(result);
        }
        if let Some(greeting) = &mut self.greeting {
            let greeted = ready!(greeting.poll(context));
            self.greeting = None;
            return Poll::Ready(greeted.and_then(|welcomed| self.welcome(welcomed)));
        }
        if self.poll_expiry(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let answered = ready!(self.calls.poll(context));
        if let Some(request) = answered {
            self.session.answered(request);
        }
        Poll::Ready(Ok(()))
    }

    fn has_room(&self) -> bool {
        self.greeting.is_none() && self.lease.has_room() && self.calls.has_room()
    }

    fn is_idle(&self) -> bool {
        self.greeting.is_none() && self.calls.is_idle()
    }

    fn is_introduced(&self) -> bool {
        self.session.is_introduced()
    }

    fn stop(&mut self, close: &Close) {
        self.leave();
        // Who was not answered yet is told by the close alone.
        self.greeting = None;
        if self.stay.is_some() {
            let within = self.voice.shared.options.timeouts.reconnect_ms;
            let drain = self.voice.shared.shutdown.drain_time();
            let go_away = session::go_away(close, Uuid::new_v4().as_u64_pair().1, within, drain);
            self.voice.say(None, go_away);
        }
    }

    fn session(&self) -> Option<&dyn SessionHandle> {
        self.stay.as_deref()
    }

    fn goodbye(&mut self) {
        if let Some(session) = self.stay.take() {
            self.leave();
            session.end();
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.leave();
        self.voice.shared.metrics.native.connections.dec();
    }
}
