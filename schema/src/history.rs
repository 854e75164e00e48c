//! What somebody wrote, when, and from where: questions to the log, and to the book of arrivals beside it.
//!
//! The log says of each entry who wrote it, in which session, and when it was committed; an index by principal answers for
//! all documents. Where a session was is not in the log, which is kept for ever: it is in [`Arrivals`], for a limited time.
//! The rules that every implementation of [`EntryHistory`] keeps:
//!
//! * entries come in the order of their [`Position`]s, and nothing is told that is not committed;
//! * whoever goes on after the position that a page names hears of every entry after it that was there when the page was
//!   made, once. Commit times are the server's clock: what is committed after that clock was set back may stand before.

use std::{fmt, net::SocketAddr, str::FromStr};

use crate::{
    access::Principal,
    documents::{BoxFuture, DocumentError},
    id::{DocumentId, Offset, OpId, PartitionId, SessionId},
    record::EntryKind,
    sessions::Protocol,
};

/// Entries in one page.
pub const HISTORY_PAGE: usize = 1000;

/// Bytes of what a client says that it is, the rest of which is not kept.
pub const AGENT_BYTES: usize = 256;

/// Where an entry stands among those of all partitions: by time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// When it was committed, microseconds since 1970.
    pub committed_us: u64,
    /// In which partition it stands.
    pub partition: PartitionId,
    /// Where in it.
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.committed_us, self.partition.0, self.offset.0)
    }
}

/// A text is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a position is what `next` of an earlier page said")]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(NoPosition);
        Ok(Self {
            committed_us: part()?.parse().map_err(|_| NoPosition)?,
            partition: PartitionId(part()?.parse().map_err(|_| NoPosition)?),
            offset: Offset(part()?.parse().map_err(|_| NoPosition)?),
        })
    }
}

/// Which entries are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoredQuery {
    /// Whose.
    pub principal: Principal,
    /// In this document only.
    pub document: Option<DocumentId>,
    /// Those after this position.
    pub after: Option<Position>,
    /// Committed at this time or later, microseconds since 1970.
    pub since_us: u64,
    /// Committed before this time.
    pub until_us: u64,
    /// So many at most, 1 to [`HISTORY_PAGE`].
    pub limit: usize,
}

impl AuthoredQuery {
    /// All that somebody wrote, from the beginning.
    pub fn all(principal: Principal) -> Self {
        Self {
            principal,
            document: None,
            after: None,
            since_us: 0,
            until_us: u64::MAX,
            limit: HISTORY_PAGE,
        }
    }
}

/// What is told of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authored {
    /// When, and where in the log.
    pub position: Position,
    /// Of which document.
    pub document: DocumentId,
    /// What it records.
    pub kind: EntryKind,
    /// Its identity.
    pub op_id: OpId,
    /// In which session it was written.
    pub session: SessionId,
    /// Bytes of its payload.
    pub bytes: u64,
}

/// A page of what somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthoredPage {
    /// In the order of their positions. There can be few of them, or none, although more follow: so much is looked at for
    /// one page and no more.
    pub entries: Vec<Authored>,
    /// The position after which to go on; `None` when that was all.
    pub next: Option<Position>,
    /// Partitions of which nothing is told, since they are damaged.
    pub unreadable: Vec<PartitionId>,
}

/// Whoever keeps the index of entries by principal.
pub trait EntryHistory: Send + Sync + 'static {
    /// A page of what somebody wrote.
    fn authored(&self, query: AuthoredQuery) -> BoxFuture<'_, Result<AuthoredPage, DocumentError>>;
}

/// How a client came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Via {
    /// The automerge-repo protocol over WebSocket.
    AutomergeRepo = 1,
    /// The native protocol over WebSocket.
    NativeWebSocket = 2,
    /// The native protocol over Quantum.
    NativeQuantum = 3,
    /// HTTP.
    Http = 4,
    /// It did not: a server made its session.
    Service = 5,
}

impl Via {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::AutomergeRepo,
        Self::NativeWebSocket,
        Self::NativeQuantum,
        Self::Http,
        Self::Service,
    ];

    /// Its name in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AutomergeRepo => "automerge-repo",
            Self::NativeWebSocket => "native-websocket",
            Self::NativeQuantum => "native-quantum",
            Self::Http => "http",
            Self::Service => "service",
        }
    }

    /// The one of this number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|via| *via as u8 == number)
    }
}

impl From<Protocol> for Via {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::AutomergeRepo => Self::AutomergeRepo,
            Protocol::NativeWebSocket => Self::NativeWebSocket,
            Protocol::NativeQuantum => Self::NativeQuantum,
            Protocol::Service => Self::Service,
        }
    }
}

/// A session, at the moment at which it has a connection: its first one, or another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Which.
    pub session: SessionId,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The other end's address: that of a proxy, where there is one.
    pub address: SocketAddr,
    /// How it came.
    pub via: Via,
    /// What the client calls itself; empty when it does not say. Not authenticated.
    pub client: String,
    /// The program that it says it is (`User-Agent`), the first [`AGENT_BYTES`] of it.
    pub agent: String,
}

/// Why it is not known where a session was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the book of arrivals cannot be read: {0}")]
pub struct ArrivalsError(pub String);

/// The book of arrivals: where sessions were, for as long as that is kept.
pub trait Arrivals: Send + Sync + 'static {
    /// Writes an arrival down, soon. Never blocks, and fails without a word: the edit does not depend on it.
    fn note(&self, arrival: Arrival);

    /// For each session with a time (milliseconds since 1970) where it was then; `None` when that is not known, or not kept
    /// any more.
    fn find(&self, sessions: Vec<(SessionId, u64)>) -> BoxFuture<'_, Result<Vec<Option<Arrival>>, ArrivalsError>>;
}

/// Keeps no book.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoArrivals;

impl Arrivals for NoArrivals {
    fn note(&self, _: Arrival) {}

    fn find(&self, sessions: Vec<(SessionId, u64)>) -> BoxFuture<'_, Result<Vec<Option<Arrival>>, ArrivalsError>> {
        Box::pin(async move { Ok(vec![None; sessions.len()]) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_position_is_found_again_in_its_text(committed_us: u64, partition: u16, offset: u64) {
            let position = Position {
                committed_us,
                partition: PartitionId(partition),
                offset: Offset(offset),
            };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_a_position_or_none(text: String) {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string().parse(), Ok(position));
            }
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["", "1", "1-2", "1-2-3-4", "1-70000-3", "a-b-c", "-1-2-3"] {
            assert_eq!(text.parse::<Position>(), Err(NoPosition), "{text:?}");
        }
    }

    #[test]
    fn how_a_client_came_is_found_by_its_number() {
        for via in Via::ALL {
            assert_eq!(Via::from_u8(via as u8), Some(via));
        }
        assert_eq!((Via::from_u8(0), Via::from_u8(6)), (None, None));
    }
}
