//! Who is connected to a document, and what each is told.
//!
//! Peers that stand at the same point of the sync protocol are told the same: the message is made and encoded once for all of
//! them. With fifty people in one document, that is the difference between one and fifty.

mod message;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aetherflow_schema::{
    documents::{Peer, PeerFrame},
    id::{ChangeHash, DocumentId, StorageId},
};
use automerge::sync::{self, Capability, MessageFlags};
use tokio::time::Instant;

use self::message::{Outgoing, Said, next_message, wants_whole};
use crate::{content::Content, to_schema};

/// Messages with changes that a peer may leave unanswered before they gather: one that is busy gets few large messages
/// instead of many small ones.
const UNANSWERED: u32 = 4;

/// How long they gather then.
const GATHER: Duration = Duration::from_millis(20);

/// Identifies a session of a document.
pub(crate) type SessionKey = u64;

/// What is known of one peer.
pub(crate) struct PeerState {
    pub(crate) peer: Peer,
    pub(crate) sync: sync::State,
    /// It asked for the document and was not answered yet.
    pub(crate) asked: bool,
    /// Something may have to be said to it.
    pub(crate) touched: bool,
    /// It was sent the whole document and has not answered; until then nothing else makes sense.
    awaits_whole: bool,
    /// Messages with changes that it has not answered, and when the last one was sent.
    unanswered: (u32, Instant),
    /// It was sent everything up to the heads it was told last, in steps.
    streams: bool,
    /// Edits of it were refused: once writes are possible again it has to be asked for them.
    pub(crate) refused: bool,
}

/// A storage's heads, and when they were learned.
type RemoteHeads = (Arc<[ChangeHash]>, u64);

/// The peers of one document, in the order of their sessions.
pub(crate) struct Peers {
    document: DocumentId,
    server: StorageId,
    states: BTreeMap<SessionKey, PeerState>,
    remote: BTreeMap<StorageId, RemoteHeads>,
}

impl Peers {
    pub(crate) fn new(document: DocumentId, server: StorageId) -> Self {
        Self {
            document,
            server,
            states: BTreeMap::new(),
            remote: BTreeMap::new(),
        }
    }

    pub(crate) fn attach(&mut self, key: SessionKey, peer: Peer) {
        let state = PeerState {
            peer,
            sync: sync::State::new(),
            asked: false,
            touched: false,
            awaits_whole: false,
            unanswered: (0, Instant::now()),
            streams: false,
            refused: false,
        };
        self.states.insert(key, state);
    }

    pub(crate) fn detach(&mut self, key: SessionKey) {
        self.states.remove(&key);
        // Somebody else may be waiting for what this one announced.
        self.states.values_mut().for_each(|state| state.touched |= state.asked);
    }

    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut PeerState> {
        self.states.get_mut(&key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    pub(crate) fn touch_all(&mut self) {
        self.states.values_mut().for_each(|state| state.touched = true);
    }

    /// Forgets those whose connections have gone without saying so.
    pub(crate) fn prune(&mut self) {
        self.states.retain(|_, state| state.peer.sink.is_open());
    }

    /// The log takes writes again: whoever was refused is asked for its edits.
    pub(crate) fn ask_refused_again(&mut self) {
        for state in self.states.values_mut().filter(|state| state.refused) {
            state.refused = false;
            state.touched = true;
            state.awaits_whole = false;
            state.unanswered.0 = 0;
            state.streams = false;
            // The peer believes it has sent its edits. It sends them again only when told that they were lost.
            state.sync = sync::State {
                their_capabilities: state.sync.their_capabilities.take(),
                needs_reset: true,
                ..Default::default()
            };
        }
    }

    /// Ends a peer that sent what no correct client sends.
    pub(crate) fn malformed(&mut self, key: SessionKey, reason: String) {
        if let Some(state) = self.states.remove(&key) {
            let document = self.document.clone();
            state.peer.sink.deliver(PeerFrame::Malformed { document, reason });
        }
    }

    /// Tells a peer that its edits are not saved.
    pub(crate) fn refuse(&mut self, key: SessionKey, reason: String) {
        if let Some(state) = self.states.get_mut(&key) {
            state.refused = true;
            let document = self.document.clone();
            state.peer.sink.deliver(PeerFrame::Refused { document, reason });
        }
    }

    /// Ends all peers: they have to open the document anew.
    pub(crate) fn lose(&mut self, reason: &str) {
        for state in std::mem::take(&mut self.states).into_values() {
            let (document, reason) = (self.document.clone(), reason.to_owned());
            state.peer.sink.deliver(PeerFrame::Lost { document, reason });
        }
    }

    /// Says to everybody what there is to say. Every message describes `content`, which holds committed changes only.
    /// Returns when to come again for peers that have not answered yet.
    pub(crate) fn flush(&mut self, content: &mut Content, now: Instant) -> Option<Instant> {
        let mut again: Option<Instant> = None;
        let present = !matches!(content, Content::Absent);
        let awaited = !present && self.somebody_has_it();
        let mut said = Said::default();
        for state in self.states.values_mut().filter(|state| state.touched) {
            if !present && state.asked {
                // An upload is under way: it is worth waiting for.
                if !awaited {
                    state.asked = false;
                    state.touched = false;
                    let document = self.document.clone();
                    state.peer.sink.deliver(PeerFrame::Unavailable { document });
                }
                continue;
            }
            let (unanswered, last) = state.unanswered;
            let due = last + GATHER;
            if unanswered >= UNANSWERED && due > now {
                again = Some(again.map_or(due, |again| again.min(due)));
                continue;
            }
            state.touched = false;
            if !present && state.sync.their_heads.as_ref().is_none_or(Vec::is_empty) && state.sync.have_responded {
                continue;
            }
            if state.awaits_whole {
                continue;
            }
            if let Some(Outgoing { message, carries }) = next_message(state, content, &mut said) {
                if carries {
                    state.unanswered = (unanswered + 1, now);
                }
                let document = self.document.clone();
                state.peer.sink.deliver(PeerFrame::Sync { document, message });
            }
        }
        again
    }

    /// Whether somebody is to be told something who has nothing, and so is sent the whole document.
    pub(crate) fn somebody_wants_whole(&self) -> bool {
        self.states
            .values()
            .any(|state| state.touched && wants_whole(&state.sync))
    }

    /// Whether a peer announced changes of a document that is not there yet.
    fn somebody_has_it(&self) -> bool {
        self.states
            .values()
            .any(|state| state.sync.their_heads.as_ref().is_some_and(|heads| !heads.is_empty()))
    }

    /// Notes what a peer's storage holds, and tells those who want to know.
    pub(crate) fn learn_heads(&mut self, key: SessionKey, now_ms: u64) {
        let Some(state) = self.states.get(&key) else { return };
        let (Some(storage), Some(heads)) = (state.peer.storage.clone(), &state.sync.their_heads) else {
            return;
        };
        let heads: Arc<[ChangeHash]> = heads.iter().map(to_schema).collect();
        if self.remote.get(&storage).is_some_and(|(known, _)| *known == heads) {
            return;
        }
        self.remote.insert(storage.clone(), (heads.clone(), now_ms));
        self.tell_heads(&storage, &heads, now_ms);
    }

    /// The document has new committed heads: that is what the server's own storage holds.
    pub(crate) fn learn_own_heads(&mut self, heads: &[automerge::ChangeHash], now_ms: u64) {
        let heads: Arc<[ChangeHash]> = heads.iter().map(to_schema).collect();
        let server = self.server.clone();
        self.remote.insert(server.clone(), (heads.clone(), now_ms));
        self.tell_heads(&server, &heads, now_ms);
    }

    fn tell_heads(&self, storage: &StorageId, heads: &Arc<[ChangeHash]>, timestamp_ms: u64) {
        for state in self.states.values() {
            if state.peer.storage.as_ref() != Some(storage) && state.peer.sink.wants_heads_of(storage) {
                self.send_heads(state, storage, heads, timestamp_ms);
            }
        }
    }

    /// Tells a peer what is known of these storages.
    pub(crate) fn announce(&self, key: SessionKey, storages: &[StorageId]) {
        let Some(state) = self.states.get(&key) else { return };
        for storage in storages {
            if let Some((heads, timestamp_ms)) = self.remote.get(storage) {
                self.send_heads(state, storage, heads, *timestamp_ms);
            }
        }
    }

    fn send_heads(&self, state: &PeerState, storage: &StorageId, heads: &Arc<[ChangeHash]>, timestamp_ms: u64) {
        state.peer.sink.deliver(PeerFrame::RemoteHeads {
            document: self.document.clone(),
            storage: storage.clone(),
            heads: heads.clone(),
            timestamp_ms,
        });
    }
}

impl PeerState {
    /// Takes in a message that carries no changes from a peer that has everything, or nothing, and asks for nothing in
    /// particular; `Err` gives it back when automerge has to look at it.
    pub(crate) fn receive_in_step(&mut self, content: &Content, message: sync::Message) -> Result<(), sync::Message> {
        let heads = content.heads();
        let same = message.heads == heads;
        let nothing = message.heads.is_empty();
        // A summary that refers to other heads can only be judged with the document at hand.
        let known = matches!(content, Content::Live(_)) && same
            || message
                .have
                .iter()
                .all(|have| have.last_sync.is_empty() || have.last_sync == heads);
        if !(same || nothing) || !message.need.is_empty() || !known {
            return Err(message);
        }
        let Some(flags) = message.flags.filter(|flags| !flags.contains(MessageFlags::SYNC_RESET)) else {
            return Err(message);
        };
        // A peer that has everything already and answers is in step: what automerge does with such a message.
        self.sync.in_flight = false;
        self.sync.peer_read_only = flags.contains(MessageFlags::READ_ONLY);
        let mut capabilities = vec![Capability::MessageV2];
        if flags.contains(MessageFlags::SUPPORTS_SYNC_RESET) {
            capabilities.push(Capability::SyncReset);
        }
        self.sync.their_capabilities = Some(capabilities);
        self.sync.shared_heads.clone_from(&message.heads);
        if nothing {
            self.sync.last_sent_heads.clear();
            self.sync.have_responded = false;
        }
        self.sync.sent_hashes.clear();
        self.sync.their_have = Some(message.have);
        self.sync.their_heads = Some(message.heads);
        self.sync.their_need = Some(message.need);
        self.answered();
        Ok(())
    }

    /// Whether nothing that the peer sends is taken. When that ends it is asked for what was not.
    pub(crate) fn set_read_only(&mut self, read_only: bool) {
        if self.sync.read_only && !read_only {
            self.awaits_whole = false;
            self.unanswered.0 = 0;
            self.streams = false;
        }
        self.sync.set_read_only(read_only);
    }

    /// The peer has answered whatever it was sent.
    pub(crate) fn answered(&mut self) {
        self.awaits_whole = false;
        self.unanswered.0 = 0;
        self.touched = true;
    }
}
