//! Messages of peers: into the log, and from there into the document.

use std::mem;

use aetherflow_schema::{access::Author, documents::SyncFrame, id::Offset};
use automerge::{Automerge, sync::SyncDoc};

use super::{
    Actor, Size,
    flight::{InFlight, Then},
    lost::Lost,
    now_ms,
};
use crate::{
    contained,
    content::{Content, Live},
    intake::{self, Received},
    peers::SessionKey,
};

impl Actor {
    /// A message came: its changes go to the log, the rest waits for them.
    pub(super) async fn take_frame(&mut self, key: SessionKey, author: Author, frame: SyncFrame, may_write: bool) {
        let (bytes, request, document) = (frame.message.len(), frame.request, self.document.clone());
        let decoded = self
            .decode(
                bytes,
                move || intake::weigh_message(&frame.message),
                |weighed| weighed.rows,
                move |weighed| intake::take_in(&document, &author, weighed),
            )
            .await;
        let (mut intake, rows) = match decoded {
            Ok(decoded) => decoded,
            Err(reason) => return self.peers.malformed(key, reason),
        };
        if !may_write && intake.strip() {
            self.peers.refuse(key, "this document is for reading only".to_owned());
        }
        if let Some(state) = self.peers.get_mut(key) {
            // Tells automerge not to ask for what would be refused; when that changes it asks for what it missed.
            state.set_read_only(!may_write);
            state.asked |= request && intake.message.message.heads.is_empty();
        }
        let commit = if intake.entries.is_empty() {
            None
        } else {
            match self.log.submit(intake.entries).await {
                Ok(commit) => Some(commit),
                Err(error) => return self.peers.refuse(key, error.to_string()),
            }
        };
        self.in_flight.push_back(InFlight {
            commit,
            then: Then::Frame(key, intake.message),
            size: Size { bytes, rows },
            pass: None,
        });
    }

    /// The changes of a message are committed.
    pub(super) async fn apply_frame(
        &mut self,
        key: SessionKey,
        mut message: Received,
        fresh: &[Offset],
        size: Size,
    ) -> Result<(), Lost> {
        if !message.carries_changes() {
            // A peer that has gone has nothing more to hear; changes of it are in the log and stay.
            let Some(state) = self.peers.get_mut(key) else {
                return Ok(());
            };
            if matches!(self.content, Content::Absent) {
                let received = contained(|| Automerge::new().receive_sync_message(&mut state.sync, message.message));
                state.answered();
                if let Err(reason) = received {
                    self.peers.malformed(key, reason);
                }
                return Ok(());
            }
            match state.receive_in_step(&self.content, message.message) {
                Ok(()) => {
                    self.peers.learn_heads(key, now_ms());
                    return Ok(());
                }
                Err(other) => message.message = other,
            }
            if let Err(lost) = self.materialize().await {
                self.peers.refuse(key, lost.to_string());
                return Ok(());
            }
        }
        // Whoever sent what cannot be applied is thrown out, so the peer's own state need not be kept meanwhile.
        let known = self.peers.get_mut(key).map(|peer| mem::take(&mut peer.sync));
        let mut state = known.unwrap_or_default();
        let receive = move |live: &mut Live| {
            live.receive(&mut state, message)?;
            Ok(state)
        };
        match self.apply_committed(fresh, size, receive).await? {
            Ok(state) => {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.sync = state;
                    peer.answered();
                }
                self.peers.learn_heads(key, now_ms());
            }
            Err(why) => self.peers.malformed(key, why.to_string()),
        }
        Ok(())
    }
}
