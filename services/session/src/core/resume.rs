//! Resuming: a client that lost its connection goes on with its session.
//!
//! Each step is prepared, stored, and put into effect then, so that a client is never told of a token that a crash would
//! void. Whoever stores expects the revision that was prepared from, so that of two who come with the same token one wins.

use std::sync::Arc;

use aetherflow_schema::{
    access::Principal,
    id::SessionId,
    sessions::{
        Cursors, EndReason, NodeId, ResumeToken, SessionError, SessionState,
        record::{ResumeHashes, SessionRecord},
    },
};

use super::{
    effects::{Effects, SessionChange},
    entry::{Entry, Live, Stored},
    registry::Registry,
};
use crate::store::Revision;

/// Whether a token is good for a session, for that principal.
///
/// # Errors
/// When it is not. All reasons look the same.
pub(crate) fn admit(record: &SessionRecord, token: &ResumeToken, principal: &Principal) -> Result<(), SessionError> {
    let good = record.resume.is_some_and(|resume| resume.admit(token));
    if good && record.principal == *principal && record.state != SessionState::Closed {
        Ok(())
    } else {
        Err(SessionError::NotFound)
    }
}

/// A record with a fresh token. The one before stays good until the client is heard of again: it may never get the answer.
///
/// # Errors
/// When it cannot be resumed.
pub(crate) fn renew(mut record: SessionRecord, token: &ResumeToken) -> Result<SessionRecord, SessionError> {
    let Some(resume) = &mut record.resume else {
        return Err(SessionError::Invalid("the session cannot be resumed".to_owned()));
    };
    *resume = ResumeHashes {
        current: token.hash(),
        before: Some(resume.current),
    };
    Ok(record)
}

/// A record of a session that goes on here.
///
/// # Errors
/// When it cannot be resumed, or is over.
pub(crate) fn take_over(
    record: SessionRecord,
    presented: &ResumeToken,
    fresh: &ResumeToken,
    node: &NodeId,
) -> Result<SessionRecord, SessionError> {
    let mut record = renew(record, fresh)?;
    // The client has the one that it came with, which may not be the newest.
    if let Some(resume) = &mut record.resume {
        resume.before = Some(presented.hash());
    }
    if record.state != SessionState::Active {
        record.state = record.state.to(SessionState::Active)?;
    }
    record.node = node.clone();
    Ok(record)
}

impl Registry {
    /// The fresh token is stored.
    pub(crate) fn renewed(&mut self, now_ms: u64, id: SessionId, resume: Option<ResumeHashes>, revision: Revision) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.record.resume = resume;
            entry.renewed_ms = now_ms;
        }
        self.saved(now_ms, id, revision);
    }

    /// Another connection goes on with a session: this is what was stored. The connection that had it is told.
    ///
    /// # Errors
    /// [`SessionError::Full`], when the session was on another node.
    pub(crate) fn resume(
        &mut self,
        now_ms: u64,
        record: SessionRecord,
        live: Arc<Live>,
        (revision, stored): (Revision, Stored),
        effects: &mut Effects,
    ) -> Result<Cursors, SessionError> {
        let id = record.id;
        let cursors = record.cursors.clone();
        let here = self
            .sessions
            .get(&id)
            .is_some_and(|entry| entry.record.node == self.node);
        if !here && !self.has_room() {
            return Err(SessionError::Full);
        }
        let before = self.take(id);
        let known = before.is_some();
        let mut entry = Entry::new(record, Some(live), Some(revision));
        if let Some(before) = before {
            entry.past = before.traffic();
            entry.version = before.version + 1;
            if let Some(sink) = before.live.and_then(|live| live.sink.clone()) {
                effects.told.push((sink, EndReason::TakenOver));
            }
        }
        // Whoever waits to write goes on where this one ended.
        entry.stored = stored;
        entry.renewed_ms = now_ms;
        self.put(entry, now_ms + self.times.idle);
        self.counts.resumed += 1;
        self.saved(now_ms, id, revision);
        let change = if known {
            SessionChange::Updated
        } else {
            SessionChange::Created
        };
        self.tell(id, change, effects);
        Ok(cursors)
    }
}
