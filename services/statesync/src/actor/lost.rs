//! When what is in memory is not what is in the log: the document is built anew, and closed when that fails.
//!
//! **Invariant**: an actor goes on only with a content in which everything is applied that it knows to be committed, but
//! for the entries that are set aside. A snapshot of anything less would hide what is missing for ever.

use aetherflow_oplog::StorageError;
use aetherflow_schema::{
    documents::{DocumentError, PeerFrame},
    id::Offset,
};
use tokio::{task, time};

use super::{
    Actor, Input,
    apart::Unapplied,
    flatten,
    flight::{InFlight, append_error},
    input::fail,
};
use crate::load;

/// The content is gone and could not be had again: the document has to be opened anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The log could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The budget was not enough.
    #[error("building the document from the log took too long")]
    TooLong,
}

impl Lost {
    /// For whoever asked for something to be written, which may have been.
    pub(super) fn unknown(&self) -> DocumentError {
        DocumentError::Unknown(self.to_string())
    }

    /// For whoever asked for something that was not done.
    pub(super) fn unreadable(&self) -> DocumentError {
        DocumentError::Unreadable(self.to_string())
    }
}

impl Actor {
    /// Something committed could not be applied: the document is built anew from the log, without the entries at fault.
    /// Those of them that took too long, `fresh`, are not tried again before the document is opened anew or released.
    pub(super) async fn set_aside_and_go_on(&mut self, why: &Unapplied, fresh: &[Offset]) -> Result<(), Lost> {
        tracing::warn!(doc = %self.document, reason = %why, "changes could not be applied and are set aside");
        if matches!(why, Unapplied::TooLong) {
            self.given_up.extend(fresh);
        }
        self.reload().await
    }

    /// Builds the document anew from the log, within the budget.
    pub(super) async fn reload(&mut self) -> Result<(), Lost> {
        let before = self.content.heads();
        let (log, document, given_up) = (self.log.clone(), self.document.clone(), self.given_up.clone());
        let work = task::spawn_blocking(move || load::reload(&log, &document, &given_up));
        let loaded = time::timeout(self.shared.options.apply_budget, work).await;
        self.adopt(flatten(loaded.map_err(|_| Lost::TooLong)?)?);
        self.after_change(&before);
        Ok(())
    }

    /// Whether the log has more of the document than is known here.
    pub(super) async fn is_behind(&self) -> Result<bool, Lost> {
        let (log, document) = (self.log.clone(), self.document.clone());
        let tail = flatten(task::spawn_blocking(move || log.document_tail(&document)).await)?;
        Ok(tail > Some(self.offset))
    }

    /// Ends the document for everybody. Who opens it next has it loaded from the log; so nothing may be on its way there
    /// any more.
    pub(super) async fn close(mut self, lost: &Lost) {
        tracing::error!(doc = %self.document, error = %lost, "the document is closed, to be opened anew from the log");
        for InFlight { commit, then, .. } in std::mem::take(&mut self.in_flight) {
            let failed = match commit {
                Some(commit) => commit.await.err().map(append_error),
                None => None,
            };
            then.fail(failed.unwrap_or_else(|| lost.unknown()));
        }
        self.shared.forget(&self.document);
        self.inbox.close();
        self.peers.lose(&lost.to_string());
        while let Some(input) = self.inbox.recv().await {
            match input {
                Input::Attach(_, peer) => {
                    let (document, reason) = (self.document.clone(), lost.to_string());
                    peer.sink.deliver(PeerFrame::Lost { document, reason });
                }
                input => fail(input, lost.unreadable()),
            }
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.uncount_memory();
        if std::thread::panicking() {
            self.peers.lose("the document was closed by a fault in the server");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc as blocking},
        time::Duration,
    };

    use aetherflow_log_core::memory::MemoryStorage;
    use aetherflow_oplog::{LogHandle, LogOptions};
    use aetherflow_schema::{
        access::{Author, Principal},
        id::{DocumentId, SessionId, StorageId},
    };
    use automerge::{AutoCommit, ROOT, transaction::Transactable};
    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::*;
    use crate::actor::Size;
    use crate::{
        content::Content,
        intake,
        service::{Shared, StatesyncOptions},
    };

    fn shared(budget: Duration) -> Arc<Shared> {
        let mut options = StatesyncOptions::new(StorageId("the-server".into()));
        options.apply_budget = budget;
        Arc::new(Shared::new(options))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_took_too_long_is_set_aside_without_being_tried_again() {
        let log = LogHandle::start(Arc::new(MemoryStorage::new(1)), LogOptions::default()).unwrap();
        let document = DocumentId::from_bytes(&[1; 16]).unwrap();
        let author = Author {
            principal: Principal::anonymous(),
            session: SessionId(Default::default()),
        };
        let mut doc = AutoCommit::new();
        let mut append = async |key: &str| {
            let before = doc.get_heads();
            doc.put(ROOT, key, 1).unwrap();
            doc.commit();
            let change = Bytes::copy_from_slice(doc.get_changes(&before)[0].raw_bytes());
            let weighed = intake::weigh_changes(vec![change]).unwrap();
            let (_, entries) = intake::take_changes(&document, &author, weighed).unwrap();
            let offset = log.append(entries).await.unwrap().last();
            (offset, doc.get_heads())
        };
        let (_, first) = append("first").await;
        let (_inputs, inbox) = mpsc::channel(1);
        let brief = shared(Duration::from_millis(10));
        let mut actor = Actor::new(document.clone(), log.clone(), brief, inbox);
        actor.adopt(load::load(&log, &document).unwrap());
        actor.materialize().await.unwrap();

        let (slow, both) = append("second").await;
        let (go_on, held) = blocking::channel::<()>();
        let endless = move |_: &mut _| held.recv().map_err(|error| error.to_string());
        let why = actor.apart(Size::default(), endless).await.unwrap_err();
        assert!(matches!(why, Unapplied::TooLong), "{why}");
        assert!(
            matches!(actor.content, Content::Away),
            "whoever works on it still has it"
        );
        actor.shared = shared(Duration::from_secs(60));
        actor.set_aside_and_go_on(&why, &[slow]).await.unwrap();
        assert_eq!(actor.content.heads(), first);
        let set_aside: Vec<_> = actor.set_aside.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(set_aside, [slow]);
        actor.reload().await.unwrap();
        assert_eq!(actor.content.heads(), first, "nor when something else fails");
        drop(go_on);

        actor.given_up.clear();
        actor.content = Content::Away;
        actor.materialize().await.unwrap();
        assert_eq!(actor.content.heads(), both, "what is away is not taken for empty");
        assert!(actor.set_aside.is_empty());
    }
}
