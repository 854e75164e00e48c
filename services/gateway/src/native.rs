//! The native protocol `aether/1` on one connection, whatever carries it.
//!
//! | module | what |
//! | --- | --- |
//! | `session` | what a frame means; no I/O |
//! | `identifying`, `greeting` | who says hello, and a session for them |
//! | `calls` | requests under way: submissions in their order, stretches of history |
//! | `locks` | what is asked about locks |
//! | `followed` | the documents that the client follows |
//! | `subscription` | one of them: from what the log tells to frames |
//! | `voice` | saying something to the client, and asking what it may do |
//! | `carrier` | serving it on a transport of whole messages |
//!
//! **Owns** a client's session, its requests and subscriptions. **Inputs**: whole frames in order. **Effects**:
//! frames in the connection's queue, each with the document it is about, so that a transport with channels may send
//! documents independently of each other; calls to the documents' log.
//! **Invariants**: every request is answered once, and a subscription has nothing after it was ended or rejected; the
//! access policy is asked at each request, and again at whatever a subscription brings; presence is the session's, and stays
//! when the connection ends.

mod calls;
pub(crate) mod carrier;
mod followed;
mod greeting;
mod identifying;
mod locks;
mod session;
mod subscription;
#[cfg(test)]
mod tests;
mod voice;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use aetherflow_schema::{
    access::{AuthFailure, Identity, Operation},
    close::CloseCode,
    documents::PeerSink,
    id::{DocumentId, Offset},
    native::{self, wire},
    presence::Present,
    sessions::{self, ClientId, Resume, ResumeToken, SessionError, SessionHandle},
};
use bytes::Bytes;
use uuid::Uuid;

use self::{
    calls::Calls,
    followed::Followed,
    greeting::{Greeting, Welcomed},
    identifying::Identifying,
    session::{Action, Session, SessionLimits, Terms},
    voice::Voice,
};
use crate::{
    caller::{Lease, Shown, Who, now_ms, now_s},
    close::Close,
    outbound::Outbound,
    protocol::{Parting, Protocol},
    shared::Shared,
    stay::Guest,
};

/// One connection's end of the protocol.
pub(crate) struct Native {
    voice: Voice,
    session: Session,
    calls: Calls,
    followed: Followed,
    lease: Lease,
    /// It showed a token that is good already.
    shown: bool,
    peer: SocketAddr,
    agent: String,
    protocol: sessions::Protocol,
    stay: Option<Box<dyn SessionHandle>>,
    terms: Terms,
    /// A hello whose sender is being found out.
    identifying: Option<Identifying>,
    /// A hello that is being answered.
    greeting: Option<Greeting>,
    /// What was read together with it: no more is read until it is answered.
    behind: VecDeque<Bytes>,
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
            identifying: None,
            greeting: None,
            behind: VecDeque::new(),
            lease: Lease::default(),
            session: Session::new(SessionLimits {
                frame_bytes: limits.frame_bytes,
                change_bytes: limits.change_bytes,
                subscriptions: limits.documents_per_connection,
            }),
            calls: Calls::new(voice.clone()),
            followed: Followed::new(voice.clone()),
            voice,
        }
    }

    fn carry_out(&mut self, action: Action) -> Result<(), Close> {
        match action {
            Action::Welcome {
                client,
                token,
                resume,
                frame_bytes,
            } => {
                self.voice.outbound.takes(frame_bytes);
                if token.0.is_empty() && self.shown {
                    self.greet(&client, &resume.0);
                } else {
                    let shared = self.voice.shared.clone();
                    self.identifying = Some(Identifying::new(shared, token.0, client, resume.0));
                }
            }
            Action::Submit(submit) => self.calls.submit(submit),
            Action::Fetch(fetch) => self.calls.fetch(fetch),
            Action::Lock(request) => self.calls.lock(request),
            Action::Subscribe(subscribe) => {
                let document = subscribe.document.clone();
                if !self.followed.follow(subscribe) {
                    self.session.unsubscribed(&document);
                }
            }
            Action::Unsubscribe(document) => {
                self.unsubscribe(&document);
                self.move_cursors(&[(document, None)]);
            }
            Action::Present(presence) => return self.present(presence),
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

    /// It is known who says hello, or shows a fresh token: the same as before, or nobody.
    fn authenticate(&mut self, found: Result<Arc<Identity>, AuthFailure>) -> Result<(), AuthFailure> {
        let identity = found?;
        if self.shown && identity.principal != self.voice.who.identity().principal {
            return Err(AuthFailure::Invalid("it is somebody else's than this connection's"));
        }
        self.shown = true;
        self.voice.outbound.came_with(&identity);
        self.voice.who.is(identity);
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
        while !self.is_greeting()
            && let Some(frame) = self.behind.pop_front()
        {
            self.act(frame)?;
        }
        Ok(())
    }

    /// Whether a hello is not answered yet.
    fn is_greeting(&self) -> bool {
        self.identifying.is_some() || self.greeting.is_some()
    }

    /// Acts on a frame.
    fn act(&mut self, frame: Bytes) -> Result<(), Close> {
        if self.session.is_full() {
            // Those that ended by themselves do not count.
            for document in self.followed.ended() {
                self.unsubscribe(&document);
            }
        }
        let bytes = frame.len();
        let (kind, action) = self.session.handle(frame);
        self.voice.shared.metrics.native.heard(kind, bytes);
        self.lease.on_frame(&self.voice.shared, &self.voice.who, bytes);
        self.carry_out(action)
    }

    fn unsubscribe(&mut self, document: &DocumentId) {
        self.session.unsubscribed(document);
        self.followed.unfollow(document);
    }

    /// The session is present on a document, if it may be.
    fn present(&self, presence: native::Presence) -> Result<(), Close> {
        let native::Presence {
            document,
            state,
            ttl_ms,
        } = presence;
        let Voice { shared, outbound, who } = &self.voice;
        if self.voice.grant(Operation::Presence, &document).is_err() {
            self.absent(&document);
            return Ok(());
        }
        if !outbound.is_open() {
            // The session may be somebody else's by now.
            return Ok(());
        }
        let present = Present {
            document,
            caller: who.caller(),
            state,
            ttl: Duration::from_millis(ttl_ms.into()),
        };
        let told = shared.presence.present(present);
        told.map_err(|error| Close::because(CloseCode::TooManyDocuments, error))
    }

    fn absent(&self, document: &DocumentId) {
        let Voice { shared, outbound, who } = &self.voice;
        if outbound.is_open() {
            shared.presence.absent(document, who.session());
        }
    }

    /// Tells the session up to where its client was told; `false` when it is not this connection's any more.
    fn move_cursors(&self, cursors: &[(DocumentId, Option<Offset>)]) -> bool {
        let Some(session) = &self.stay else { return false };
        match session.set_cursors(cursors) {
            Ok(()) => true,
            Err(SessionError::Invalid(reason)) => {
                tracing::debug!(session = %session.id(), reason, "some cursors are not kept");
                true
            }
            Err(_) => false,
        }
    }

    /// The connection is gone. The session may go on; its presence does for as long as it is known who that is.
    fn part(&mut self) {
        let moved = self.followed.moved();
        self.followed.unfollow_all();
        if self.move_cursors(&moved)
            && let Some(end) = self.voice.who.identity().expires_at
        {
            let left = Duration::from_secs(end.saturating_sub(now_s()));
            self.voice.shared.presence.limit(self.voice.who.session(), left);
        }
    }
}

impl Protocol for Native {
    fn on_frame(&mut self, frame: Bytes) -> Result<(), Parting> {
        if self.is_greeting() {
            self.behind.push_back(frame);
            return Ok(());
        }
        Ok(self.act(frame)?)
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Close>> {
        if let Poll::Ready(result) = self.lease.poll(&self.voice.shared, &self.voice.who, context) {
            return Poll::Ready(result);
        }
        if let Some(identifying) = &mut self.identifying {
            let (found, client, resume) = ready!(identifying.poll(context));
            self.identifying = None;
            let authenticated = self.authenticate(found).map(|()| self.greet(&client, &resume));
            return Poll::Ready(authenticated.map_err(|failure| Close::because(failure.close_code(), &failure)));
        }
        if let Some(greeting) = &mut self.greeting {
            let greeted = ready!(greeting.poll(context));
            self.greeting = None;
            return Poll::Ready(greeted.and_then(|welcomed| self.welcome(welcomed)));
        }
        let answered = ready!(self.calls.poll(context));
        if let Some(request) = answered {
            self.session.answered(request);
        }
        Poll::Ready(Ok(()))
    }

    fn has_room(&self) -> bool {
        !self.is_greeting() && self.lease.has_room() && self.calls.has_room()
    }

    fn is_idle(&self) -> bool {
        !self.is_greeting() && self.calls.is_idle()
    }

    fn is_introduced(&self) -> bool {
        self.session.is_introduced()
    }

    fn stop(&mut self, close: &Close) {
        let moved = self.followed.moved();
        self.move_cursors(&moved);
        self.followed.unfollow_all();
        // Who was not answered yet is told by the close alone.
        self.identifying = None;
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

    fn on_tick(&mut self) {
        let moved = self.followed.moved();
        if !moved.is_empty() {
            self.move_cursors(&moved);
        }
    }

    fn goodbye(&mut self) {
        if let Some(session) = self.stay.take() {
            self.followed.unfollow_all();
            session.end();
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.part();
        self.voice.shared.metrics.native.connections.dec();
    }
}
