//! Finding out whether the server has what it refuses, of a document that is not followed: its history is read for that.
//!
//! From the beginning: what an earlier connection has shown may lie before the cursor, and of what an earlier run has left
//! nobody knows a place. It is rare: an answer was lost, then the right to write.
//! Invariants: one search for each document, and a few together; a doubt ends with a search that began after it, or before
//! and looked for it all along. On failure the server is asked again, or the refusal holds.

use std::time::{Duration, Instant};

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    native::{
        ClientFrame, Fetch, RequestId,
        wire::{self, RejectCode},
    },
};

use super::{Event, Session, submit::RETRY};

/// Searches under way, each of which may bring the whole history of a document.
const SEARCHES: usize = 4;

/// How it is with the search in one document.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// What is not answered to the end.
    request: Option<RequestId>,
    /// When to ask again.
    pub(super) hold: Option<Instant>,
    failures: u32,
}

impl Session {
    pub(super) fn poll_search(&mut self, now: Instant, id: &DocumentId) -> Option<ClientFrame> {
        let document = self.documents.get_mut(id)?;
        let search = &mut document.search;
        let is_due = search.request.is_none() && search.hold.is_none_or(|hold| hold <= now);
        if self.searches.len() >= SEARCHES || !is_due || document.is_followed() || !document.queue.has_doubts() {
            return None;
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        document.search.request = Some(request);
        self.searches.insert(request, (id.clone(), now));
        Some(ClientFrame::Fetch(Fetch {
            request,
            document: id.clone(),
            from: Offset(1),
            until: None,
        }))
    }

    /// A part of the history.
    pub(super) fn on_history(&mut self, now: Instant, request: RequestId, ops: wire::Ops) {
        let Some((id, since)) = self.searches.get_mut(&request) else {
            return;
        };
        *since = now;
        let id = id.clone();
        if ops.last {
            self.end_search(request);
        }
        let is_asked = |document: &&mut super::Document| document.search.request == Some(request);
        if let Some(document) = self.documents.get_mut(&id).filter(is_asked) {
            if ops.last {
                document.search = Search::default();
            }
            let (document, entries, last) = (id, ops.entries, ops.last);
            self.events.push_back(Event::Search {
                document,
                entries,
                last,
            });
        }
    }

    pub(super) fn on_searched(&mut self, now: Instant, id: &DocumentId, stored: &[(ChangeHash, Offset)], last: bool) {
        self.on_applied(now, id, stored);
        if last {
            self.end_doubts(now, id);
        }
    }

    /// A Reject; `false` if it is about no search.
    pub(super) fn on_search_reject(&mut self, now: Instant, reject: &wire::Reject) -> bool {
        let request = RequestId(reject.request_id);
        let Some(id) = self.end_search(request) else {
            return false;
        };
        let retry_after = match (reject.code(), reject.retry_after_ms) {
            (_, Some(ms)) => Some(Duration::from_millis(ms.into())),
            (RejectCode::Stopping, None) => Some(RETRY),
            (RejectCode::Unauthenticated, None) => Some(Duration::ZERO),
            (_, None) => None,
        };
        if reject.code() == RejectCode::Unauthenticated {
            self.on_unauthenticated(request, &reject.message);
        }
        let is_asked = |document: &&mut super::Document| document.search.request == Some(request);
        let Some(document) = self.documents.get_mut(&id).filter(is_asked) else {
            return true;
        };
        let search = &mut document.search;
        search.request = None;
        match retry_after {
            Some(least) => {
                let delay = self.tuning.backoff.delay_from(least, search.failures, &mut self.rng);
                search.hold = Some(now + delay);
                search.failures += 1;
                self.with(now, &id, |_| {});
            }
            None => self.end_doubts(now, &id),
        }
        true
    }

    /// Which document it was about. There is room for another one.
    fn end_search(&mut self, request: RequestId) -> Option<DocumentId> {
        let (id, _) = self.searches.remove(&request)?;
        if self.searches.len() + 1 == SEARCHES {
            let waiting = self
                .documents
                .iter()
                .filter(|(_, document)| document.queue.has_doubts());
            self.work.extend(waiting.map(|(id, _)| id.clone()));
        }
        Some(id)
    }
}
