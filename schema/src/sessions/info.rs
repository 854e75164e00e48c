//! Sessions as others see them, and how to ask for them.

use std::net::SocketAddr;

use super::{Attributes, ClientId, Cursors, NodeId, Protocol, SessionState, TrafficStats};
use crate::{
    access::Principal,
    id::{ConnectionId, DocumentId, SessionId},
};

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
