//! The ids of a connection: which one packets carry, which ones the client may still take, and how resets are recognised.
//!
//! Bounded: the client holds at most four unused ids, the server has given out at most those and the one in use, and a few that retire.

use std::{collections::VecDeque, time::Duration};

use crate::{
    error::{CloseCode, TransportError},
    time::Time,
    types::{ConnectionId, Side},
};

/// Unused ids that a client holds.
pub(super) const SPARE: usize = 4;
/// Retired ids that are still recognised.
const RETIRING_MAX: usize = 8;

/// Sequences that the peer has to hear of.
const ANNOUNCE_MAX: usize = 2 * SPARE + RETIRING_MAX;

/// An id and what comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    sequence: u64,
    id: ConnectionId,
    reset_token: Option<[u8; 16]>,
}

pub(super) struct Ids {
    side: Side,
    first: ConnectionId,
    current: Known,
    /// Client: to be taken. Server: given out, not used yet.
    spare: VecDeque<Known>,
    /// Server: ids that the endpoint was asked for and has not made yet.
    asked: usize,
    /// Server: the next sequence to give out.
    next_sequence: u64,
    /// Server: given ids that the peer has to hear of; client: sequences to retire.
    announce: VecDeque<u64>,
    /// Packets under way may still carry these.
    retiring: VecDeque<(Time, ConnectionId)>,
}

impl Ids {
    pub(super) fn new(side: Side, id: ConnectionId) -> Self {
        Self {
            side,
            first: id,
            current: Known {
                sequence: 0,
                id,
                reset_token: None,
            },
            spare: VecDeque::new(),
            asked: 0,
            next_sequence: 1,
            announce: VecDeque::new(),
            retiring: VecDeque::new(),
        }
    }

    /// The id of the first flight.
    pub(super) fn first(&self) -> ConnectionId {
        self.first
    }

    pub(super) fn current(&self) -> ConnectionId {
        self.current.id
    }

    /// The reset token of the first id, from the server's transport parameters.
    pub(super) fn set_reset_token(&mut self, token: Option<[u8; 16]>) {
        if self.current.sequence == 0 {
            self.current.reset_token = token;
        }
    }

    /// Whether a stateless reset with this token ends the connection. Compared without telling by its time how much was right.
    pub(super) fn is_reset(&self, token: &[u8]) -> bool {
        let ours = self
            .current
            .reset_token
            .iter()
            .chain(self.spare.iter().filter_map(|known| known.reset_token.as_ref()));
        self.side == Side::Client && ours.fold(false, |found, ours| found | equal(ours, token))
    }

    /// Server: how many more ids the endpoint is to be asked for, so that the peer has enough.
    pub(super) fn ask(&mut self) -> usize {
        let wanted = SPARE.saturating_sub(self.spare.len() + self.asked);
        self.asked += wanted;
        wanted
    }

    /// Server: the endpoint made these.
    pub(super) fn issue(&mut self, ids: Vec<(ConnectionId, [u8; 16])>) {
        self.asked = self.asked.saturating_sub(ids.len());
        for (id, reset_token) in ids {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            self.spare.push_back(Known {
                sequence,
                id,
                reset_token: Some(reset_token),
            });
            self.announce.push_back(sequence);
        }
    }

    /// Client: the server gave this one. `true` when it is new.
    pub(super) fn learn(
        &mut self,
        sequence: u64,
        id: ConnectionId,
        reset_token: [u8; 16],
    ) -> Result<bool, TransportError> {
        if self.side == Side::Server {
            return Err(TransportError::new(
                CloseCode::PROTOCOL,
                "a client gives no connection ids",
            ));
        }
        let is_known = |known: &Known| known.sequence == sequence;
        if is_known(&self.current) || self.spare.iter().any(is_known) || self.announce.contains(&sequence) {
            return Ok(false);
        }
        let too_many = || {
            Err(TransportError::new(
                CloseCode::LIMIT,
                "more connection ids than may be given",
            ))
        };
        if sequence < self.current.sequence {
            // A later one was taken meanwhile. It counts as given until the server hears that it will not be used; perhaps again.
            if self.announce.len() >= ANNOUNCE_MAX {
                return too_many();
            }
            self.announce.push_back(sequence);
            return Ok(false);
        }
        if self.spare.len() >= SPARE {
            return too_many();
        }
        self.spare.push_back(Known {
            sequence,
            id,
            reset_token: Some(reset_token),
        });
        Ok(true)
    }

    /// Client: takes an unused id, if there is one; the old one is retired, and forgotten after `linger`.
    pub(super) fn take_fresh(&mut self, now: Time, linger: Duration) {
        if let Some(fresh) = self.spare.pop_front() {
            self.announce.push_back(self.current.sequence);
            self.retiring.push_back((now + linger, self.current.id));
            self.current = fresh;
        }
    }

    /// Server: the newest packet carries this id, so answers do too.
    pub(super) fn follow(&mut self, id: ConnectionId) {
        if self.current.id == id || self.side == Side::Client {
            return;
        }
        if let Some(at) = self.spare.iter().position(|known| known.id == id)
            && let Some(known) = self.spare.remove(at)
        {
            // The old one stays known until the client retires it.
            self.spare.push_front(std::mem::replace(&mut self.current, known));
        }
    }

    /// Server: the client will not use it any more; it is forgotten after `linger`, when nothing under way carries it.
    pub(super) fn retire(&mut self, now: Time, linger: Duration, sequence: u64) -> Result<(), TransportError> {
        if self.side == Side::Client || sequence >= self.next_sequence {
            return Err(TransportError::new(
                CloseCode::PROTOCOL,
                "retires a connection id that was not given",
            ));
        }
        self.announce.retain(|announced| *announced != sequence);
        if let Some(at) = self.spare.iter().position(|known| known.sequence == sequence)
            && let Some(known) = self.spare.remove(at)
        {
            self.retiring.push_back((now + linger, known.id));
        }
        Ok(())
    }

    /// Unused, announced and retiring ids, each with its bound.
    pub(super) fn kept(&self) -> [(usize, usize); 3] {
        [
            (self.spare.len(), SPARE + 1),
            (self.announce.len(), ANNOUNCE_MAX),
            (self.retiring.len(), RETIRING_MAX + SPARE),
        ]
    }

    /// The next id whose time is up.
    pub(super) fn pop_retired(&mut self, now: Time) -> Option<ConnectionId> {
        // The oldest gives way when there are too many.
        let full = self.retiring.len() > RETIRING_MAX;
        self.retiring
            .pop_front_if(|(at, _)| full || *at <= now)
            .map(|(_, id)| id)
    }

    pub(super) fn next_retirement(&self) -> Option<Time> {
        let full = self.retiring.len() > RETIRING_MAX;
        self.retiring.front().map(|(at, _)| if full { Time::ZERO } else { *at })
    }

    /// A sequence that the peer has to hear of: given (server) or retired (client).
    pub(super) fn next_announcement(&mut self) -> Option<u64> {
        self.announce.pop_front()
    }

    pub(super) fn has_announcements(&self) -> bool {
        !self.announce.is_empty()
    }

    /// What an announced sequence stands for; `None` when it was retired in the meantime.
    pub(super) fn given(&self, sequence: u64) -> Option<(ConnectionId, [u8; 16])> {
        self.spare
            .iter()
            .chain([&self.current])
            .find(|known| known.sequence == sequence)
            .and_then(|known| Some((known.id, known.reset_token?)))
    }

    /// The packet with the announcement was lost.
    pub(super) fn announce_again(&mut self, sequence: u64) {
        self.announce.push_back(sequence);
    }
}

fn equal(ours: &[u8; 16], theirs: &[u8]) -> bool {
    theirs.len() == ours.len() && ours.iter().zip(theirs).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LINGER: Duration = Duration::from_millis(100);

    fn id(n: u64) -> ConnectionId {
        ConnectionId(Uuid::from_u128(n.into()))
    }

    /// A server that has given four ids, and a client that knows none of them.
    fn ends() -> (Ids, Ids) {
        let (client, mut server) = (Ids::new(Side::Client, id(0)), Ids::new(Side::Server, id(0)));
        give(&mut server);
        (client, server)
    }

    /// The server gives what it should; returns how many.
    fn give(server: &mut Ids) -> usize {
        let count = server.ask();
        let next = server.next_sequence;
        server.issue((next..next + count as u64).map(|n| (id(n), [n as u8; 16])).collect());
        count
    }

    #[test]
    fn an_id_that_comes_after_a_later_one_was_taken_is_given_back() {
        let (mut client, mut server) = ends();
        for sequence in [2, 3] {
            assert_eq!(client.learn(sequence, id(sequence), [0; 16]), Ok(true));
        }
        client.take_fresh(Time::ZERO, LINGER);
        server.follow(id(2));
        // Twice, for its packet may be lost and repeated.
        for _ in 0..2 {
            assert_eq!(client.learn(1, id(1), [0; 16]), Ok(false));
        }
        let retired: Vec<u64> = std::iter::from_fn(|| client.next_announcement()).collect();
        assert_eq!(retired, [0, 1]);
        assert_eq!(client.learn(2, id(2), [0; 16]), Ok(false), "the one in use stays");
        assert!(!client.has_announcements());
        for sequence in retired {
            server.retire(Time::ZERO, LINGER, sequence).unwrap();
        }
        assert_eq!(give(&mut server), 2, "the client has two left");
    }

    #[test]
    fn a_client_can_move_for_ever_however_late_its_ids_come() {
        let (mut client, mut server) = ends();
        let mut late = VecDeque::new();
        for moves in 0..50 {
            // One of those that are given comes only when it is of no use.
            late.extend(std::iter::from_fn(|| server.next_announcement()));
            let held = late.pop_front();
            while let Some(sequence) = late.pop_front() {
                client.learn(sequence, id(sequence), [0; 16]).unwrap();
            }
            let before = client.current();
            client.take_fresh(Time::ZERO, LINGER);
            assert_ne!(client.current(), before, "move {moves}");
            server.follow(client.current());
            if let Some(sequence) = held {
                client.learn(sequence, id(sequence), [0; 16]).unwrap();
            }
            while let Some(sequence) = client.next_announcement() {
                server.retire(Time::ZERO, LINGER, sequence).unwrap();
            }
            assert!(give(&mut server) > 0, "move {moves}");
        }
    }

    #[test]
    fn a_server_that_gives_old_ids_without_end_is_stopped() {
        let mut client = Ids::new(Side::Client, id(0));
        client.learn(1 << 40, id(1), [0; 16]).unwrap();
        client.take_fresh(Time::ZERO, LINGER);
        let refused = (1..1000).find_map(|sequence| client.learn(sequence, id(2), [0; 16]).err());
        assert_eq!(refused.unwrap().code, CloseCode::LIMIT);
        assert!(client.announce.len() <= ANNOUNCE_MAX);
    }
}
