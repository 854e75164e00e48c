//! What a frame of the native protocol means on one connection. No I/O.
//!
//! Owns: whether the client has said hello, which of its requests are unanswered, and which documents it follows.
//! Inputs: frames, in order. Effects: exactly one [`Action`] for each.
//! Invariants: before a hello nothing else has an effect; a request id stands for one unanswered request at a time; there
//! are no more subscriptions than allowed.
//! On failure: a request that cannot be carried out is rejected; a client that breaks the protocol is closed.

use std::{collections::HashSet, fmt, num::NonZeroU64, time::Duration};

use aetherflow_schema::{
    access::Author,
    close::CloseCode,
    id::DocumentId,
    native::{
        ClientFrame, Fetch, Hello, KNOWN_CAPABILITIES, LOCKS, PRESENCE_BYTES, Presence, RequestId, SUBMIT_CHANGES,
        Submit, Subscribe, wire, wire::RejectCode,
    },
    sessions::ResumeToken,
};
use bytes::Bytes;

use super::locks::LockRequest;
use crate::{close::Close, metrics::native::Heard};

/// What a client may do.
#[derive(Debug, Clone)]
pub(super) struct SessionLimits {
    pub(super) frame_bytes: usize,
    pub(super) change_bytes: usize,
    pub(super) subscriptions: usize,
}

/// On which terms a client has its session.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// What it goes on with when its connection breaks; `None` when it cannot.
    pub(super) token: Option<ResumeToken>,
    /// For how long it can.
    pub(super) resume_window: Duration,
    /// It goes on with an earlier session now.
    pub(super) resumed: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    limits: SessionLimits,
    introduced: bool,
    /// Those of the client's capabilities that are known here.
    capabilities: Vec<&'static str>,
    requests: HashSet<RequestId>,
    subscriptions: HashSet<DocumentId>,
}

/// What is to be done about a frame.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Find out whose token this is, and say welcome to the client of this name.
    Welcome {
        client: String,
        token: Token,
        resume: Token<Bytes>,
        /// Bytes of the longest frame that it takes.
        frame_bytes: Option<NonZeroU64>,
    },
    /// Submit changes.
    Submit(Submit),
    /// Follow a document, instead of as it was followed until now.
    Subscribe(Subscribe),
    /// Follow it no longer.
    Unsubscribe(DocumentId),
    /// Read history.
    Fetch(Fetch),
    /// Something about locks.
    Lock(LockRequest),
    /// Tell others on the document.
    Present(Presence),
    /// Tell them that it is gone.
    Absent(DocumentId),
    /// Answer a ping.
    Pong(u64),
    /// Reject a request about a document.
    Reject(DocumentId, wire::Reject),
    /// Close.
    Close(Close),
}

/// A token, which is not printed.
#[derive(PartialEq)]
pub(super) struct Token<T = String>(pub(super) T);

impl<T> fmt::Debug for Token<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }
}

impl Session {
    /// A connection on which nobody has said hello.
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            introduced: false,
            capabilities: Vec::new(),
            requests: HashSet::new(),
            subscriptions: HashSet::new(),
        }
    }

    /// Whether the client has said hello.
    pub(super) fn is_introduced(&self) -> bool {
        self.introduced
    }

    /// Whether there are as many subscriptions as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.subscriptions.len() >= self.limits.subscriptions
    }

    /// Decides about the next frame.
    pub(super) fn handle(&mut self, frame: Bytes) -> (Heard, Action) {
        match ClientFrame::decode(frame) {
            Ok(frame) => (kind(&frame), self.decide(frame)),
            Err(error) => {
                let close = Close::because(error.close_code(), error);
                (Heard::Malformed, Action::Close(close))
            }
        }
    }

    fn decide(&mut self, frame: ClientFrame) -> Action {
        if !self.introduced && !matches!(frame, ClientFrame::Hello(_)) {
            let detail = "the first frame must be a Hello";
            return Action::Close(Close::because(CloseCode::PolicyViolation, detail));
        }
        match frame {
            // Later ones are for a fresh token.
            ClientFrame::Hello(Hello {
                client_id,
                token,
                resume_token,
                capabilities,
                frame_bytes,
            }) => {
                self.introduced = true;
                let known = |name: &&&str| capabilities.iter().any(|named| named == **name);
                self.capabilities = KNOWN_CAPABILITIES.iter().filter(known).copied().collect();
                Action::Welcome {
                    client: client_id,
                    token: Token(token),
                    resume: Token(resume_token),
                    frame_bytes,
                }
            }
            ClientFrame::Submit(submit) => self.submit(submit),
            ClientFrame::Subscribe(subscribe) => self.subscribe(subscribe),
            ClientFrame::Unsubscribe(document) => Action::Unsubscribe(document),
            ClientFrame::Fetch(fetch) => match self.request(fetch.request) {
                Ok(()) => Action::Fetch(fetch),
                Err(close) => Action::Close(close),
            },
            ClientFrame::Presence(Presence {
                document, ttl_ms: 0, ..
            }) => Action::Absent(document),
            ClientFrame::Presence(presence) => Action::Present(presence),
            ClientFrame::Ping(nonce) => Action::Pong(nonce),
            ClientFrame::AcquireLock(acquire) => self.lock(acquire.request, LockRequest::Acquire(acquire)),
            ClientFrame::ReleaseLock(release) => self.lock(release.request, LockRequest::Release(release)),
            ClientFrame::ListLocks(list) => self.lock(list.request, LockRequest::List(list)),
        }
    }

    fn lock(&mut self, request: RequestId, lock: LockRequest) -> Action {
        if !self.capabilities.contains(&LOCKS) {
            let detail = "frames about locks need the capability \"locks\"";
            return Action::Close(Close::because(CloseCode::PolicyViolation, detail));
        }
        match self.request(request) {
            Ok(()) => Action::Lock(lock),
            Err(close) => Action::Close(close),
        }
    }

    fn submit(&mut self, submit: Submit) -> Action {
        let limit = self.limits.change_bytes;
        if let Some(change) = submit.changes.iter().find(|change| change.len() > limit) {
            let message = format!("a change has {} bytes; {limit} are allowed", change.len());
            let reject = wire::Reject::never(submit.request, RejectCode::TooLarge, message);
            return Action::Reject(submit.document, reject);
        }
        match self.request(submit.request) {
            Ok(()) => Action::Submit(submit),
            Err(close) => Action::Close(close),
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Action {
        if self.is_full() && !self.subscriptions.contains(&subscribe.document) {
            let message = format!("{} are allowed", self.limits.subscriptions);
            let reject = wire::Reject::never(subscribe.request, RejectCode::TooManySubscriptions, message);
            return Action::Reject(subscribe.document, reject);
        }
        self.subscriptions.insert(subscribe.document.clone());
        Action::Subscribe(subscribe)
    }

    fn request(&mut self, request: RequestId) -> Result<(), Close> {
        if self.requests.insert(request) {
            return Ok(());
        }
        let detail = format!("request id {} is that of an unanswered request", request.0);
        Err(Close::because(CloseCode::PolicyViolation, detail))
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, request: RequestId) {
        self.requests.remove(&request);
    }

    /// A document is followed no longer.
    pub(super) fn unsubscribed(&mut self, document: &DocumentId) {
        self.subscriptions.remove(document);
    }

    /// The answer to a hello.
    pub(super) fn welcome(&self, now_ms: u64, author: &Author, terms: &Terms) -> wire::Welcome {
        wire::Welcome {
            session_id: Bytes::copy_from_slice(author.session.0.as_bytes()),
            resume_token: terms.token.as_ref().map(ResumeToken::to_bytes).unwrap_or_default(),
            resumed: terms.resumed,
            limits: Some(wire::Limits {
                frame_bytes: self.limits.frame_bytes as u64,
                change_bytes: self.limits.change_bytes as u64,
                submit_changes: SUBMIT_CHANGES as u32,
                subscriptions: self.limits.subscriptions.try_into().unwrap_or(u32::MAX),
                presence_bytes: PRESENCE_BYTES as u32,
                resume_window_ms: milliseconds(terms.resume_window.as_millis()),
            }),
            server_time_ms: now_ms,
            capabilities: self.capabilities.iter().map(|name| (*name).to_owned()).collect(),
            principal: author.principal.as_str().to_owned(),
        }
    }
}

/// What a client is told that is sent away: to come back at a time within `within_ms` that `random` decides.
pub(super) fn go_away(close: &Close, random: u64, within_ms: u64, closes_in: Duration) -> wire::GoAway {
    wire::GoAway {
        code: close.code.code().into(),
        reconnect_after_ms: milliseconds((random % within_ms.saturating_add(1)).into()),
        closes_in_ms: milliseconds(closes_in.as_millis()),
        reason: close.text.to_string(),
    }
}

fn milliseconds(ms: u128) -> u32 {
    ms.try_into().unwrap_or(u32::MAX)
}

fn kind(frame: &ClientFrame) -> Heard {
    match frame {
        ClientFrame::Hello(_) => Heard::Hello,
        ClientFrame::Submit(_) => Heard::Submit,
        ClientFrame::Subscribe(_) => Heard::Subscribe,
        ClientFrame::Unsubscribe(_) => Heard::Unsubscribe,
        ClientFrame::Fetch(_) => Heard::Fetch,
        ClientFrame::Presence(_) => Heard::Presence,
        ClientFrame::Ping(_) => Heard::Ping,
        ClientFrame::AcquireLock(_) => Heard::AcquireLock,
        ClientFrame::ReleaseLock(_) => Heard::ReleaseLock,
        ClientFrame::ListLocks(_) => Heard::ListLocks,
    }
}
