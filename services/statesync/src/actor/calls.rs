//! What is asked of a document by HTTP: creating, importing, reading.

use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    access::Author,
    documents::{DocumentError, Written},
    id::{DocumentId, Offset},
    locks::Fence,
    record::EncodedEntry,
};
use automerge::{Automerge, ReadDoc, SaveOptions};
use bytes::Bytes;
use tokio::task;

use super::{
    Actor, Answer, LARGE_ROWS, Size,
    flight::{InFlight, Then, answer_committed},
    lost::Lost,
    now_ms,
};
use crate::{contained, content::Content, intake, json, to_schema};

impl Actor {
    /// Queues a document with this content for the log.
    pub(super) async fn create(&mut self, author: Author, content: Option<serde_json::Value>, answer: Answer<Written>) {
        let now_ms = now_ms() as i64;
        let (document, is_new) = (self.document.clone(), self.offset == Offset::ZERO);
        let make = move || {
            let content = match content {
                None => serde_json::Map::new(),
                Some(serde_json::Value::Object(content)) => content,
                Some(_) => return Err("the content must be a JSON object".to_owned()),
            };
            let doc = json::to_automerge(&content, now_ms).map_err(|error| error.to_string())?;
            let rows = doc.stats().num_ops;
            Ok((with_entries(&document, &author, doc, is_new)?, rows))
        };
        let made = self.in_time(LARGE_ROWS, move || contained(make)?).await;
        self.write(made, None, answer).await;
    }

    /// Queues the document of a file for the log.
    pub(super) async fn import(&mut self, author: Author, file: Bytes, fence: Option<Fence>, answer: Answer<Written>) {
        let (document, is_new) = (self.document.clone(), self.offset == Offset::ZERO);
        let made = self
            .decode(
                file.len(),
                move || intake::weigh_file(file),
                |weighed| weighed.rows,
                move |weighed| with_entries(&document, &author, intake::take_file(weighed)?, is_new),
            )
            .await;
        self.write(made, fence, answer).await;
    }

    /// Queues a document's changes for the log; it is merged into this one when they are committed.
    async fn write(
        &mut self,
        made: Result<((Automerge, Vec<EncodedEntry>), u64), String>,
        fence: Option<Fence>,
        answer: Answer<Written>,
    ) {
        let submitted = match made {
            Ok(((doc, entries), rows)) => {
                let placed = self.place(fence, entries).await;
                placed.map(|placed| (placed, doc, rows))
            }
            Err(reason) => Err(DocumentError::Invalid(reason)),
        };
        match submitted {
            Ok(((commit, pass), doc, rows)) => self.in_flight.push_back(InFlight {
                commit: Some(commit),
                then: Then::Write(Box::new(doc), answer),
                size: Size::whole(rows),
                pass,
            }),
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    /// Merges a document whose changes are committed, and answers.
    pub(super) async fn apply_written(
        &mut self,
        mut doc: Automerge,
        fresh: &[Offset],
        answer: Answer<Written>,
        size: Size,
    ) -> Result<(), Lost> {
        let applied = self
            .apply_committed(fresh, size, move |live| live.merge(&mut doc))
            .await;
        let heads = self.content.heads().iter().map(to_schema).collect();
        let offset = self.offset;
        answer_committed(answer, applied, |()| Written { heads, offset })
    }

    /// Answers a question about the document, from committed state.
    pub(super) async fn answer<T>(
        &mut self,
        answer: Answer<T>,
        question: impl FnOnce(&Automerge, &LogHandle, &DocumentId) -> Result<T, DocumentError>,
    ) {
        let result = if matches!(self.content, Content::Absent) {
            Err(DocumentError::NotFound)
        } else {
            match self.materialize().await {
                Err(lost) => Err(lost.unreadable()),
                Ok(()) => match &self.content {
                    Content::Live(live) => {
                        let work = || question(&live.doc, &self.log, &self.document);
                        contained(|| task::block_in_place(work))
                            .unwrap_or_else(|reason| Err(DocumentError::Invalid(reason)))
                    }
                    Content::Absent | Content::Away | Content::Cold(_) => Err(DocumentError::NotFound),
                },
            }
        };
        let _ = answer.send(result);
    }
}

/// A document with its log entries as a whole, and one for its beginning if it `is_new`.
fn with_entries(
    document: &DocumentId,
    author: &Author,
    doc: Automerge,
    is_new: bool,
) -> Result<(Automerge, Vec<EncodedEntry>), String> {
    let created = is_new.then(|| intake::created(document, author));
    // Changes that wait for others do not come along when a document is merged into another.
    let options = SaveOptions {
        retain_orphans: false,
        ..SaveOptions::default()
    };
    let changes = intake::whole(document, author, &doc, &doc.save_with_options(options));
    let drafts = created.into_iter().chain(changes);
    let entries: Result<_, _> = drafts.map(|draft| draft.encode()).collect();
    Ok((doc, entries.map_err(|error| error.to_string())?))
}
