//! What a peer is told next: one message of automerge's sync protocol, made without automerge where that says the same for less.

use automerge::sync::{self, Capability, Have, MessageFlags, MessageVersion, SyncDoc};
use bytes::Bytes;

use super::PeerState;
use crate::{
    contained,
    content::Content,
    recent::{Recent, Since},
};

/// An encoded message, and whether there are changes in it, which every peer answers.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) message: Bytes,
    pub(super) carries: bool,
}

impl Outgoing {
    fn new(message: sync::Message) -> Self {
        Self {
            carries: !message.changes.is_empty(),
            message: Bytes::from(message.encode()),
        }
    }
}

/// What was said at this point of the document already: peers that stand where others stood are told the same bytes.
#[derive(Default)]
pub(super) struct Said {
    steps: Vec<Step>,
    made: Vec<Made>,
}

/// What peers lack that were sent everything up to these heads.
struct Step {
    from: Vec<automerge::ChangeHash>,
    hashes: Vec<automerge::ChangeHash>,
    message: Outgoing,
}

/// A message that automerge made: from which state, and what the state was afterwards.
struct Made {
    before: sync::State,
    after: sync::State,
    message: Option<Outgoing>,
}

/// The next message for a peer, if there is anything to say to it; `said` has what was said to others at this point.
pub(super) fn next_message(state: &mut PeerState, content: &mut Content, said: &mut Said) -> Option<Outgoing> {
    if wants_whole(&state.sync)
        && let Some(bytes) = content.whole()
    {
        state.awaits_whole = true;
        return Some(whole_message(&mut state.sync, content.heads(), &bytes));
    }
    match content {
        Content::Cold(cold) => heads_message(&mut state.sync, &cold.heads),
        Content::Live(live) => {
            let heads = live.doc.get_heads();
            if is_level(&state.sync, &heads) {
                return heads_message(&mut state.sync, &heads);
            }
            let step = in_step(state, &live.recent).and_then(|from| said.step(from, &heads, &live.recent));
            state.streams = step.is_some();
            if let Some(step) = step {
                return Some(take_step(&mut state.sync, heads, step));
            }
            if let Some(same) = said.made.iter().find(|made| made.before == state.sync) {
                state.sync = same.after.clone();
                return same.message.clone();
            }
            let before = state.sync.clone();
            // Automerge has panicked here on inconsistent states; such a peer starts over when it reconnects.
            let message = contained(|| live.over_all(|doc| doc.generate_sync_message(&mut state.sync)))
                .ok()
                .flatten();
            let message = message.map(Outgoing::new);
            said.made.push(Made {
                before,
                after: state.sync.clone(),
                message: message.clone(),
            });
            message
        }
        Content::Absent => {
            let empty = automerge::Automerge::new();
            empty.generate_sync_message(&mut state.sync).map(Outgoing::new)
        }
        Content::Away => None,
    }
}

/// Whether the peer has nothing and can take a whole document.
pub(super) fn wants_whole(state: &sync::State) -> bool {
    state.their_heads.as_ref().is_some_and(Vec::is_empty)
        && !state.peer_read_only
        && state
            .their_capabilities
            .as_ref()
            .is_some_and(|capabilities| capabilities.contains(&Capability::MessageV2))
}

/// A sync message with a whole document in it, for a peer that has nothing. Automerge would make the same, but from a
/// materialized document, and with a filter over all of its changes; here the peer is told instead that the last sync
/// was at these heads, which is true as soon as it has applied the message.
fn whole_message(state: &mut sync::State, heads: Vec<automerge::ChangeHash>, document: &Bytes) -> Outgoing {
    state.have_responded = true;
    state.in_flight = true;
    state.last_sent_heads.clone_from(&heads);
    let message = sync::Message {
        need: Vec::new(),
        have: vec![summary(heads.clone())],
        heads,
        changes: document.to_vec().into(),
        flags: Some(flags()),
        version: MessageVersion::V2,
    };
    Outgoing::new(message)
}

/// Whether the peer has exactly what the document has, and asks for nothing.
fn is_level(state: &sync::State, heads: &[automerge::ChangeHash]) -> bool {
    state.their_heads.as_deref() == Some(heads) && state.their_need.as_ref().is_some_and(Vec::is_empty)
}

/// Up to where a peer has been sent everything, if it asks for nothing else: either it has answered that, or it has
/// answered an earlier one of the steps that lead there.
fn in_step<'a>(state: &'a PeerState, recent: &Recent) -> Option<&'a [automerge::ChangeHash]> {
    let PeerState { sync, streams, .. } = state;
    let theirs = sync.their_heads.as_deref()?;
    let sent = sync.last_sent_heads.as_slice();
    let capabilities = sync.their_capabilities.as_ref()?;
    let plain = !sync.peer_read_only && !sync.needs_reset && sync.their_need.as_ref()?.is_empty();
    let answered = sent == theirs && sync.shared_heads == theirs;
    let on_the_way = *streams && recent.passed(theirs);
    (sync.have_responded && plain && (answered || on_the_way) && capabilities.contains(&Capability::MessageV2))
        .then_some(sent)
}

impl Said {
    /// The changes that came since `from`, as they came; `None` when they are not at hand.
    fn step(
        &mut self,
        from: &[automerge::ChangeHash],
        heads: &[automerge::ChangeHash],
        recent: &Recent,
    ) -> Option<&Step> {
        let known = self.steps.iter().position(|step| step.from == from);
        let place = match known {
            Some(place) => place,
            None => {
                let Since { hashes, bytes } = recent.since(from, heads)?;
                let message = Outgoing::new(sync::Message {
                    need: Vec::new(),
                    have: vec![summary(heads.to_vec())],
                    heads: heads.to_vec(),
                    changes: bytes.into(),
                    flags: Some(flags()),
                    version: MessageVersion::V2,
                });
                self.steps.push(Step {
                    from: from.to_vec(),
                    hashes,
                    message,
                });
                self.steps.len() - 1
            }
        };
        self.steps.get(place)
    }
}

/// The peer is sent a step. That the last sync was at the new heads is true as soon as it has applied it.
fn take_step(state: &mut sync::State, heads: Vec<automerge::ChangeHash>, step: &Step) -> Outgoing {
    state.in_flight = true;
    state.last_sent_heads = heads;
    state.sent_hashes.extend(&step.hashes);
    step.message.clone()
}

/// What a peer is told that lacks nothing, if it was not told these heads yet: what automerge would say, too.
fn heads_message(state: &mut sync::State, heads: &[automerge::ChangeHash]) -> Option<Outgoing> {
    if state.have_responded && state.last_sent_heads == heads {
        return None;
    }
    state.have_responded = true;
    state.in_flight = true;
    state.last_sent_heads = heads.to_vec();
    let mut flags = flags();
    let mut named = heads.to_vec();
    if std::mem::take(&mut state.needs_reset) {
        // As automerge does: the flag for those who know it, and "I have nothing" for the others.
        let known = state.their_capabilities.as_ref();
        if known.is_some_and(|capabilities| capabilities.contains(&Capability::SyncReset)) {
            flags.set(MessageFlags::SYNC_RESET);
        } else {
            named.clear();
        }
    }
    let message = sync::Message {
        heads: named,
        need: Vec::new(),
        have: vec![summary(heads.to_vec())],
        changes: sync::ChunkList::empty(),
        flags: Some(flags),
        version: MessageVersion::V1,
    };
    Some(Outgoing::new(message))
}

fn summary(last_sync: Vec<automerge::ChangeHash>) -> Have {
    Have {
        last_sync,
        bloom: Default::default(),
    }
}

fn flags() -> MessageFlags {
    let mut flags = MessageFlags::new();
    flags.set(MessageFlags::SUPPORTS_SYNC_RESET);
    flags
}
