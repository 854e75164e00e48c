//! What is asked of a document by HTTP: creating, importing, reading.

use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    access::Author,
    documents::{DocumentError, Written},
    id::{DocumentId, Offset},
    record::EncodedEntry,
};
use automerge::Automerge;
use bytes::Bytes;
use tokio::task;

use super::{Actor, Answer, InFlight, Size, Then, append_error, now_ms, unreadable};
use crate::{contained, content::Content, intake, json};

impl Actor {
    pub(super) async fn merge(&mut self, mut doc: Automerge) -> Result<(), DocumentError> {
        self.materialize().await.map_err(unreadable)?;
        let before = self.content.heads();
        let Content::Live(live) = &mut self.content else {
            return Err(DocumentError::Unreadable("the document is not materialized".to_owned()));
        };
        let merged = contained(|| task::block_in_place(|| live.doc.merge(&mut doc).map(|_| ())));
        match merged.and_then(|merged| merged.map_err(|error| error.to_string())) {
            Ok(()) => {
                self.after_change(&before);
                Ok(())
            }
            Err(reason) => {
                let _ = self.reload().await;
                Err(DocumentError::Invalid(reason))
            }
        }
    }

    pub(super) async fn create(&mut self, author: Author, content: Option<serde_json::Value>, answer: Answer<Written>) {
        let empty = serde_json::Map::new();
        let content = match &content {
            None => &empty,
            Some(serde_json::Value::Object(content)) => content,
            Some(_) => {
                let _ = answer.send(Err(DocumentError::Invalid(
                    "the content must be a JSON object".to_owned(),
                )));
                return;
            }
        };
        match json::to_automerge(content, now_ms() as i64) {
            Ok(doc) => self.write(author, doc, answer).await,
            Err(error) => {
                let _ = answer.send(Err(DocumentError::Invalid(error.to_string())));
            }
        }
    }

    pub(super) async fn import(&mut self, author: Author, file: Bytes, answer: Answer<Written>) {
        let decoded = self
            .decode(
                file.len(),
                move || intake::weigh_file(file),
                |weighed| weighed.rows,
                intake::take_file,
            )
            .await;
        match decoded {
            Ok((doc, _)) => self.write(author, doc, answer).await,
            Err(reason) => {
                let _ = answer.send(Err(DocumentError::Invalid(reason)));
            }
        }
    }

    /// Queues a document's changes for the log; it is merged into this one when they are committed.
    pub(super) async fn write(&mut self, author: Author, doc: Automerge, answer: Answer<Written>) {
        let mut drafts = Vec::new();
        if self.offset == Offset::ZERO {
            drafts.push(intake::created(&self.document, &author));
        }
        let file = doc.save();
        drafts.extend(intake::whole(&self.document, &author, &doc, &file));
        let entries: Result<Vec<EncodedEntry>, _> = drafts.iter().map(|draft| draft.encode()).collect();
        let submitted = match entries {
            Ok(entries) => self.log.submit(entries).await.map_err(append_error),
            Err(error) => Err(DocumentError::Invalid(error.to_string())),
        };
        match submitted {
            Ok(commit) => self.in_flight.push_back(InFlight {
                commit: Some(commit),
                then: Then::Write(Box::new(doc), answer),
                size: Size::default(),
            }),
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
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
                Err(error) => Err(unreadable(error)),
                Ok(()) => match &self.content {
                    Content::Live(live) => {
                        let work = || question(&live.doc, &self.log, &self.document);
                        contained(|| task::block_in_place(work))
                            .unwrap_or_else(|reason| Err(DocumentError::Invalid(reason)))
                    }
                    Content::Absent | Content::Cold(_) => Err(DocumentError::NotFound),
                },
            }
        };
        let _ = answer.send(result);
    }
}
