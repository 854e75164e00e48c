//! What a gateway asks of whoever keeps sessions, and what it hears back.
//!
//! A session stands for one client, and may outlive its connection: a client that comes back with its resume token within
//! the window goes on with the same session id, cursors and presence. The session service implements [`Sessions`]. The
//! rules that every implementation keeps:
//!
//! * a resume token that was handed out is durable: a restart of the server does not void it;
//! * a session has one connection at a time. When another one goes on with it, the first is told through its
//!   [`SessionSink`], and nothing that it does afterwards has an effect on the session;
//! * a session whose handle is dropped is [`SessionState::Disconnecting`] until it is resumed or its window has passed, or
//!   ends at once when it cannot be resumed;
//! * nothing on the way of a frame waits: [`SessionHandle::heard`] and [`Traffic`] are a few atomic operations.

mod info;
mod name;
pub mod record;
pub mod state;
pub mod token;
pub mod traffic;
/// The messages of the gRPC service, and what nodes store and tell one another: generated from `proto/aether/v1/session.proto`,
/// `session_record.proto` and `presence_bus.proto`; each is documented there.
#[allow(missing_docs, clippy::all)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/session/aether.v1.rs"));
}

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

pub use self::{
    info::{SessionFilter, SessionInfo, SessionPage, SessionStatistics},
    name::{CLIENT_ID_BYTES, ClientId, NodeId},
    state::{IllegalTransition, SessionState},
    token::ResumeToken,
    traffic::{Traffic, TrafficStats},
};
use crate::{
    access::Principal,
    documents::{BoxFuture, Retry},
    id::{ConnectionId, DocumentId, Offset, SessionId},
};

/// Attributes of one session; at worst it takes [`ATTRIBUTES_BYTES`] of memory and of disk for them.
pub const ATTRIBUTES: usize = 32;

/// Bytes of an attribute's name.
pub const ATTRIBUTE_NAME_BYTES: usize = 64;

/// Bytes of all of a session's attributes, names and values.
pub const ATTRIBUTES_BYTES: usize = 8 << 10;

/// Documents of which a session keeps a cursor: at worst 75 KiB for each session.
pub const CURSORS: usize = 1024;

/// Sessions in one page of a list.
pub const PAGE: usize = 1000;

/// How a client speaks with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// automerge-repo's over WebSocket.
    AutomergeRepo,
    /// The native protocol over WebSocket.
    NativeWebSocket,
    /// The native protocol over Quantum.
    NativeQuantum,
    /// It does not: the session was made through the service, by a server that answers for it.
    Service,
}

/// Names and values that an application hangs on a session.
pub type Attributes = BTreeMap<String, String>;

/// Up to where a client was told of each document.
pub type Cursors = BTreeMap<DocumentId, Offset>;

/// Checks names and values from outside.
///
/// # Errors
/// [`SessionError::Invalid`], in words for whoever sent them.
pub fn check_attributes(attributes: &Attributes) -> Result<(), SessionError> {
    let bytes: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    let named = |name: &String| (1..=ATTRIBUTE_NAME_BYTES).contains(&name.len());
    if attributes.len() > ATTRIBUTES || bytes > ATTRIBUTES_BYTES || !attributes.keys().all(named) {
        return Err(SessionError::Invalid(format!(
            "a session has at most {ATTRIBUTES} attributes of {ATTRIBUTES_BYTES} bytes in all, with names of 1 to \
             {ATTRIBUTE_NAME_BYTES} bytes"
        )));
    }
    Ok(())
}

/// What a client that connects wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// A session that ends with its connection: nothing of it is stored.
    Never,
    /// A new session that can be resumed.
    Later,
    /// To go on with the session of this token; if that is not possible, a new one that can be resumed.
    From(ResumeToken),
}

/// A connection that wants a session.
#[derive(Clone)]
pub struct NewConnection {
    /// Who it is, authenticated.
    pub principal: Principal,
    /// What the client calls itself; empty as long as it is not known.
    pub client: ClientId,
    /// The connection.
    pub connection: ConnectionId,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The other end's address.
    pub peer: SocketAddr,
    /// What the application says about it.
    pub attributes: Attributes,
    /// Whether it goes on with an earlier session.
    pub resume: Resume,
    /// Where the connection is told that it has lost its session.
    pub sink: Arc<dyn SessionSink>,
}

/// A connection has a session.
pub struct Opened {
    /// The session; dropping it says that the connection is gone.
    pub handle: Box<dyn SessionHandle>,
    /// To be handed to the client, which can resume with no other; `None` when it cannot.
    pub token: Option<ResumeToken>,
    /// For how long it can be resumed after the connection is gone; zero when it cannot.
    pub resume_window: Duration,
    /// Up to where the client was told of each document, when it goes on with an earlier session. What was on its way when the
    /// connection broke it may not have: a client knows best, and says so when it subscribes.
    pub resumed: Option<Cursors>,
}

/// Why a session is over, or a connection has lost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndReason {
    /// The client said goodbye, or left with no wish to come back.
    Left,
    /// It was not introduced in time, nothing was heard of it for too long, or it did not come back.
    Expired,
    /// Somebody who may do so ended it.
    Deleted,
    /// Another connection goes on with it. The session itself is not over.
    TakenOver,
}

/// The connection that has a session.
pub trait SessionSink: Send + Sync + 'static {
    /// The connection has no session any more, and should be closed. Never blocks, and must not call back into the
    /// session service before it returns.
    fn ended(&self, reason: EndReason);
}

/// A session as its connection holds it. Dropping it says that the connection is gone.
pub trait SessionHandle: Send + Sync {
    /// Its id, which is the same after it was resumed.
    fn id(&self) -> SessionId;

    /// The client is known now, and may do what it wants: [`SessionState::Connecting`] becomes [`SessionState::Active`].
    ///
    /// # Errors
    /// When the session has ended or was taken over.
    fn introduce(&self, client: ClientId) -> Result<(), SessionError>;

    /// Something was heard of the client. Costs two atomic operations and a look at the clock.
    fn heard(&self);

    /// Where bytes and packets are counted.
    fn traffic(&self) -> &Traffic;

    /// The client was told of these documents up to here; `None` for one that it does not want any more.
    ///
    /// # Errors
    /// When the session has ended or was taken over; [`SessionError::Invalid`] when some documents were beyond the first
    /// [`CURSORS`]: the cursors of the others are kept.
    fn set_cursors(&self, cursors: &[(DocumentId, Option<Offset>)]) -> Result<(), SessionError>;

    /// A fresh token instead of the one that the client has, durable once this is ready; `None` when the session cannot be
    /// resumed. The earlier token is good until the client is heard of again, so that it may lose the answer.
    fn renew(&self) -> BoxFuture<'_, Result<Option<ResumeToken>, SessionError>>;

    /// The client said goodbye: the session is over, and cannot be resumed.
    fn end(self: Box<Self>);
}

/// Why a call about a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No such session; it may have ended.
    #[error("there is no such session")]
    NotFound,
    /// A session with this id exists already.
    #[error("there is a session with this id already")]
    Exists,
    /// What was asked is not what it should be.
    #[error("not acceptable: {0}")]
    Invalid(String),
    /// The session is not in a state from which this is possible.
    #[error(transparent)]
    State(#[from] IllegalTransition),
    /// Somebody else changed the session meanwhile; nothing was done.
    #[error("the session was changed by somebody else meanwhile")]
    Conflict,
    /// The connection is no longer the session's.
    #[error("another connection has taken the session over")]
    TakenOver,
    /// There are as many sessions as there may be.
    #[error("there are too many sessions")]
    Full,
    /// It does not take writes at present, or cannot be reached; nothing is known to have been done.
    #[error("sessions cannot be stored at present: {0}")]
    Unavailable(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl SessionError {
    /// When trying again makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NotFound | Self::Exists | Self::Invalid(_) | Self::State(_) | Self::TakenOver => Retry::Never,
            Self::Conflict => Retry::After(Duration::ZERO),
            Self::Unavailable(_) | Self::Stopping => Retry::After(Duration::from_secs(1)),
            Self::Full => Retry::After(Duration::from_secs(30)),
        }
    }
}

/// All sessions.
pub trait Sessions: Send + Sync + 'static {
    /// Gives a connection its session: a new one, or the one that it goes on with. Waits for the disk when it can be
    /// resumed, and not otherwise. Must be called within a runtime.
    fn open(&self, connection: NewConnection) -> BoxFuture<'_, Result<Opened, SessionError>>;

    /// A session, on whatever node it is.
    fn find(&self, id: SessionId) -> BoxFuture<'_, Result<SessionInfo, SessionError>>;

    /// Up to `limit` sessions (at most [`PAGE`]) with ids greater than `after`, in the order of their ids: one that exists
    /// all the while is in exactly one of the pages, whatever comes and goes.
    fn list(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<SessionPage, SessionError>>;

    /// Ends a session; its connection is told.
    fn delete(&self, id: SessionId) -> BoxFuture<'_, Result<(), SessionError>>;

    /// Counts.
    fn statistics(&self) -> SessionStatistics;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_bounds() {
        let one = |name: usize, value: usize| Attributes::from([("n".repeat(name), "v".repeat(value))]);
        assert_eq!(check_attributes(&one(64, ATTRIBUTES_BYTES - 64)), Ok(()));
        for bad in [one(0, 1), one(65, 1), one(1, ATTRIBUTES_BYTES)] {
            assert!(check_attributes(&bad).is_err());
        }
        let many = |n: usize| (0..n).map(|n| (format!("{n}"), String::new())).collect();
        assert_eq!(check_attributes(&many(ATTRIBUTES)), Ok(()));
        assert!(check_attributes(&many(ATTRIBUTES + 1)).is_err());
    }
}
