//! What is asked of a document by HTTP: creating, importing, reading.

use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    access::Author,
    documents::{DocumentError, Written},
    id::{DocumentId, Offset},
    locks::Fence,
    record::EncodedEntry,
};
use automerge::{Automerge, SaveOptions};
use bytes::Bytes;
use tokio::{task, time};

use super::{Actor, Answer, InFlight, Then, answer_committed, lost::Lost, now_ms};
use crate::{contained, content::Content, intake, json, to_schema};

impl Actor {
    /// Queues a document with this content for the log.
    pub(super) async fn create(&mut self, author: Author, content: Option<serde_json::Value>, answer: Answer<Written>) {
        let now_ms = now_ms() as i64;
        let make = move || {
            let content = match content {
                None => serde_json::Map::new(),
                Some(serde_json::Value::Object(content)) => content,
                Some(_) => return Err("the content must be a JSON object".to_owned()),
            };
            json::to_automerge(&content, now_ms).map_err(|error| error.to_string())
        };
        self.write(author, make, None, answer).await;
    }

    /// Queues the document of a file for the log.
    pub(super) async fn import(&mut self, author: Author, file: Bytes, fence: Option<Fence>, answer: Answer<Written>) {
        let make = move || match Automerge::load(&file) {
            Ok(doc) if doc.get_heads().is_empty() => Err("the file has no changes in it".to_owned()),
            Ok(doc) => Ok(doc),
            Err(error) => Err(format!("this is not an automerge file: {error}")),
        };
        self.write(author, make, fence, answer).await;
    }

    /// Queues a document's changes for the log; it is merged into this one when they are committed. Making it, and its
    /// entries, is done where it blocks no other document, and is given up when it takes too long.
    async fn write(
        &mut self,
        author: Author,
        make: impl FnOnce() -> Result<Automerge, String> + Send + 'static,
        fence: Option<Fence>,
        answer: Answer<Written>,
    ) {
        let is_new = self.offset == Offset::ZERO;
        let document = self.document.clone();
        let work = move || {
            let doc = make()?;
            let entries = entries(&document, &author, &doc, is_new)?;
            Ok((doc, entries))
        };
        let work = task::spawn_blocking(move || contained(work).and_then(|made| made));
        let made = match time::timeout(self.shared.options.apply_budget, work).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("reading it took too long".to_owned()),
        };
        let submitted = match made {
            Ok((doc, entries)) => self.place(fence, entries).await.map(|placed| (placed, doc)),
            Err(reason) => Err(DocumentError::Invalid(reason)),
        };
        match submitted {
            Ok(((commit, pass), doc)) => self.in_flight.push_back(InFlight {
                commit: Some(commit),
                then: Then::Write(Box::new(doc), answer),
                large: true,
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
    ) -> Result<(), Lost> {
        let applied = self
            .apply_committed(fresh, true, move |live| live.merge(&mut doc))
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

/// The log entries for a document as a whole, and for its beginning if it `is_new`.
fn entries(document: &DocumentId, author: &Author, doc: &Automerge, is_new: bool) -> Result<Vec<EncodedEntry>, String> {
    let created = is_new.then(|| intake::created(document, author));
    // Changes that wait for others do not come along when a document is merged into another.
    let options = SaveOptions {
        retain_orphans: false,
        ..SaveOptions::default()
    };
    let changes = intake::whole(document, author, doc, &doc.save_with_options(options));
    let drafts = created.into_iter().chain(changes);
    drafts
        .map(|draft| draft.encode().map_err(|error| error.to_string()))
        .collect()
}
