//! One document, as the session sees it.
//!
//! Owns: how far it is followed, what of it is not acknowledged, its lock, and who is present.
//! Invariants: entries are handed on once each and in order; after the cursor comes exactly what the server sends for it,
//! which is why nothing is taken from a subscription that began in a way that cannot be told from an earlier one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset, SessionId},
    limits,
    native::{Presence, RequestId, Start, wire},
};
use bytes::Bytes;

use super::{
    io::{Refusal, Seen},
    locks::Locks,
    queue::Queue,
    search::Search,
};

/// Others on one document that are remembered.
const OTHERS: usize = 4096;

/// How long the server may take to tell who is present.
const DOUBT: Duration = Duration::from_secs(5);

/// How far a document is followed on this connection.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Follow {
    /// Not at all.
    #[default]
    Off,
    /// To be subscribed to.
    Due,
    /// To be subscribed to then.
    Held(Instant),
    /// To be subscribed to after the replica's heads, once they are known.
    AskingHeads,
    /// To be subscribed to after these heads.
    DueAfter(Vec<ChangeHash>),
    /// Nothing counts until there is a snapshot.
    AwaitingSnapshot(RequestId),
    /// Entries come.
    On(RequestId),
    /// The server does not want it.
    Refused(Refusal),
}

impl Follow {
    /// The server has taken the subscription, or is about to.
    fn is_taken(&self) -> bool {
        matches!(self, Self::AwaitingSnapshot(_) | Self::On(_))
    }
}

/// What this client shows of itself.
#[derive(Debug, Clone)]
struct Mine {
    state: Bytes,
    ttl: Duration,
    /// When to say it next.
    due: Instant,
}

#[derive(Debug)]
struct Other {
    expires: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The application has it open.
    pub(super) open: bool,
    /// Everything up to here is in the replica.
    pub(super) cursor: Option<Offset>,
    pub(super) follow: Follow,
    /// The server still sends entries that nobody wants.
    pub(super) unsubscribe_due: bool,
    /// The application has heard that the server refuses it.
    pub(super) refusal_told: bool,
    /// Failures to subscribe since the last success.
    pub(super) subscribe_failures: u32,
    pub(super) queue: Queue,
    pub(super) locks: Locks,
    pub(super) search: Search,
    /// Nothing is submitted before.
    pub(super) hold: Option<Instant>,
    /// Failures to submit since the last success.
    pub(super) submit_failures: u32,
    mine: Option<Mine>,
    /// The server knows of `mine`, or of what it was.
    announced: bool,
    others: BTreeMap<SessionId, Other>,
    /// When the session will look at it again by itself.
    pub(super) wake: Option<Instant>,
}

impl Document {
    /// A new connection, or none: nothing of the last one counts.
    pub(super) fn restart(&mut self) {
        self.queue.send_all_again();
        self.locks.restart();
        self.search = Search::default();
        self.unsubscribe_due = false;
        self.announced = false;
        self.follow = match self.follow {
            Follow::Held(until) if self.open => Follow::Held(until),
            _ if self.open => Follow::Due,
            _ => Follow::Off,
        };
    }

    /// The application has it open, and the server tells of it, or is about to.
    pub(super) fn is_followed(&self) -> bool {
        self.open && !matches!(self.follow, Follow::Off | Follow::Refused(_))
    }

    /// Nothing is left to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        let must_withdraw = self.announced && self.mine.is_none();
        let is_asked = self.unsubscribe_due || must_withdraw || !self.locks.is_empty();
        !(self.open || self.queue.len() > 0 || is_asked)
    }

    /// When something is to be done by itself, after now: what is due already waits for its turn to be sent.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let subscribe = match self.follow {
            Follow::Held(until) => Some(until),
            _ => None,
        };
        let present = self.mine.as_ref().filter(|_| self.announced).map(|mine| mine.due);
        let others = self.others.values().filter_map(|other| other.expires);
        let all = others.chain(subscribe).chain(self.hold).chain(present);
        let all = all.chain(self.locks.deadlines()).chain(self.search.hold);
        all.filter(|deadline| *deadline > now).min()
    }

    /// How to subscribe, if it is time. `again`: it was subscribed to before on this connection, so that entries may be
    /// under way for which there is no cursor any more.
    pub(super) fn start(&mut self, now: Instant, again: bool) -> Option<Start> {
        match &mut self.follow {
            Follow::Held(until) if *until > now => None,
            Follow::Due | Follow::Held(_) => match self.cursor {
                None => Some(Start::Snapshot),
                // Or it is to be found out whether the server has what it refuses.
                Some(_) if again || self.queue.has_doubts() => {
                    self.follow = Follow::AskingHeads;
                    None
                }
                Some(cursor) => Some(Start::After(cursor)),
            },
            Follow::DueAfter(heads) if heads.is_empty() => Some(Start::Snapshot),
            Follow::DueAfter(heads) => {
                // With fewer the server sends more.
                heads.truncate(limits::SYNC_HASHES);
                Some(Start::AfterHeads(std::mem::take(heads)))
            }
            _ => None,
        }
    }

    /// Picks the entries that are new; `None` when nothing of this subscription counts.
    pub(super) fn take_new(&mut self, entries: Vec<wire::Entry>) -> Option<Vec<wire::Entry>> {
        let Follow::On(_) = self.follow else {
            return None;
        };
        let mut cursor = self.cursor.unwrap_or_default();
        let new = entries.into_iter().filter(|entry| {
            let new = Offset(entry.offset) > cursor;
            cursor = cursor.max(Offset(entry.offset));
            new
        });
        let new = new.collect();
        self.cursor = Some(cursor);
        Some(new)
    }

    /// A snapshot came; `false` when nobody wants it.
    pub(super) fn take_snapshot(&mut self, offset: Offset) -> bool {
        match self.follow {
            Follow::AwaitingSnapshot(request) => {
                self.cursor = Some(offset);
                self.follow = Follow::On(request);
                true
            }
            Follow::On(_) => {
                self.cursor = self.cursor.max(Some(offset));
                true
            }
            _ => false,
        }
    }

    /// Shows something to others, or nothing.
    pub(super) fn show(&mut self, now: Instant, mine: Option<(Bytes, Duration)>) {
        self.mine = mine.map(|(state, ttl)| Mine { state, ttl, due: now });
    }

    /// What to say about this client's presence, if it is time.
    pub(super) fn presence(&mut self, now: Instant, document: &DocumentId) -> Option<Presence> {
        let document = document.clone();
        match &mut self.mine {
            // A server that takes no more subscriptions takes no more presence either, and would end the connection for it.
            Some(mine) if self.follow.is_taken() && (mine.due <= now || !self.announced) => {
                mine.due = now + mine.ttl / 2;
                self.announced = true;
                Some(Presence {
                    document,
                    state: mine.state.clone(),
                    ttl_ms: mine.ttl.as_millis().try_into().unwrap_or(u32::MAX),
                })
            }
            None if self.announced => {
                self.announced = false;
                Some(Presence {
                    document,
                    state: Bytes::new(),
                    ttl_ms: 0,
                })
            }
            _ => None,
        }
    }

    /// Somebody's presence; `None` when it is not to be told.
    pub(super) fn see(&mut self, now: Instant, session: SessionId, event: wire::PresenceEvent) -> Option<Option<Seen>> {
        use wire::PresenceChange::{Joined, Left, Unspecified, Updated};
        match event.change() {
            Joined | Updated if self.others.len() < OTHERS || self.others.contains_key(&session) => {
                let ttl = Duration::from_millis(event.ttl_ms.into());
                let expires = (!ttl.is_zero()).then(|| now + ttl);
                self.others.insert(session, Other { expires });
                let wire::PresenceEvent { principal, state, .. } = event;
                Some(Some(Seen { principal, state }))
            }
            Left => self.others.remove(&session).map(|_| None),
            Joined | Updated | Unspecified => None,
        }
    }

    /// A new subscription begins, which tells of everybody who is present: who is not among them has left unheard.
    pub(super) fn doubt_others(&mut self, now: Instant) {
        for other in self.others.values_mut() {
            let until = now + DOUBT;
            other.expires = Some(other.expires.map_or(until, |expires| expires.min(until)));
        }
    }

    /// Those of whom nothing was heard for too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<SessionId> {
        let gone = |other: &Other| other.expires.is_some_and(|expires| expires <= now);
        let expired: Vec<_> = self
            .others
            .iter()
            .filter(|(_, other)| gone(other))
            .map(|(session, _)| *session)
            .collect();
        for session in &expired {
            self.others.remove(session);
        }
        expired
    }

    /// Forgets what only matters to who looks at it.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.mine = None;
        self.others.clear();
        self.unsubscribe_due |= matches!(self.follow, Follow::On(_) | Follow::AwaitingSnapshot(_));
        self.follow = Follow::Off;
    }
}
