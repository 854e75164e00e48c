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
        if sequence <= self.current.sequence || self.spare.iter().any(|known| known.sequence == sequence) {
            return Ok(false);
        }
        if self.spare.len() >= SPARE {
            return Err(TransportError::new(
                CloseCode::LIMIT,
                "more connection ids than may be given",
            ));
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
            (self.announce.len(), 2 * SPARE + RETIRING_MAX),
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
