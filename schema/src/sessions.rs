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

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

pub use self::{
    state::{IllegalTransition, SessionState},
    token::ResumeToken,
    traffic::{Traffic, TrafficStats},
};
use crate::{
    access::Principal,
    documents::{BoxFuture, Retry},
    id::{ConnectionId, DocumentId, Offset, SessionId},
};

/// Bytes of a client's name: that of the native protocol's `Hello`, and of an automerge-repo peer id.
pub const CLIENT_ID_BYTES: usize = 256;

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

/// The name that a client keeps for as long as its local data lives. Whatever it says; not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// A client's name; `None` when it is longer than [`CLIENT_ID_BYTES`]. It may be empty, as long as it is not known.
    pub fn named(name: &str) -> Option<Self> {
        (name.len() <= CLIENT_ID_BYTES).then(|| Self(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The empty name: of a client that has not said it.
impl Default for ClientId {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

/// One process that serves clients, unique within the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A node's name; `None` unless it has 1 to 64 letters, digits, `-` or `_`, so that it can stand in keys and subjects.
    pub fn named(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        ((1..=64).contains(&name.len()) && name.bytes().all(fits)).then(|| Self(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// A session as others see it.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// Its id. Later sessions have greater ones, as far as clocks agree.
    pub id: SessionId,
    /// Whose it is.
    pub principal: Principal,
    /// What the client calls itself.
    pub client: ClientId,
    /// On which node.
    pub node: NodeId,
    /// The connection there, while there is one.
    pub connection: Option<ConnectionId>,
    /// What is spoken.
    pub protocol: Protocol,
    /// The client's address; that of the last connection, when there is none.
    pub peer: Option<SocketAddr>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// When something was last heard of it, milliseconds since 1970. Of a session on another node not newer than a third of
    /// the time after which the node itself would be forgotten.
    pub heard_ms: u64,
    /// Its state.
    pub state: SessionState,
    /// Whether it can be resumed.
    pub resumable: bool,
    /// What the application says about it.
    pub attributes: Attributes,
    /// Up to where it was told of each document.
    pub cursors: Cursors,
    /// What was exchanged with it on this node, since it was made or the node started.
    pub traffic: TrafficStats,
    /// Grows with each change of what was said of the session, its state or its cursors, as seen from this node.
    pub revision: u64,
}

/// Which sessions are meant; all of what is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionFilter {
    /// Whose.
    pub principal: Option<Principal>,
    /// On which connection of which node.
    pub connection: Option<(NodeId, ConnectionId)>,
    /// On which node.
    pub node: Option<NodeId>,
    /// In one of these states; in any when empty.
    pub states: Vec<SessionState>,
    /// With a cursor in this document.
    pub document: Option<DocumentId>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionPage {
    /// In the order of their ids. A page can have few of them, or none, although more follow.
    pub sessions: Vec<SessionInfo>,
    /// The id after which to go on; `None` when that was all.
    pub next: Option<SessionId>,
}

/// How many sessions there are, and what became of the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionStatistics {
    /// Sessions in each state, in the order of [`SessionState::ALL`]. Those that are closed are not kept: zero.
    pub in_state: [u64; SessionState::ALL.len()],
    /// Principals who have a session.
    pub principals: u64,
    /// Opened since the start of this node.
    pub opened: u64,
    /// Resumed since then.
    pub resumed: u64,
    /// Tokens that were not good for anything, since then.
    pub resume_refused: u64,
    /// Ended since then.
    pub ended: u64,
    /// Of those, without a word.
    pub expired: u64,
    /// What was exchanged with all sessions since then.
    pub traffic: TrafficStats,
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

    #[test]
    fn names_that_could_not_stand_in_a_subject_are_no_nodes() {
        assert!(NodeId::named("gateway-1_a").is_some());
        for bad in ["", "a.b", "a b", ">", "*", "ä", &"n".repeat(65)] {
            assert_eq!(NodeId::named(bad), None, "{bad:?}");
        }
    }
}
