//! Somebody who submits changes.

use aetherflow_schema::{
    access::AuthorizedEdit,
    document_log::{Changes, DocumentLog, Submitted},
    documents::DocumentError,
    id::DocumentId,
    locks::Fence,
};
use aetherflow_statesync::Statesync;
use automerge::{AutoCommit, ROOT, ReadDoc, transaction::Transactable};
use bytes::Bytes;

use super::grant;

/// A document of another that grows by itself.
pub(crate) struct Author {
    pub(crate) doc: AutoCommit,
    sent: Vec<automerge::ChangeHash>,
}

impl Author {
    pub(crate) fn new() -> Self {
        Self {
            doc: AutoCommit::new(),
            sent: Vec::new(),
        }
    }

    /// So many more changes.
    pub(crate) fn write(&mut self, changes: usize) -> Vec<Bytes> {
        for _ in 0..changes {
            let n = self.doc.keys(ROOT).count() as i64;
            self.doc.put(ROOT, format!("key {n}"), n).unwrap();
            self.doc.commit();
        }
        let changes = self.doc.get_changes(&self.sent);
        self.sent = self.doc.get_heads();
        changes
            .iter()
            .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
            .collect()
    }
}

pub(crate) async fn submit(
    statesync: &Statesync,
    id: &DocumentId,
    changes: Vec<Bytes>,
) -> Result<Submitted, DocumentError> {
    submit_under(statesync, id, changes, None).await
}

pub(crate) async fn submit_under(
    statesync: &Statesync,
    id: &DocumentId,
    changes: Vec<Bytes>,
    fence: Option<Fence>,
) -> Result<Submitted, DocumentError> {
    let changes = Changes {
        document: id.clone(),
        changes,
        fence,
    };
    let edit = AuthorizedEdit::new(&grant(id), changes).unwrap();
    statesync.submit(edit).await?.await
}
