//! What clients do that know changes and offsets: they submit, and ask for what they lack.

use aetherflow_schema::{
    access::Author,
    document_log::{SnapshotAt, Submitted, Tier},
    documents::DocumentError,
    id::{ChangeHash, Offset},
};
use automerge::{Automerge, Change, ReadDoc};
use bytes::{Bytes, BytesMut};
use tokio::task;

use super::{Actor, Answer, InFlight, Size, Then, append_error, unreadable};
use crate::{contained, content::Content, intake, to_automerge, to_schema};

impl Actor {
    /// Queues changes for the log; they are applied, and answered, when they are committed.
    pub(super) async fn submit(&mut self, author: Author, changes: Vec<Bytes>, answer: Answer<Submitted>) {
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
                let commit = self.log.submit(entries).await.map_err(append_error);
                commit.map(|commit| (commit, changes, rows))
            }
            Err(reason) => Err(DocumentError::Invalid(reason)),
        };
        match submitted {
            Ok((commit, changes, rows)) => self.in_flight.push_back(InFlight {
                commit: Some(commit),
                then: Then::Submit(changes, answer),
                size: Size { bytes, rows },
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
        offsets: Vec<Offset>,
        answer: Answer<Submitted>,
        size: Size,
    ) {
        let applied = self.apply_changes(changes, size).await;
        let _ = answer.send(applied.map(|()| Submitted {
            offsets,
            // The log is on this machine alone.
            tier: Tier::Durable,
        }));
    }

    async fn apply_changes(&mut self, changes: Vec<Change>, size: Size) -> Result<(), DocumentError> {
        self.materialize().await.map_err(unreadable)?;
        let before = self.content.heads();
        let applied = if size.is_large() {
            self.apart(size, move |live| live.apply(&changes)).await
        } else {
            match &mut self.content {
                Content::Live(live) => live.apply(&changes),
                Content::Absent | Content::Cold(_) => Err("the document is not materialized".to_owned()),
            }
        };
        if let Err(reason) = applied {
            self.set_aside_and_go_on(&reason).await;
            return Err(DocumentError::Invalid(format!("stored, and set aside: {reason}")));
        }
        self.after_change(&before);
        Ok(())
    }

    /// The newest state for somebody who has nothing, or has what leads to the heads `since`.
    pub(super) async fn snapshot(&mut self, since: Option<Vec<ChangeHash>>, answer: Answer<SnapshotAt>) {
        let mut heads: Vec<_> = self.content.heads().iter().map(to_schema).collect();
        heads.sort_unstable();
        let bytes = match since {
            None => Ok(self.whole()),
            Some(mut since) => {
                since.sort_unstable();
                if since == heads && !self.content.has_waiting() {
                    Ok(Bytes::new())
                } else {
                    self.changes_since(&since).await
                }
            }
        };
        let offset = self.offset;
        let _ = answer.send(bytes.map(|bytes| SnapshotAt { offset, bytes, heads }));
    }

    async fn changes_since(&mut self, since: &[ChangeHash]) -> Result<Bytes, DocumentError> {
        if matches!(self.content, Content::Absent) {
            return Ok(Bytes::new());
        }
        self.materialize().await.map_err(unreadable)?;
        let Content::Live(live) = &self.content else {
            return Ok(Bytes::new());
        };
        let missing = contained(|| task::block_in_place(|| missing(&live.doc, since)));
        match missing.map_err(DocumentError::Unreadable)? {
            Some(bytes) => Ok(bytes),
            None => Ok(self.whole()),
        }
    }

    fn whole(&mut self) -> Bytes {
        task::block_in_place(|| self.content.whole()).unwrap_or_default()
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
