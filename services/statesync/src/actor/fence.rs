//! What was made under a lock is placed in the log only while the lock is held.
//!
//! The question is asked when nothing is left between the answer and the place in the log but waiting for room: this actor
//! is the only one that places content of the document, one edit after the other. What passed keeps its lock from being
//! given to somebody else until it is applied or has failed, however long that takes; so a lock that is given out finds
//! all that was done under the earlier ones, and none of it comes later.

use aetherflow_oplog::PendingAppend;
use aetherflow_schema::{
    documents::DocumentError,
    id::OpId,
    locks::{Fence, LockError, Pass},
    record::EncodedEntry,
};
use tokio::task;

use super::{
    Actor,
    flight::{Then, append_error},
    unreadable,
};

impl Actor {
    /// Queues entries for the log, unless they were made under a lock that is not held any more.
    pub(super) async fn place(
        &self,
        fence: Option<Fence>,
        entries: Vec<EncodedEntry>,
    ) -> Result<(PendingAppend, Option<Box<dyn Pass>>), DocumentError> {
        let pass = match fence.map(|fence| fence.pass()) {
            None => None,
            Some(Ok(pass)) => Some(pass),
            // Sent again, by somebody who did not hear that it was stored: it has its offsets, and stays.
            Some(Err(LockError::NotHeld)) => self.known(&entries).map(|()| None)?,
            Some(Err(_)) => return Err(DocumentError::Overloaded),
        };
        let commit = self.log.submit(entries).await.map_err(append_error)?;
        Ok((commit, pass))
    }

    /// Whether all of this is in the log already.
    fn known(&self, entries: &[EncodedEntry]) -> Result<(), DocumentError> {
        let ops: Vec<OpId> = entries.iter().map(EncodedEntry::op_id).collect();
        let found = task::block_in_place(|| self.log.lookup(&self.document, &ops)).map_err(unreadable)?;
        let unknown = || ops.iter().zip(&found).filter(|(_, found)| found.is_none());
        if unknown().next().is_none() {
            return Ok(());
        }
        if unknown().all(|(op, _)| self.is_under_way(*op)) {
            let reason = "it was sent before and is being stored";
            return Err(DocumentError::Unknown(reason.to_owned()));
        }
        Err(DocumentError::Fenced)
    }

    fn is_under_way(&self, op: OpId) -> bool {
        self.in_flight.iter().any(|in_flight| match &in_flight.then {
            Then::Submit(changes, _) => changes.iter().any(|change| change.hash().0 == op.0),
            Then::Frame(_, frame) => frame.changes.iter().any(|change| change.hash().0 == op.0),
            Then::Write(..) => false,
        })
    }
}
