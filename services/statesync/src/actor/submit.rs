//! What clients do that know changes and offsets: they submit, and ask for what they lack.

use aetherflow_schema::{
    access::Author,
    document_log::{SnapshotAt, Submitted, Tier},
    documents::DocumentError,
    id::ChangeHash,
    locks::Fence,
};
use automerge::{Automerge, Change, ReadDoc};
use bytes::{Bytes, BytesMut};
use tokio::task;

use super::{
    Actor, Answer, Size,
    flight::{InFlight, Placed, Then, answer_committed},
    lost::Lost,
};
use crate::{contained, content::Content, intake, to_automerge, to_schema};

impl Actor {
    /// Queues changes for the log; they are applied, and answered, when they are committed.
    pub(super) async fn submit(
        &mut self,
        author: Author,
        changes: Vec<Bytes>,
        fence: Option<Fence>,
        answer: Answer<Submitted>,
    ) {
        let bytes = changes.iter().map(Bytes::len).sum();
        let document = self.document.clone();
        let decoded = self
            .decode(
                bytes,
                move || intake::weigh_changes(changes),
                |weighed| weighed.rows,
                move |weighed| intake::take_changes(&document, &author, weighed),
            )
            .await;
        let submitted = match decoded {
            Ok(((changes, entries), rows)) => {
                let placed = self.place(fence, entries).await;
                placed.map(|placed| (placed, changes, rows))
            }
            Err(reason) => Err(DocumentError::Invalid(reason)),
        };
        match submitted {
            Ok(((commit, pass), changes, rows)) => self.in_flight.push_back(InFlight {
                commit: Some(commit),
                then: Then::Submit(changes, answer),
                size: Size { bytes, rows },
                pass,
            }),
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    /// Applies changes that are committed, and answers.
    pub(super) async fn apply_submitted(
        &mut self,
        changes: Vec<Change>,
        placed: Placed,
        answer: Answer<Submitted>,
        size: Size,
    ) -> Result<(), Lost> {
        let Placed { offsets, fresh } = placed;
        let applied = self
            .apply_committed(&fresh, size, move |live| live.apply(&changes))
            .await;
        let submitted = Submitted {
            offsets,
            // The log is on this machine alone.
            tier: Tier::Durable,
        };
        answer_committed(answer, applied, |()| submitted)
    }

    /// The newest state for somebody who has nothing, or has what leads to the heads `since`.
    pub(super) async fn snapshot(&mut self, since: Option<Vec<ChangeHash>>, answer: Answer<SnapshotAt>) {
        let bytes = match since {
            None => self.whole().await,
            Some(mut since) => {
                since.sort_unstable();
                if since == self.sorted_heads() && !self.content.has_waiting() {
                    Ok(Bytes::new())
                } else {
                    self.changes_since(&since).await
                }
            }
        };
        // Only now: what was materialized on the way may have turned out to be less.
        let (offset, heads) = (self.offset, self.sorted_heads());
        let _ = answer.send(bytes.map(|bytes| SnapshotAt { offset, bytes, heads }));
    }

    fn sorted_heads(&self) -> Vec<ChangeHash> {
        let mut heads: Vec<_> = self.content.heads().iter().map(to_schema).collect();
        heads.sort_unstable();
        heads
    }

    async fn changes_since(&mut self, since: &[ChangeHash]) -> Result<Bytes, DocumentError> {
        if matches!(self.content, Content::Absent) {
            return Ok(Bytes::new());
        }
        self.materialize().await.map_err(|lost| lost.unreadable())?;
        let Content::Live(live) = &self.content else {
            return Err(DocumentError::Unreadable("the document is not materialized".to_owned()));
        };
        let missing = contained(|| task::block_in_place(|| missing(&live.doc, since)));
        match missing.map_err(DocumentError::Unreadable)? {
            Some(bytes) => Ok(bytes),
            None => self.whole().await,
        }
    }

    async fn whole(&mut self) -> Result<Bytes, DocumentError> {
        if self.content.is_unchecked() {
            self.materialize().await.map_err(|lost| lost.unreadable())?;
        }
        Ok(self.content.whole().unwrap_or_default())
    }
}

/// The changes that somebody lacks who has these heads, as far as they are known here; `None` when the whole document is
/// what is lacking, or has changes that wait for others, which are in the whole alone.
fn missing(doc: &Automerge, since: &[ChangeHash]) -> Option<Bytes> {
    let known: Vec<_> = since
        .iter()
        .map(to_automerge)
        .filter(|hash| doc.get_change_meta_by_hash(hash).is_some())
        .collect();
    if known.is_empty() || !doc.get_missing_deps(&[]).is_empty() {
        return None;
    }
    let mut bytes = BytesMut::new();
    for change in doc.get_changes(&known) {
        bytes.extend_from_slice(change.raw_bytes());
    }
    Some(bytes.freeze())
}
