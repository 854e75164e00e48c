//! What is to be done after something happened to sessions. In this order: what is stored, then who is told.

use std::sync::Arc;

use aetherflow_schema::{
    id::SessionId,
    sessions::{EndReason, SessionInfo, SessionSink},
};

use super::entry::Stored;

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChange {
    /// It exists.
    Created,
    /// Something about it changed.
    Updated,
    /// It is over.
    Ended,
}

/// Something happened to a session.
#[derive(Debug, Clone)]
pub struct SessionEvent {
    /// What.
    pub change: SessionChange,
    /// The session after it.
    pub session: Arc<SessionInfo>,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Effects {
    /// Sessions whose stored copies are to be made anew.
    pub(crate) save: Vec<SessionId>,
    /// Sessions whose stored copies are to be deleted.
    pub(crate) forget: Vec<(SessionId, Stored)>,
    /// Connections that have lost their sessions.
    pub(crate) told: Vec<(Arc<dyn SessionSink>, EndReason)>,
    /// Sessions of this node that are over.
    pub(crate) closed: Vec<SessionId>,
    /// Only while somebody watches.
    pub(crate) events: Vec<SessionEvent>,
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            save,
            forget,
            told,
            closed,
            events,
        } = self;
        save.is_empty() && forget.is_empty() && told.is_empty() && closed.is_empty() && events.is_empty()
    }
}
