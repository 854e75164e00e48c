//! What other nodes say of a document.
//!
//! Invariants: a node's messages take effect in their order, whatever order they come in; a session belongs to the node
//! that spoke of it last, except that one that is present here is present here.

use std::collections::BTreeSet;

use aetherflow_schema::{
    id::{DocumentId, SessionId},
    presence::{
        PresenceChange,
        bus::{BusBody, BusMember, BusMessage, BusPresent, ROSTER},
    },
    sessions::NodeId,
};
use bytes::Bytes;

use super::{
    room::{Member, Origin, REMOTE_MEMBERS, Room},
    shard::{Command, Shard, Timer, say},
};

impl Shard {
    /// Another node spoke; `node` is this one.
    pub(super) fn on_message(&mut self, now_ms: u64, node: &NodeId, message: BusMessage, commands: &mut Vec<Command>) {
        let Some(room) = self.rooms.get_mut(&message.document) else {
            return;
        };
        let heard = room.heard.get(&message.node);
        if heard.is_some_and(|heard| *heard >= message.order) {
            return;
        }
        room.heard.insert(message.node.clone(), message.order);
        let origin = Origin::There(message.node.clone(), message.order.0);
        let lease_ms = now_ms + u64::from(message.lease_ms);
        let document = message.document;
        match message.body {
            BusBody::Present(present) => self.on_present(now_ms, &document, origin, present, lease_ms),
            BusBody::Absent(session) => {
                if self.belongs(&document, session, &message.node) {
                    self.remove(&document, session);
                }
            }
            BusBody::Roster(roster) => self.on_roster(now_ms, &document, &origin, &roster, lease_ms, commands),
            BusBody::Ask { node: asked, sessions } => {
                if asked.is_none_or(|asked| asked == *node) {
                    self.answer(now_ms, &document, &sessions, commands);
                }
            }
        }
    }

    fn on_present(&mut self, now_ms: u64, document: &DocumentId, origin: Origin, present: BusPresent, lease_ms: u64) {
        let Some(room) = self.rooms.get_mut(document) else {
            return;
        };
        let session = present.session;
        let known = room.members.get(&session);
        if known.is_some_and(Member::is_here) || (known.is_none() && room.members.len() - room.own >= REMOTE_MEMBERS) {
            return;
        }
        let until_ms = now_ms + u64::from(present.ttl_ms);
        let deadline_ms = until_ms.min(lease_ms);
        if let Some(known) = room.members.get_mut(&session)
            && (&known.origin, known.revision) == (&origin, present.revision)
        {
            // An answer to somebody else.
            self.timers.postpone(known.timer, deadline_ms);
            return;
        }
        let change = match room.members.remove(&session) {
            Some(before) => {
                self.timers.cancel(before.timer);
                PresenceChange::Updated
            }
            None => {
                self.members += 1;
                PresenceChange::Joined
            }
        };
        let member = Member {
            origin,
            principal: present.principal,
            state: Bytes::copy_from_slice(&present.state),
            revision: present.revision,
            until_ms,
            timer: self.timers.set(deadline_ms, Timer::Member(document.clone(), session)),
        };
        room.tell(session, || Room::event(document, (session, &member), change, now_ms));
        room.members.insert(session, member);
    }

    /// Those who are in the roster stay, those who are not have left, and what is not known is asked for.
    fn on_roster(
        &mut self,
        now_ms: u64,
        document: &DocumentId,
        origin: &Origin,
        roster: &[BusMember],
        lease_ms: u64,
        commands: &mut Vec<Command>,
    ) {
        let (Some(room), Origin::There(node, _)) = (self.rooms.get_mut(document), origin) else {
            return;
        };
        let mut unknown = Vec::new();
        for BusMember {
            session,
            revision,
            ttl_ms,
        } in roster
        {
            match room.members.get_mut(session) {
                Some(member) if (&member.origin, member.revision) == (origin, *revision) => {
                    member.until_ms = now_ms + u64::from(*ttl_ms);
                    self.timers.postpone(member.timer, member.until_ms.min(lease_ms));
                }
                Some(member) if member.is_here() => {}
                _ => unknown.push(*session),
            }
        }
        let named: BTreeSet<SessionId> = roster.iter().map(|member| member.session).collect();
        // A roster that is full does not name everybody.
        let complete = roster.len() < ROSTER;
        let left: Vec<SessionId> = room
            .members
            .iter()
            .filter(|(session, member)| match &member.origin {
                Origin::There(there, _) => complete && there == node && !named.contains(session),
                Origin::Here(_) => false,
            })
            .map(|(session, _)| *session)
            .collect();
        for session in left {
            self.remove(document, session);
        }
        if !unknown.is_empty() {
            let ask = BusBody::Ask {
                node: Some(node.clone()),
                sessions: unknown,
            };
            commands.push(Command::Say(document.clone(), ask));
        }
    }

    /// Says what is known of these sessions, or of all, as far as they are here.
    fn answer(&mut self, now_ms: u64, document: &DocumentId, sessions: &[SessionId], commands: &mut Vec<Command>) {
        let Some(room) = self.rooms.get(document) else {
            return;
        };
        let asked: BTreeSet<&SessionId> = sessions.iter().collect();
        let answers = room
            .members
            .iter()
            .filter(|(session, member)| member.is_here() && (asked.is_empty() || asked.contains(session)))
            .map(|(session, member)| Command::Say(document.clone(), say(now_ms, *session, member)));
        commands.extend(answers);
    }

    fn belongs(&self, document: &DocumentId, session: SessionId, node: &NodeId) -> bool {
        let member = self.rooms.get(document).and_then(|room| room.members.get(&session));
        member.is_some_and(|member| matches!(&member.origin, Origin::There(there, _) if there == node))
    }
}
