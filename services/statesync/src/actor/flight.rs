//! Frames on their way through the log, and what is done when they have come out of it.
//!
//! **Owns** the order: what came first is applied first, whenever its entries are committed. **Invariant**: whatever can be
//! applied without waiting is, before the peers are told anything.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use aetherflow_oplog::{AppendError, Appended, PendingAppend};
use aetherflow_schema::{
    document_log::Submitted,
    documents::{DocumentError, Written},
    id::Offset,
    locks::Pass,
};
use automerge::{Automerge, Change};

use super::{Actor, Answer, Size, apart::Unapplied, lost::Lost};
use crate::{intake::Received, peers::SessionKey};

/// Where something that was appended stands in the log.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) offsets: Vec<Offset>,
    /// Those of them that were not in the log before.
    pub(super) fresh: Vec<Offset>,
}

/// What is applied once its entries are committed.
pub(super) enum Then {
    Frame(SessionKey, Received),
    Write(Box<Automerge>, Answer<Written>),
    Submit(Vec<Change>, Answer<Submitted>),
}

/// One of them.
pub(super) struct InFlight {
    /// `None` of what had nothing to append.
    pub(super) commit: Option<PendingAppend>,
    pub(super) then: Then,
    pub(super) size: Size,
    /// Of what was made under a lock: nobody else gets it before this is applied, or has failed.
    pub(super) pass: Option<Box<dyn Pass>>,
}

impl Then {
    /// Tells whoever waits for it, if somebody does, why it was not done.
    pub(super) fn fail(self, error: DocumentError) {
        match self {
            Self::Frame(..) => {}
            Self::Write(_, answer) => {
                let _ = answer.send(Err(error));
            }
            Self::Submit(_, answer) => {
                let _ = answer.send(Err(error));
            }
        }
    }
}

impl Actor {
    /// The entries of the first frame in flight are committed, or failed.
    pub(super) async fn committed(&mut self, result: Result<Appended, AppendError>) -> Result<(), Lost> {
        let Some(first) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let _pass = first.pass;
        match result {
            Ok(appended) => {
                // Those that were in the log before were counted and applied before.
                let is_fresh = |offset: &Offset| *offset > self.offset;
                let fresh: Vec<_> = appended.offsets.iter().copied().filter(is_fresh).collect();
                self.unsaved += fresh.len() as u64;
                self.offset = self.offset.max(appended.last());
                let placed = Placed {
                    offsets: appended.offsets,
                    fresh,
                };
                self.apply(first.then, placed, first.size).await
            }
            Err(error) => {
                self.uncertain |= matches!(error, AppendError::Unknown(_));
                match first.then {
                    Then::Frame(key, _) => self.peers.refuse(key, error.to_string()),
                    then => then.fail(append_error(error)),
                }
                Ok(())
            }
        }
    }

    /// Applies what is in flight and waits for nothing, up to the first that does.
    pub(super) async fn settle(&mut self) -> Result<(), Lost> {
        while let Some(first) = self.in_flight.front_mut() {
            match &mut first.commit {
                // What the log committed in one group makes one answer, too.
                Some(commit) => match look(commit) {
                    Poll::Ready(result) => self.committed(result).await?,
                    Poll::Pending => break,
                },
                None => {
                    if let Some(first) = self.in_flight.pop_front() {
                        self.apply(first.then, Placed::default(), first.size).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn apply(&mut self, then: Then, placed: Placed, size: Size) -> Result<(), Lost> {
        match then {
            Then::Submit(changes, answer) => self.apply_submitted(changes, placed, answer, size).await,
            Then::Frame(key, message) => self.apply_frame(key, message, &placed.fresh, size).await,
            Then::Write(doc, answer) => self.apply_written(*doc, &placed.fresh, answer, size).await,
        }
    }
}

/// What is known of a commit now.
fn look(commit: &mut PendingAppend) -> Poll<Result<Appended, AppendError>> {
    Pin::new(commit).poll(&mut Context::from_waker(Waker::noop()))
}

/// Tells whoever is waiting for it what became of something committed.
pub(super) fn answer_committed<A, T>(
    answer: Answer<A>,
    applied: Result<Result<T, Unapplied>, Lost>,
    done: impl FnOnce(T) -> A,
) -> Result<(), Lost> {
    let (said, goes_on) = match applied {
        Ok(Ok(applied)) => (Ok(done(applied)), Ok(())),
        Ok(Err(why)) => (
            Err(DocumentError::Invalid(format!("stored, and set aside: {why}"))),
            Ok(()),
        ),
        Err(lost) => (Err(lost.unknown()), Err(lost)),
    };
    let _ = answer.send(said);
    goes_on
}

pub(super) fn append_error(error: AppendError) -> DocumentError {
    match error {
        AppendError::Overloaded => DocumentError::Overloaded,
        AppendError::ReadOnly(reason) => DocumentError::ReadOnly(reason),
        AppendError::Unknown(reason) => DocumentError::Unknown(reason),
        AppendError::Quarantined(reason) => DocumentError::Unreadable(reason),
        AppendError::Invalid(reason) => DocumentError::Invalid(reason),
    }
}
