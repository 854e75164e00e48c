//! The states of a session, and which may follow which.

use std::fmt;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionState {
    /// There is a connection, and it is not known yet what it wants.
    Connecting,
    /// There is a client, and it was heard of lately.
    Active,
    /// There is a client, of which nothing was heard for a while.
    Idle,
    /// The connection is gone. The client may come back and go on.
    Disconnecting,
    /// It is over. Closed sessions are not kept; only events show this state.
    Closed,
}

/// A session cannot go from one of these states to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session that is {from} does not become {to}")]
pub struct IllegalTransition {
    /// Where it stands.
    pub from: SessionState,
    /// Where it was to go.
    pub to: SessionState,
}

impl SessionState {
    /// All of them, in the order of a session's life.
    pub const ALL: [Self; 5] = [
        Self::Connecting,
        Self::Active,
        Self::Idle,
        Self::Disconnecting,
        Self::Closed,
    ];

    /// The state to go to, if that may follow.
    ///
    /// # Errors
    /// When it may not. Staying where one is is no transition, and not legal either.
    pub fn to(self, to: Self) -> Result<Self, IllegalTransition> {
        use SessionState::{Active, Closed, Connecting, Disconnecting, Idle};
        let legal = match (self, to) {
            // The client was introduced, or left before that: then there is nothing to come back to.
            (Connecting, Active | Closed) => true,
            // Nothing is heard; the connection is gone; it is ended.
            (Active, Idle | Disconnecting | Closed) => true,
            // It is heard of again; or as before.
            (Idle, Active | Disconnecting | Closed) => true,
            // It came back, or did not.
            (Disconnecting, Active | Closed) => true,
            (Connecting, Connecting | Idle | Disconnecting)
            | (Active, Connecting | Active)
            | (Idle, Connecting | Idle)
            | (Disconnecting, Connecting | Idle | Disconnecting)
            | (Closed, _) => false,
        };
        if legal {
            Ok(to)
        } else {
            Err(IllegalTransition { from: self, to })
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Disconnecting => "disconnecting",
            Self::Closed => "closed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_these_transitions_are_legal() {
        // From each state, in the order of `ALL`: to connecting, active, idle, disconnecting, closed.
        let table = [
            [false, true, false, false, true],
            [false, false, true, true, true],
            [false, true, false, true, true],
            [false, true, false, false, true],
            [false, false, false, false, false],
        ];
        for (from, row) in SessionState::ALL.into_iter().zip(table) {
            for (to, legal) in SessionState::ALL.into_iter().zip(row) {
                let expected = if legal {
                    Ok(to)
                } else {
                    Err(IllegalTransition { from, to })
                };
                assert_eq!(from.to(to), expected);
            }
        }
    }
}
