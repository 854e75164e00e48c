//! What goes into the session and what comes out of it.

use std::time::{Duration, Instant};

use aetherflow_schema::{
    close::CloseCode,
    id::{ChangeHash, DocumentId, Offset, SessionId},
    locks::Fencing,
    native::{
        ClientFrame,
        wire::{self, RejectCode},
    },
};
use bytes::Bytes;

use crate::{
    error::{LockError, LockLost, Retry},
    receipt::Tier,
};

/// A change that the server has to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewChange {
    pub(crate) hash: ChangeHash,
    /// What it depends on.
    pub(crate) deps: Vec<ChangeHash>,
    /// An automerge chunk.
    pub(crate) bytes: Bytes,
    /// The token of the lock under which it was made, if it was one.
    pub(crate) fencing: Option<Fencing>,
}

/// How a connection ended, or an attempt to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parting {
    /// What the server said, if it said anything.
    pub(crate) code: Option<u16>,
    /// For people.
    pub(crate) reason: String,
}

/// Something happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// There is a connection, on which frames may have so many bytes; and those of the server so many.
    Connected { frame_bytes: usize, takes: u32 },
    /// It is gone, or could not be made.
    Disconnected(Parting),
    /// The server sent a frame.
    Frame(Bytes),
    /// The application follows a document. `cursor`: everything up to there is in the replica. `refused`: changes that were
    /// taken out of it.
    Open {
        document: DocumentId,
        cursor: Option<Offset>,
        refused: Vec<ChangeHash>,
    },
    /// It does no longer; what it changed is still submitted.
    Close(DocumentId),
    /// The application changed a document. `left`: an earlier run has left it, which may have submitted it.
    Edit {
        document: DocumentId,
        change: NewChange,
        left: bool,
    },
    /// Answers [`Event::AskHeads`].
    Heads {
        document: DocumentId,
        heads: Vec<ChangeHash>,
    },
    /// What was done for [`Event::Apply`]: the server has these changes, at these places.
    Applied {
        document: DocumentId,
        stored: Vec<(ChangeHash, Offset)>,
    },
    /// What was found for [`Event::Search`].
    Searched {
        document: DocumentId,
        stored: Vec<(ChangeHash, Offset)>,
        last: bool,
    },
    /// What was done for [`Event::Merge`]: the replica has changes that the server lacks, which may be pending already; of
    /// those that the session had asked about the server has these, at the offset or before.
    Merged {
        document: DocumentId,
        offset: Offset,
        lacking: Vec<NewChange>,
        held: Vec<ChangeHash>,
    },
    /// What others shall see of this client, repeated as long as it is set; how long it holds without that.
    Presence {
        document: DocumentId,
        mine: Option<(Bytes, Duration)>,
    },
    /// The application wants a document's lock.
    Lock { document: DocumentId, wanted: WantedLock },
    /// It does not want it any more: what it changed under it is still submitted with it.
    Unlock { document: DocumentId, lock: LockId },
    /// A fresh token.
    Token(String),
    /// Come back although the server meant otherwise, or at once although it is not time yet.
    Reconnect,
    /// Time has passed.
    Tick,
    /// Come to an end: no new connections, and a close as soon as it may be.
    Finish,
}

/// Something is to be done, or known.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// Make a connection; answered by [`Input::Connected`] or [`Input::Disconnected`], within a time.
    Dial,
    /// End the connection, or the attempt to make one, with this code: a normal one ends the session too. Not answered.
    HangUp(CloseCode),
    /// What became of a change: said once for each.
    Settled {
        document: DocumentId,
        hash: ChangeHash,
        outcome: Outcome,
    },
    /// Take these changes, and those that depend on them, out of the replica.
    Revert {
        document: DocumentId,
        hashes: Vec<ChangeHash>,
    },
    /// The server has a change that it had refused: an answer was lost.
    StoredAfterAll { document: DocumentId, hash: ChangeHash },
    /// Take in these entries, each for the first time. Answered by [`Input::Applied`].
    Apply {
        document: DocumentId,
        entries: Vec<wire::Entry>,
    },
    /// Look in these entries, which are not to be taken in, for [`Session::asks`](super::Session::asks). Answered by
    /// [`Input::Searched`].
    Search {
        document: DocumentId,
        entries: Vec<wire::Entry>,
        last: bool,
    },
    /// Merge this state. Answered by [`Input::Merged`], about [`Session::asks`](super::Session::asks).
    Merge {
        document: DocumentId,
        offset: Offset,
        bytes: Bytes,
        heads: Vec<ChangeHash>,
    },
    /// What are the replica's heads?
    AskHeads(DocumentId),
    /// Who is present has changed.
    Presence {
        document: DocumentId,
        session: SessionId,
        present: Option<Seen>,
    },
    /// The server does not let the document be followed; `None` when it does again.
    Following {
        document: DocumentId,
        refusal: Option<Refusal>,
    },
    /// Something became of a lock.
    Lock {
        document: DocumentId,
        lock: LockId,
        news: LockNews,
    },
    /// The state of the connection changed.
    Link(LinkStatus),
}

/// Tells those apart in one client who want locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LockId(pub(crate) u64);

/// A lock that is wanted.
#[derive(Debug)]
pub(crate) struct WantedLock {
    pub(crate) lock: LockId,
    /// For how long it holds after this client has vanished.
    pub(crate) ttl: Duration,
    /// How long to wait for others.
    pub(crate) wait: Duration,
}

/// What became of a lock: granted or failed first, over later, renewed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LockNews {
    /// It is held with this token, for certain until then.
    Granted(Fencing, Instant),
    /// Until then now.
    Renewed(Instant),
    Failed(LockError),
    /// It was given back, or lost.
    Over(Result<(), LockLost>),
}

/// Somebody else on a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) principal: String,
    pub(crate) state: Bytes,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is stored.
    Committed { offset: Offset, tier: Tier },
    /// It never will be.
    Refused(Refusal),
    /// It depends on one that never will be.
    Dependent(ChangeHash),
}

/// A Reject after which there is no point in trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str_name())]
pub struct Refusal {
    /// Why.
    pub code: RejectCode,
    /// Why, in words.
    pub message: String,
}

impl Refusal {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self.code {
            RejectCode::Invalid | RejectCode::NotFound | RejectCode::Unspecified => Retry::Never,
            RejectCode::Unauthenticated
            | RejectCode::Forbidden
            | RejectCode::TooLarge
            | RejectCode::Quarantined
            | RejectCode::StaleFencing
            | RejectCode::NoSuchPlace
            | RejectCode::TooManySubscriptions => Retry::AfterRefresh,
            // Tried again by themselves; a server that forbids that means now.
            RejectCode::RateLimited
            | RejectCode::Overloaded
            | RejectCode::ReadOnly
            | RejectCode::OutcomeUnknown
            | RejectCode::Unreadable
            | RejectCode::Locked
            | RejectCode::Stopping => Retry::Same,
        }
    }
}

/// The state of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    /// Waiting until the next attempt.
    Waiting { until: Instant, reason: String },
    /// Connecting, and saying hello.
    Connecting,
    /// At work.
    Online { session: SessionId, principal: String },
    /// Not coming back by itself.
    Stopped { code: Option<CloseCode>, reason: String },
}

/// A frame to be sent, with the document that it is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) document: Option<DocumentId>,
    pub(crate) frame: ClientFrame,
}
