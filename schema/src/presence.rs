//! Who is present on which document: what a gateway tells of its clients, and what it hears of the others.
//!
//! Presence is never stored. The session service implements [`Presence`] over all connections of a process and, in a
//! cluster, over all nodes. The rules that every implementation keeps:
//!
//! * a watcher hears of everybody who is present when it comes, and of every change afterwards, in the order in which they
//!   happen, unless it has no room;
//! * nobody hears of itself: a session's own presence is not told to it, on whatever connection;
//! * presence belongs to a session, not to its connection: it ends when it is taken back, when its time is over, or with the
//!   session;
//! * whoever is not heard of again within the time it gave is gone, for everybody, whatever became of its connection or of
//!   its node;
//! * a document that nobody watches and on which nobody is present takes no memory;
//! * calls never block.

pub mod bus;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;

pub use crate::native::wire::PresenceChange;
use crate::{
    access::{Caller, Identity, Principal},
    documents::Retry,
    id::{ConnectionId, DocumentId, SessionId},
    native::{self, PRESENCE_BYTES, PRESENCE_TTL_MS_MAX, wire},
};

/// Documents on which one session may be present: at worst 64 MiB of states.
pub const PRESENT_DOCUMENTS: usize = 4096;

/// Somebody is present on a document, with this state.
#[derive(Debug, Clone)]
pub struct Present {
    /// Where.
    pub document: DocumentId,
    /// Who, and in which session.
    pub caller: Caller,
    /// Cursor, name, colour: whatever the application likes, at most [`PRESENCE_BYTES`].
    pub state: Bytes,
    /// For how long, unless it is repeated: more than nothing, and at most [`PRESENCE_TTL_MS_MAX`].
    pub ttl: Duration,
}

impl Present {
    /// # Errors
    /// When the state or the time is not what it may be.
    pub fn check(&self) -> Result<(), PresenceError> {
        if self.state.len() > PRESENCE_BYTES {
            return Err(PresenceError::TooLarge(self.state.len()));
        }
        if !(1..=u128::from(PRESENCE_TTL_MS_MAX)).contains(&self.ttl.as_millis()) {
            return Err(PresenceError::Ttl);
        }
        Ok(())
    }
}

/// Somebody's presence changed. Watchers share it, and the frame too.
#[derive(Debug)]
pub struct PresenceEvent {
    /// Where.
    pub document: DocumentId,
    /// Whose.
    pub session: SessionId,
    /// Who that is.
    pub principal: Principal,
    /// What happened.
    pub change: PresenceChange,
    /// The state; empty when they left.
    pub state: Bytes,
    /// For how long it holds from now on, milliseconds; 0 when they left.
    pub ttl_ms: u32,
    /// The frame, once it was asked for.
    frame: OnceLock<Bytes>,
}

impl PresenceEvent {
    /// Somebody is present.
    pub fn present(
        document: &DocumentId,
        (session, principal): (SessionId, &Principal),
        change: PresenceChange,
        state: Bytes,
        ttl_ms: u32,
    ) -> Self {
        Self {
            document: document.clone(),
            session,
            principal: principal.clone(),
            change,
            state,
            ttl_ms,
            frame: OnceLock::new(),
        }
    }

    /// Somebody left.
    pub fn left(document: &DocumentId, who: (SessionId, &Principal)) -> Self {
        Self::present(document, who, PresenceChange::Left, Bytes::new(), 0)
    }

    /// The frame of the native protocol, made when it is first asked for.
    pub fn frame(&self) -> Bytes {
        let make = || {
            native::encode(&wire::ServerFrame::from(wire::PresenceEvent {
                document: Bytes::copy_from_slice(self.document.as_bytes()),
                session_id: Bytes::copy_from_slice(self.session.0.as_bytes()),
                principal: self.principal.as_str().to_owned(),
                change: self.change.into(),
                state: self.state.clone(),
                ttl_ms: self.ttl_ms,
            }))
        };
        self.frame.get_or_init(make).clone()
    }
}

/// Somebody who hears of presence. Calls never block, and must not call back before they return.
pub trait PresenceWatcher: Send + Sync + 'static {
    /// On which connection of this process.
    fn connection(&self) -> ConnectionId;

    /// In which session: its own presence is not told to it.
    fn session(&self) -> SessionId;

    /// Somebody's presence changed. One who has no room lets it pass: clients forget by themselves whom they do not hear
    /// of again.
    fn hear(&self, event: &Arc<PresenceEvent>);
}

/// Why somebody is not present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The state is too long.
    #[error("a presence state has {0} bytes; {PRESENCE_BYTES} are allowed")]
    TooLarge(usize),
    /// For no time, or too long a time.
    #[error("presence holds for 1 to {PRESENCE_TTL_MS_MAX} ms")]
    Ttl,
    /// On too many documents at a time.
    #[error("a session is present on at most {PRESENT_DOCUMENTS} documents")]
    TooManyDocuments,
}

impl PresenceError {
    /// When trying again makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::TooLarge(_) | Self::Ttl | Self::TooManyDocuments => Retry::Never,
        }
    }
}

/// All documents.
pub trait Presence: Send + Sync + 'static {
    /// A connection's watcher of a document, instead of the one it had: it hears of everybody there at once.
    fn watch(&self, document: &DocumentId, watcher: Arc<dyn PresenceWatcher>);

    /// A connection watches no longer.
    fn unwatch(&self, document: &DocumentId, connection: ConnectionId);

    /// A session joins, or goes on with this state and time.
    ///
    /// # Errors
    /// When it may not; nothing has changed then.
    fn present(&self, present: Present) -> Result<(), PresenceError>;

    /// A session is present no longer.
    fn absent(&self, document: &DocumentId, session: SessionId);

    /// A session is present nowhere any more.
    fn leave(&self, session: SessionId);

    /// A session of this process is present for no longer than this from now on, unless it says so again: whoever is behind
    /// it is known for so long only.
    fn limit(&self, session: SessionId, within: Duration);

    /// Those of this process who are present on a document stay only if they may.
    fn review(&self, document: &DocumentId, may_stay: &dyn Fn(&Identity) -> bool);

    /// Those of this process who came with this API key are present nowhere any more.
    fn revoke(&self, credential: &str);

    /// Who is present, in the order of the sessions' ids, as events of somebody who joined.
    fn here(&self, document: &DocumentId) -> Vec<Arc<PresenceEvent>>;

    /// Sessions present, over all documents that this process knows of; one that is present on two counts twice.
    fn count(&self) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::{decode_server, wire::server_frame};

    #[test]
    fn an_event_is_told_in_one_frame_that_all_share() {
        let document = DocumentId::from_bytes(&[7; 16]).unwrap();
        let ada = Principal::named("ada").unwrap();
        let session = SessionId(uuid::Uuid::from_u128(9));
        let state = Bytes::from_static(b"cursor");
        let event = PresenceEvent::present(&document, (session, &ada), PresenceChange::Joined, state, 500);
        assert_eq!(event.frame().as_ptr(), event.frame().as_ptr());
        let Ok(server_frame::Kind::PresenceEvent(found)) = decode_server(event.frame()) else {
            panic!("not presence");
        };
        assert_eq!(
            (&*found.state, found.ttl_ms, &*found.principal),
            (&b"cursor"[..], 500, "ada")
        );
        assert_eq!(found.change(), PresenceChange::Joined);
        let left = PresenceEvent::left(&document, (session, &ada));
        assert_eq!(
            (left.ttl_ms, left.state.len(), left.change),
            (0, 0, PresenceChange::Left)
        );
    }
}
