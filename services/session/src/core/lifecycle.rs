//! What happens to sessions: they begin, are heard of, lose their connections, are resumed, and end.
//!
//! Inputs: what a connection, a caller, another node or the time brings. Effects: see [`Effects`].
//! Invariants: a session changes its state only as [`SessionState::to`] allows; only the connection that has a session
//! changes anything about it; what can be resumed is stored before its connection may be told so, which is why a session
//! that begins or is resumed is prepared first, stored, and put into effect then.

use std::sync::Arc;

use aetherflow_schema::{
    id::{DocumentId, Offset, SessionId},
    sessions::{
        Attributes, CURSORS, ClientId, Cursors, EndReason, SessionError, SessionState, check_attributes,
        record::SessionRecord,
    },
};

use super::{
    effects::{Effects, SessionChange, SessionEvent},
    entry::{Entry, Live},
    registry::Registry,
};
use crate::store::Revision;

/// Changes to what was said of a session.
#[derive(Debug, Clone, Default)]
pub struct SessionPatch {
    /// Only if it is at this revision.
    pub expected: Option<u64>,
    /// Attributes that get these values, or are taken away.
    pub attributes: Vec<(String, Option<String>)>,
    /// Cursors that are moved, or taken away.
    pub cursors: Vec<(DocumentId, Option<Offset>)>,
}

impl Registry {
    /// A session of this node begins; it is stored already, if it can be resumed.
    ///
    /// # Errors
    /// [`SessionError::Full`], [`SessionError::Exists`].
    pub(crate) fn begin(
        &mut self,
        now_ms: u64,
        record: SessionRecord,
        live: Arc<Live>,
        stored: Option<Revision>,
        effects: &mut Effects,
    ) -> Result<(), SessionError> {
        let id = record.id;
        if !self.has_room() {
            return Err(SessionError::Full);
        }
        if self.sessions.contains_key(&id) {
            return Err(SessionError::Exists);
        }
        let deadline_ms = match record.state {
            SessionState::Connecting => now_ms + self.times.introduce,
            _ => now_ms + self.times.idle,
        };
        self.put(Entry::new(record, Some(live), stored), deadline_ms);
        self.counts.opened += 1;
        match stored {
            Some(revision) => self.saved(now_ms, id, revision),
            None => self.save_by(id, now_ms),
        }
        self.tell(id, SessionChange::Created, effects);
        Ok(())
    }

    /// Takes in what the store had when this node started: sessions whose connections ended with the process that had them.
    /// Their windows begin now, as the time that the server was away is not the clients' fault.
    pub(crate) fn recover(&mut self, now_ms: u64, mut record: SessionRecord, revision: Revision) {
        record.connection = None;
        record.state = SessionState::Disconnecting;
        record.node = self.node.clone();
        self.put(
            Entry::new(record, None, Some(revision)),
            now_ms + self.times.resume_window,
        );
    }

    /// The client is known.
    ///
    /// # Errors
    /// When the connection does not have the session, or the state does not allow it.
    pub(crate) fn introduce(
        &mut self,
        now_ms: u64,
        id: SessionId,
        live: &Arc<Live>,
        client: ClientId,
        effects: &mut Effects,
    ) -> Result<(), SessionError> {
        self.check_live(id, live)?;
        // One that was resumed is active already; one that says its name again may have been idle.
        if self.entry(id)?.state() != SessionState::Active {
            self.go(id, SessionState::Active)?;
            live.set_idle(false);
            self.set_timer(id, now_ms + self.times.idle);
        }
        self.entry_mut(id)?.record.client = client;
        live.heard(now_ms);
        self.save_by(id, now_ms + self.times.save);
        self.tell(id, SessionChange::Updated, effects);
        Ok(())
    }

    /// A session that was idle is heard of.
    pub(crate) fn wake(&mut self, now_ms: u64, id: SessionId, live: &Arc<Live>, effects: &mut Effects) {
        if self.check_live(id, live).is_ok() && self.go(id, SessionState::Active).is_ok() {
            live.set_idle(false);
            self.set_timer(id, now_ms + self.times.idle);
            self.tell(id, SessionChange::Updated, effects);
        }
    }

    /// A session made through the service is heard of.
    ///
    /// # Errors
    /// When there is none, or it has a connection that speaks for it, or is on another node.
    pub(crate) fn heartbeat(
        &mut self,
        now_ms: u64,
        id: SessionId,
        effects: &mut Effects,
    ) -> Result<SessionState, SessionError> {
        let live = self.entry(id)?.live.clone();
        let Some(live) = live.filter(|live| live.connection.is_none()) else {
            let why = "a session with a connection is kept alive by that";
            return Err(SessionError::Invalid(why.to_owned()));
        };
        if live.heard(now_ms) {
            self.wake(now_ms, id, &live, effects);
        }
        Ok(self.entry(id)?.state())
    }

    /// Moves cursors of a session, on behalf of its connection.
    ///
    /// # Errors
    /// When the connection does not have the session, or there are too many cursors: those that fit are moved all the same.
    pub(crate) fn set_cursors(
        &mut self,
        now_ms: u64,
        id: SessionId,
        live: &Arc<Live>,
        cursors: &[(DocumentId, Option<Offset>)],
    ) -> Result<(), SessionError> {
        self.check_live(id, live)?;
        let entry = self.entry_mut(id)?;
        let (mut moved, mut result) = (false, Ok(()));
        for (document, offset) in cursors {
            match move_cursor(&mut entry.record.cursors, document, *offset) {
                Ok(changed) => moved |= changed,
                Err(error) => result = Err(error),
            }
        }
        if moved {
            entry.version += 1;
            self.save_by(id, now_ms + self.times.save);
        }
        result
    }

    /// Changes what was said of a session of this node. All of it, or nothing.
    ///
    /// # Errors
    /// When there is none, it is not at the expected revision, or the result would not be what it may be.
    pub(crate) fn patch(
        &mut self,
        now_ms: u64,
        id: SessionId,
        patch: SessionPatch,
        effects: &mut Effects,
    ) -> Result<(), SessionError> {
        self.check_revision(id, patch.expected)?;
        let node = self.node.clone();
        let entry = self.entry_mut(id)?;
        if entry.record.node != node {
            return Err(SessionError::Invalid(format!(
                "the session is on node {}",
                entry.record.node
            )));
        }
        let mut attributes: Attributes = entry.record.attributes.clone();
        for (name, value) in patch.attributes {
            match value {
                Some(value) => attributes.insert(name, value),
                None => attributes.remove(&name),
            };
        }
        check_attributes(&attributes)?;
        let mut cursors = entry.record.cursors.clone();
        for (document, offset) in &patch.cursors {
            move_cursor(&mut cursors, document, *offset)?;
        }
        entry.record.attributes = attributes;
        entry.record.cursors = cursors;
        entry.version += 1;
        self.save_by(id, now_ms);
        self.tell(id, SessionChange::Updated, effects);
        Ok(())
    }

    /// A connection is gone, or its client said goodbye.
    pub(crate) fn disconnect(
        &mut self,
        now_ms: u64,
        id: SessionId,
        live: &Arc<Live>,
        goodbye: bool,
        effects: &mut Effects,
    ) {
        if self.check_live(id, live).is_err() {
            return;
        }
        let resumable = self.entry(id).is_ok_and(|entry| entry.record.resume.is_some());
        if goodbye || !resumable || self.go(id, SessionState::Disconnecting).is_err() {
            self.close(id, EndReason::Left, effects);
            return;
        }
        self.reindex(id, |entry| {
            entry.record.heard_ms = entry.heard_ms();
            entry.past = entry.traffic();
            entry.live = None;
            entry.record.connection = None;
        });
        self.set_timer(id, now_ms + self.times.resume_window);
        self.save_by(id, now_ms);
        self.tell(id, SessionChange::Updated, effects);
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When there is none, or it is not at the expected revision.
    pub(crate) fn delete(
        &mut self,
        id: SessionId,
        expected: Option<u64>,
        effects: &mut Effects,
    ) -> Result<(), SessionError> {
        self.check_revision(id, expected)?;
        self.close(id, EndReason::Deleted, effects);
        Ok(())
    }

    /// Does what is due, in so many steps at most; `true` when more is due.
    pub(crate) fn expire(&mut self, now_ms: u64, steps: usize, effects: &mut Effects) -> bool {
        let mut due = Vec::new();
        self.timers.expire(now_ms, steps, &mut due);
        for id in due.drain(..) {
            self.on_timer(now_ms, id, effects);
        }
        self.saves.expire(now_ms, steps, &mut effects.save);
        for id in &effects.save {
            if let Some(entry) = self.sessions.get_mut(id) {
                entry.save_timer = None;
            }
        }
        // What was just done may have made something else due.
        self.next_ms().is_some_and(|next_ms| next_ms <= now_ms)
    }

    fn on_timer(&mut self, now_ms: u64, id: SessionId, effects: &mut Effects) {
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        entry.timer = None;
        if entry.record.node != self.node {
            // Its node would have stored it again.
            self.drop_remote(id, effects);
            return;
        }
        let heard_ms = entry.heard_ms();
        match entry.record.state {
            SessionState::Active if now_ms < heard_ms + self.times.idle => {
                self.set_timer(id, heard_ms + self.times.idle);
            }
            SessionState::Active => {
                if let Some(live) = &entry.live {
                    live.set_idle(true);
                }
                // It cannot be refused: active sessions may become idle.
                if self.go(id, SessionState::Idle).is_ok() {
                    self.set_timer(id, (heard_ms + self.times.expire).max(now_ms));
                    self.tell(id, SessionChange::Updated, effects);
                }
            }
            SessionState::Idle if now_ms < heard_ms + self.times.expire => {
                self.set_timer(id, heard_ms + self.times.expire);
            }
            SessionState::Connecting | SessionState::Idle | SessionState::Disconnecting | SessionState::Closed => {
                self.close(id, EndReason::Expired, effects);
            }
        }
    }

    pub(super) fn close(&mut self, id: SessionId, reason: EndReason, effects: &mut Effects) {
        let Some(mut entry) = self.take(id) else {
            return;
        };
        let own = entry.record.node == self.node;
        self.counts.traffic += entry.traffic();
        self.counts.ended += u64::from(own);
        self.counts.expired += u64::from(own && reason == EndReason::Expired);
        if let Some(live) = entry.live.take()
            && let Some(sink) = live.sink.clone()
        {
            effects.told.push((sink, reason));
        }
        entry.record.state = SessionState::Closed;
        if self.watched {
            let session = Arc::new(entry.info());
            let change = SessionChange::Ended;
            effects.events.push(SessionEvent { change, session });
        }
        effects.closed.push(id);
        effects.forget.push((id, entry.stored));
    }

    /// The stored copy is as it should be; where it would vanish, it is made anew in time.
    pub(crate) fn saved(&mut self, now_ms: u64, id: SessionId, revision: Revision) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.revision = Some(revision);
        }
        if let Some(lease) = self.times.lease {
            self.save_by(id, now_ms + lease / 3);
        }
    }

    /// What would be stored later is stored now: the process ends.
    pub(crate) fn save_now(&mut self, effects: &mut Effects) {
        effects.save.extend(self.saves.drain());
        for id in &effects.save {
            if let Some(entry) = self.sessions.get_mut(id) {
                entry.save_timer = None;
            }
        }
    }

    /// # Errors
    /// When the connection does not have the session.
    pub(crate) fn check_live(&self, id: SessionId, live: &Arc<Live>) -> Result<(), SessionError> {
        match &self.entry(id)?.live {
            Some(current) if Arc::ptr_eq(current, live) => Ok(()),
            _ => Err(SessionError::TakenOver),
        }
    }

    fn check_revision(&self, id: SessionId, expected: Option<u64>) -> Result<(), SessionError> {
        let version = self.entry(id)?.version;
        match expected {
            Some(expected) if expected != version => Err(SessionError::Conflict),
            _ => Ok(()),
        }
    }
}

/// Whether that changed anything.
fn move_cursor(cursors: &mut Cursors, document: &DocumentId, offset: Option<Offset>) -> Result<bool, SessionError> {
    let Some(offset) = offset else {
        return Ok(cursors.remove(document).is_some());
    };
    if cursors.len() >= CURSORS && !cursors.contains_key(document) {
        return Err(SessionError::Invalid(format!(
            "a session has cursors in at most {CURSORS} documents"
        )));
    }
    Ok(cursors.insert(document.clone(), offset) != Some(offset))
}
