//! A connection's session: from wanting one to losing it.
//!
//! **Invariants**: a client is let in although its session cannot be stored, but then it cannot be resumed; a connection that
//! has lost its session is closed.

use aetherflow_schema::{
    access::Principal,
    close::CloseCode,
    history::Arrival,
    sessions::{
        Attributes, ClientId, EndReason, NewConnection, Opened, Protocol, Resume, SessionError, SessionSink, Sessions,
    },
};
use std::{net::SocketAddr, sync::Arc};

use crate::{
    caller::now_ms,
    close::Close,
    outbound::{Ending, Outbound},
    shared::Shared,
};

/// Who wants a session.
pub(crate) struct Guest {
    pub(crate) principal: Principal,
    /// What the client calls itself; empty as long as it is not known.
    pub(crate) client: ClientId,
    pub(crate) protocol: Protocol,
    pub(crate) peer: SocketAddr,
    /// What program it says it is.
    pub(crate) agent: String,
    pub(crate) resume: Resume,
}

/// Gives a connection its session.
///
/// # Errors
/// How to close it when it gets none.
pub(crate) async fn open(shared: &Shared, outbound: &Arc<Outbound>, guest: Guest) -> Result<Opened, Close> {
    let connection = NewConnection {
        principal: guest.principal,
        client: guest.client.clone(),
        connection: outbound.id(),
        protocol: guest.protocol,
        peer: guest.peer,
        attributes: Attributes::new(),
        resume: guest.resume,
        sink: outbound.clone(),
    };
    let sessions: &dyn Sessions = &*shared.sessions;
    let opened = match sessions.open(connection.clone()).await {
        Err(SessionError::Unavailable(reason)) if connection.resume != Resume::Never => {
            tracing::warn!(connection = %outbound.id(), reason, "a session that cannot be resumed");
            let resume = Resume::Never;
            sessions.open(NewConnection { resume, ..connection }).await
        }
        opened => opened,
    };
    let opened = opened.map_err(|error| lost(&error))?;
    // One who has not said its name yet is written down when it has.
    if !guest.client.as_str().is_empty() {
        shared.arrivals.note(Arrival {
            session: opened.handle.id(),
            at_ms: now_ms(),
            address: guest.peer,
            via: guest.protocol.into(),
            client: guest.client.as_str().to_owned(),
            agent: guest.agent,
        });
    }
    Ok(opened)
}

/// How to close a connection for what the session service says.
pub(crate) fn lost(error: &SessionError) -> Close {
    match error {
        SessionError::Stopping => Close::plain(CloseCode::GoingAway),
        SessionError::Full | SessionError::Unavailable(_) | SessionError::Conflict => {
            Close::because(CloseCode::TryAgainLater, error)
        }
        SessionError::TakenOver => Close::because(CloseCode::Replaced, error),
        SessionError::NotFound => Close::plain(CloseCode::SessionEnded),
        SessionError::Exists | SessionError::State(_) => Close::because(CloseCode::InternalError, error),
        SessionError::Invalid(_) => Close::because(CloseCode::PolicyViolation, error),
    }
}

impl SessionSink for Outbound {
    fn ended(&self, reason: EndReason) {
        let close = match reason {
            EndReason::TakenOver => Close::because(CloseCode::Replaced, "its session goes on there"),
            EndReason::Deleted => Close::plain(CloseCode::SessionEnded),
            EndReason::Expired => Close::because(CloseCode::SessionEnded, "nothing was heard for too long"),
            EndReason::Left => return,
        };
        self.end(Ending::Now(close));
    }
}
