//! Some of the documents, and their timers.
//!
//! Inputs: what this node's connections say, what other nodes say, and the time. Effects: watchers hear, in order; what is
//! to be said to other nodes, and whether they are to be heard, is returned.
//! Invariants: a member has a timer, which takes it away when nobody else does; a document has a room exactly while this
//! node has a watcher or a member there, and members of other nodes are known exactly there.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use aetherflow_schema::{
    access::{Caller, Identity},
    id::{ConnectionId, DocumentId, SessionId},
    presence::{
        PresenceChange, PresenceEvent, PresenceWatcher, Present,
        bus::{BusBody, BusMember, BusPresent, ROSTER},
    },
};
use bytes::Bytes;

use super::room::{Member, Origin, Room};
use crate::core::wheel::Wheel;

/// What is to be done about other nodes.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    /// Hear what they say of the document.
    Subscribe(DocumentId),
    /// Hear it no longer.
    Unsubscribe(DocumentId),
    /// Tell them.
    Say(DocumentId, BusBody),
}

/// What is timed.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    Member(DocumentId, SessionId),
    Roster(DocumentId),
}

/// See the [module](self).
pub(super) struct Shard {
    pub(super) rooms: HashMap<DocumentId, Room>,
    pub(super) timers: Wheel<Timer>,
    /// Of the newest state of this node's members.
    revision: u64,
    /// How often rosters are said.
    roster_ms: u64,
    pub(super) members: usize,
}

impl Shard {
    /// `lease_ms` is for how long others believe a roster.
    pub(super) fn new(now_ms: u64, lease_ms: u32) -> Self {
        Self {
            rooms: HashMap::new(),
            timers: Wheel::new(now_ms),
            revision: 0,
            roster_ms: u64::from(lease_ms / 3).max(1),
            members: 0,
        }
    }

    pub(super) fn watch(
        &mut self,
        now_ms: u64,
        document: &DocumentId,
        watcher: Arc<dyn PresenceWatcher>,
        commands: &mut Vec<Command>,
    ) {
        let room = Self::room(&mut self.rooms, document, commands);
        let connection = watcher.connection();
        for (session, member) in &room.members {
            if *session != watcher.session() {
                watcher.hear(&Room::event(
                    document,
                    (*session, member),
                    PresenceChange::Joined,
                    now_ms,
                ));
            }
        }
        room.watchers.insert(connection, watcher);
    }

    pub(super) fn unwatch(&mut self, document: &DocumentId, connection: ConnectionId, commands: &mut Vec<Command>) {
        if let Some(room) = self.rooms.get_mut(document) {
            room.watchers.remove(&connection);
            self.tidy(document, commands);
        }
    }

    pub(super) fn present(&mut self, now_ms: u64, present: Present, commands: &mut Vec<Command>) {
        let Present {
            document,
            caller: Caller { identity, session },
            state,
            ttl,
        } = present;
        let until_ms = now_ms + u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.revision += 1;
        let revision = self.revision;
        let room = Self::room(&mut self.rooms, &document, commands);
        let before = room.members.remove(&session);
        let change = if before.is_some() {
            PresenceChange::Updated
        } else {
            PresenceChange::Joined
        };
        if let Some(before) = &before {
            self.timers.cancel(before.timer);
        }
        self.members += usize::from(before.is_none());
        room.own += usize::from(!before.is_some_and(|before| before.is_here()));
        if room.roster.is_none() {
            let timer = Timer::Roster(document.clone());
            room.roster = Some(self.timers.set(now_ms + self.roster_ms, timer));
        }
        let member = Member {
            principal: identity.principal.clone(),
            origin: Origin::Here(identity),
            // A frame may be much larger than the state that is a part of it.
            state: Bytes::copy_from_slice(&state),
            revision,
            until_ms,
            timer: self.timers.set(until_ms, Timer::Member(document.clone(), session)),
        };
        room.tell(session, || Room::event(&document, (session, &member), change, now_ms));
        commands.push(Command::Say(document, say(now_ms, session, &member)));
        room.members.insert(session, member);
    }

    /// Whether it was present on this node.
    pub(super) fn absent(&mut self, document: &DocumentId, session: SessionId, commands: &mut Vec<Command>) -> bool {
        let here = self.is_here(document, session);
        if here {
            self.remove(document, session);
            commands.push(Command::Say(document.clone(), BusBody::Absent(session)));
            self.tidy(document, commands);
        }
        here
    }

    /// A session of this node is present until then at the latest, unless it says so again.
    pub(super) fn limit(&mut self, until_ms: u64, document: &DocumentId, session: SessionId) {
        let member = self
            .rooms
            .get_mut(document)
            .and_then(|room| room.members.get_mut(&session));
        if let Some(member) = member
            && member.is_here()
            && member.until_ms > until_ms
        {
            self.timers.cancel(member.timer);
            member.until_ms = until_ms;
            member.timer = self.timers.set(until_ms, Timer::Member(document.clone(), session));
        }
    }

    /// Those of this node who are present on a document, or on all of them.
    pub(super) fn own(&self, document: Option<&DocumentId>) -> Vec<(DocumentId, SessionId, Arc<Identity>)> {
        let of = |(document, room): (&DocumentId, &Room)| {
            let members = room.members.iter();
            let own = members.filter_map(|(session, member)| match &member.origin {
                Origin::Here(identity) => Some((document.clone(), *session, identity.clone())),
                Origin::There(..) => None,
            });
            own.collect::<Vec<_>>()
        };
        match document {
            Some(document) => self.rooms.get_key_value(document).into_iter().flat_map(of).collect(),
            None => self.rooms.iter().flat_map(of).collect(),
        }
    }

    /// Whether a session is present on this node.
    pub(super) fn is_here(&self, document: &DocumentId, session: SessionId) -> bool {
        let member = self.rooms.get(document).and_then(|room| room.members.get(&session));
        member.is_some_and(Member::is_here)
    }

    pub(super) fn here(&self, now_ms: u64, document: &DocumentId) -> Vec<Arc<PresenceEvent>> {
        let members = self.rooms.get(document).into_iter().flat_map(|room| &room.members);
        members
            .map(|(session, member)| Room::event(document, (*session, member), PresenceChange::Joined, now_ms))
            .collect()
    }

    /// Does what is due, in so many steps at most. Sessions of this node that are gone are added to `gone`; `true` when more
    /// is due.
    pub(super) fn expire(
        &mut self,
        now_ms: u64,
        steps: usize,
        gone: &mut Vec<(SessionId, DocumentId)>,
        commands: &mut Vec<Command>,
    ) -> bool {
        let mut due = Vec::new();
        let more = self.timers.expire(now_ms, steps, &mut due);
        for timer in due {
            match timer {
                Timer::Member(document, session) => {
                    if self.is_here(&document, session) {
                        gone.push((session, document.clone()));
                        commands.push(Command::Say(document.clone(), BusBody::Absent(session)));
                    }
                    self.remove(&document, session);
                    self.tidy(&document, commands);
                }
                Timer::Roster(document) => self.roster(now_ms, document, commands),
            }
        }
        more
    }

    /// Says who is here.
    fn roster(&mut self, now_ms: u64, document: DocumentId, commands: &mut Vec<Command>) {
        let Some(room) = self.rooms.get_mut(&document) else {
            return;
        };
        room.roster = None;
        if room.own == 0 {
            return;
        }
        let timer = Timer::Roster(document.clone());
        room.roster = Some(self.timers.set(now_ms + self.roster_ms, timer));
        let members = room
            .members
            .iter()
            .filter(|(_, member)| member.is_here())
            .map(|(session, member)| BusMember {
                session: *session,
                revision: member.revision,
                ttl_ms: member.ttl_ms(now_ms).max(1),
            })
            .take(ROSTER)
            .collect();
        commands.push(Command::Say(document, BusBody::Roster(members)));
    }

    /// Takes a member out; those who watch are told.
    pub(super) fn remove(&mut self, document: &DocumentId, session: SessionId) {
        let Some(room) = self.rooms.get_mut(document) else {
            return;
        };
        if let Some(member) = room.members.remove(&session) {
            self.timers.cancel(member.timer);
            self.members -= 1;
            room.own -= usize::from(member.is_here());
            let who = (session, &member.principal);
            room.tell(session, || Arc::new(PresenceEvent::left(document, who)));
        }
    }

    /// The room of a document; a new one hears other nodes, and asks them who is there.
    fn room<'a>(
        rooms: &'a mut HashMap<DocumentId, Room>,
        document: &DocumentId,
        commands: &mut Vec<Command>,
    ) -> &'a mut Room {
        match rooms.entry(document.clone()) {
            Entry::Occupied(room) => room.into_mut(),
            Entry::Vacant(place) => {
                let all = BusBody::Ask {
                    node: None,
                    sessions: Vec::new(),
                };
                commands.push(Command::Subscribe(document.clone()));
                commands.push(Command::Say(document.clone(), all));
                place.insert(Room::default())
            }
        }
    }

    /// Forgets a document that this node has nothing to do with any more.
    pub(super) fn tidy(&mut self, document: &DocumentId, commands: &mut Vec<Command>) {
        if let Entry::Occupied(room) = self.rooms.entry(document.clone())
            && !room.get().is_wanted()
        {
            let room = room.remove();
            let timers = room.members.values().map(|member| member.timer).chain(room.roster);
            for timer in timers {
                self.timers.cancel(timer);
            }
            self.members -= room.members.len();
            commands.push(Command::Unsubscribe(document.clone()));
        }
    }
}

/// What other nodes are told of a member.
pub(super) fn say(now_ms: u64, session: SessionId, member: &Member) -> BusBody {
    BusBody::Present(BusPresent {
        session,
        principal: member.principal.clone(),
        state: member.state.clone(),
        ttl_ms: member.ttl_ms(now_ms).max(1),
        revision: member.revision,
    })
}
