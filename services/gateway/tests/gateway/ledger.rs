//! Entries of documents as a test writes them, told when a test says so.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use aetherflow_schema::{
    access::{Author, AuthorizedEdit, Principal},
    document_log::{
        Changes, DocumentLog, EntryPage, FollowSink, Follower, Following, Offered, Ops, PendingSubmit, Stretch,
        Submitted, Tier, Told,
    },
    documents::{BoxFuture, DocumentError},
    id::{DocumentId, Offset, OpId, SessionId},
    native::Start,
    record::{Entry, EntryDraft, EntryKind},
};
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// Submissions are committed up to this one.
    committed: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    submitted: Vec<(Author, Changes)>,
    entries: HashMap<DocumentId, Vec<Entry>>,
    failures: VecDeque<DocumentError>,
    followers: Vec<(DocumentId, Start, Arc<dyn FollowSink>)>,
    following: usize,
    pages: usize,
}

impl Ledger {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// The changes that were handed over for a document, in order.
    pub(crate) fn submitted(&self, document: &DocumentId) -> Vec<Bytes> {
        let state = self.state();
        let of_document = state
            .submitted
            .iter()
            .filter(|(_, changes)| changes.document == *document);
        of_document.flat_map(|(_, changes)| changes.changes.clone()).collect()
    }

    pub(crate) fn authors(&self) -> Vec<Author> {
        self.state()
            .submitted
            .iter()
            .map(|(author, _)| author.clone())
            .collect()
    }

    /// So many submissions are committed, those to come included.
    pub(crate) fn commit(&self, submissions: usize) {
        self.0.committed.send_replace(submissions);
    }

    /// The next call fails.
    pub(crate) fn fail(&self, error: DocumentError) {
        self.state().failures.push_back(error);
    }

    /// Entries of this document, with payloads of so many bytes, from offset 1 on.
    pub(crate) fn write(&self, document: &DocumentId, entries: u64, bytes: usize) {
        let entries = (1..=entries).map(|offset| entry(document, offset, bytes)).collect();
        self.state().entries.insert(document.clone(), entries);
    }

    /// Where followers of a document began.
    pub(crate) fn starts(&self, document: &DocumentId) -> Vec<Start> {
        let state = self.state();
        let of_document = state.followers.iter().filter(|(of, ..)| of == document);
        of_document.map(|(_, start, _)| start.clone()).collect()
    }

    /// The sink of the newest follower of a document.
    pub(crate) fn sink(&self, document: &DocumentId) -> Arc<dyn FollowSink> {
        let state = self.state();
        let newest = state.followers.iter().rev().find(|(of, ..)| of == document);
        newest.expect("a follower").2.clone()
    }

    /// How many follow something.
    pub(crate) fn following(&self) -> usize {
        self.state().following
    }

    /// How many pages were read.
    pub(crate) fn pages(&self) -> usize {
        self.state().pages
    }
}

pub(crate) fn entry(document: &DocumentId, offset: u64, bytes: usize) -> Entry {
    Entry {
        offset: Offset(offset),
        epoch: 1,
        committed_us: 1_000 * offset,
        draft: EntryDraft {
            kind: EntryKind::Change,
            document: document.clone(),
            op_id: OpId([1; 32]),
            author: Author {
                principal: Principal::named("bob").unwrap(),
                session: SessionId(Uuid::from_u128(offset.into())),
            },
            trace: None,
            payload: vec![7; bytes].into(),
        },
    }
}

/// Tells a follower of one entry.
pub(crate) fn tell(sink: &Arc<dyn FollowSink>, document: &DocumentId, offset: u64, bytes: usize) -> Offered {
    let ops = Ops::new(document.clone(), vec![entry(document, offset, bytes)]).unwrap();
    sink.offer(Told::Ops(Arc::new(ops)))
}

struct Guard(Ledger);

impl Following for Guard {}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state().following -= 1;
    }
}

impl DocumentLog for Ledger {
    fn submit(&self, edit: AuthorizedEdit<Changes>) -> BoxFuture<'_, Result<PendingSubmit, DocumentError>> {
        Box::pin(async move {
            let (author, changes) = edit.into_parts();
            let mut state = self.state();
            if let Some(error) = state.failures.pop_front() {
                return Err(error);
            }
            if changes.fence.as_ref().is_some_and(|fence| fence.pass().is_err()) {
                return Err(DocumentError::Fenced);
            }
            let count = changes.changes.len() as u64;
            state.submitted.push((author, changes));
            let number = state.submitted.len();
            let mut committed = self.0.committed.subscribe();
            Ok(Box::pin(async move {
                committed.wait_for(|committed| *committed >= number).await.unwrap();
                Ok(Submitted {
                    offsets: (0..count).map(|n| Offset(100 * number as u64 + n)).collect(),
                    tier: Tier::Durable,
                })
            }) as PendingSubmit)
        })
    }

    fn follow(&self, follower: Follower) -> Box<dyn Following> {
        let mut state = self.state();
        state.following += 1;
        let document = follower.grant.document().clone();
        state.followers.push((document, follower.start, follower.sink));
        Box::new(Guard(self.clone()))
    }

    fn fetch(&self, stretch: Stretch) -> BoxFuture<'_, Result<EntryPage, DocumentError>> {
        Box::pin(async move {
            let mut state = self.state();
            state.pages += 1;
            if let Some(error) = state.failures.pop_front() {
                return Err(error);
            }
            let all = state
                .entries
                .get(stretch.grant.document())
                .ok_or(DocumentError::NotFound)?;
            let until = stretch.until.unwrap_or(Offset(all.len() as u64 + 1));
            let mut bytes = 0;
            let entries: Vec<Entry> = all
                .iter()
                .filter(|entry| entry.offset > stretch.after && entry.offset < until)
                .take_while(|entry| {
                    let fits = bytes < stretch.bytes;
                    bytes += entry.draft.payload.len();
                    fits
                })
                .cloned()
                .collect();
            let next = entries
                .last()
                .map(|last| last.offset)
                .filter(|last| last.next() < until);
            Ok(EntryPage { entries, next, until })
        })
    }
}
