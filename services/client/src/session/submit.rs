//! Getting changes to the server: exactly one outcome for each.
//!
//! A batch that the server finds invalid is sent again change by change, so that one bad change does not take others with
//! it. What is refused is taken out of the replica, with all that was made on top of it: that can never take effect
//! anywhere.

use std::time::{Duration, Instant};

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    native::{
        ClientFrame, RequestId, Submit,
        wire::{self, RejectCode},
    },
};

use super::{CHANGE_OVERHEAD, Event, NewChange, Outcome, Refusal, Session, Submitted, document::Follow, queue::Batch};

/// A retry whose time the server does not name.
pub(super) const RETRY: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn on_edit(&mut self, now: Instant, id: &DocumentId, change: NewChange, left: bool) {
        let document = self.documents.entry(id.clone()).or_default();
        if let Some(on) = change.deps.iter().find_map(|dep| self.refused.why(id, dep)) {
            // It was made before the application's replica lost what it depends on.
            let outcome = Outcome::Dependent(on);
            self.refused.add(id, change.hash, on);
            self.events.push_back(Event::Settled {
                document: id.clone(),
                hash: change.hash,
                outcome,
            });
        } else if document.queue.push(change, left) {
            self.unsettled += 1;
        }
        self.with(now, id, |_| {});
    }

    pub(super) fn on_applied(&mut self, now: Instant, id: &DocumentId, stored: &[(ChangeHash, Offset)]) {
        let came_back = self.has_after_all(id, stored.iter().map(|(hash, _)| hash));
        if came_back && self.refused.of(id).next().is_some() {
            // What others made on top of it was taken out with it, and may have come before.
            self.with(now, id, |document| {
                if let Follow::On(_) = document.follow {
                    document.follow = Follow::Due;
                }
            });
        }
        if let Some(document) = self.documents.get_mut(id).filter(|document| document.queue.len() > 0) {
            for (hash, offset) in stored {
                document.queue.found(hash, *offset);
            }
            self.settle(id);
            self.with(now, id, |_| {});
        }
    }

    pub(super) fn on_merged(
        &mut self,
        now: Instant,
        id: &DocumentId,
        offset: Offset,
        lacking: Vec<NewChange>,
        held: &[ChangeHash],
    ) {
        self.has_after_all(id, held);
        if let Some(document) = self.documents.get_mut(id) {
            held.iter().for_each(|hash| document.queue.held(hash, offset));
            let added = lacking
                .into_iter()
                .filter(|change| document.queue.push(change.clone(), false));
            self.unsettled += added.count();
        }
        self.settle(id);
        self.end_doubts(now, id);
        self.with(now, id, |_| {});
    }

    /// The server has these: what was made on top of them since is not lost, although they were refused. Whether one was.
    fn has_after_all<'a>(&mut self, id: &DocumentId, hashes: impl IntoIterator<Item = &'a ChangeHash>) -> bool {
        let came_back = self.refused.forget(id, hashes);
        for hash in &came_back {
            let (document, hash) = (id.clone(), *hash);
            self.events.push_back(Event::StoredAfterAll { document, hash });
        }
        !came_back.is_empty()
    }

    /// Nothing more will be found out about what was refused: that holds.
    pub(super) fn end_doubts(&mut self, now: Instant, id: &DocumentId) {
        let doubts = self.documents.get(id).map(|document| document.queue.doubts());
        for (hash, refusal) in doubts.into_iter().flatten() {
            self.take_out(id, &[hash], &refusal);
        }
        self.with(now, id, |_| {});
    }

    pub(super) fn poll_submit(&mut self, now: Instant, id: &DocumentId) -> Option<ClientFrame> {
        if self.submits.len() >= self.tuning.submits || self.submit_bytes >= self.tuning.submit_bytes {
            return None;
        }
        let request = self.new_request();
        loop {
            let document = self.documents.get_mut(id)?;
            if document.hold.is_some_and(|hold| hold > now) {
                return None;
            }
            let (changes, fencing) = match document.queue.batch(request, self.batch) {
                Batch::Nothing => return None,
                Batch::Submit(changes, fencing) => (changes, fencing),
                Batch::TooLarge(hash, bytes) => {
                    let limit = self.batch.change_bytes;
                    let refusal = Refusal {
                        code: RejectCode::TooLarge,
                        message: format!("a change has {bytes} bytes; {limit} are allowed"),
                    };
                    self.refuse(id, &[hash], &refusal);
                    continue;
                }
            };
            let (hashes, changes): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
            if fencing.is_some() && !self.link.has_locks() {
                let refusal = Refusal {
                    code: RejectCode::StaleFencing,
                    message: "the server knows no locks".to_owned(),
                };
                self.refuse(id, &hashes, &refusal);
                continue;
            }
            let bytes = changes.iter().map(|change| change.len() + CHANGE_OVERHEAD).sum();
            self.submit_bytes += bytes;
            let submitted = Submitted {
                document: id.clone(),
                hashes,
                bytes,
                since: now,
            };
            self.submits.insert(request, submitted);
            return Some(ClientFrame::Submit(Submit {
                request,
                document: id.clone(),
                changes,
                fencing,
            }));
        }
    }

    fn answered(&mut self, request: RequestId) -> Option<Submitted> {
        let full = self.submits.len() >= self.tuning.submits || self.submit_bytes >= self.tuning.submit_bytes;
        let submitted = self.submits.remove(&request)?;
        self.submit_bytes -= submitted.bytes;
        if full {
            // Others may have waited for room.
            let waiting = self
                .documents
                .iter()
                .filter(|(_, document)| document.queue.is_waiting());
            self.work.extend(waiting.map(|(id, _)| id.clone()));
        }
        Some(submitted)
    }

    pub(super) fn on_receipt(&mut self, now: Instant, receipt: &wire::Receipt) {
        let request = RequestId(receipt.request_id);
        let Some(submitted) = self.answered(request) else {
            return;
        };
        if receipt.offsets.len() != submitted.hashes.len() {
            return self.hang_up(now, "a receipt has not one offset for each change");
        }
        let id = submitted.document;
        if let Some(document) = self.documents.get_mut(&id) {
            document.submit_failures = 0;
            let places = submitted
                .hashes
                .into_iter()
                .zip(receipt.offsets.iter().copied().map(Offset));
            document.queue.stored(request, places, receipt.tier().into());
        }
        self.settle(&id);
        self.with(now, &id, |_| {});
    }

    fn settle(&mut self, id: &DocumentId) {
        let Some(document) = self.documents.get_mut(id) else {
            return;
        };
        while let Some((hash, offset, tier)) = document.queue.settle() {
            self.unsettled -= 1;
            self.events.push_back(Event::Settled {
                document: id.clone(),
                hash,
                outcome: Outcome::Committed { offset, tier },
            });
        }
    }

    /// A Reject; `false` if it is about no submit.
    pub(super) fn on_submit_reject(&mut self, now: Instant, reject: &wire::Reject) -> bool {
        let request = RequestId(reject.request_id);
        let Some(submitted) = self.answered(request) else {
            return false;
        };
        let Submitted {
            document: id, hashes, ..
        } = submitted;
        let code = reject.code();
        let retry_after = reject.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
        let retry_after = retry_after.or_else(|| (code == RejectCode::Stopping).then_some(RETRY));
        // Of those that were made under a lock some may be stored, which have their receipts whatever became of the lock.
        let one_of_them = matches!(
            code,
            RejectCode::Invalid | RejectCode::TooLarge | RejectCode::StaleFencing
        );
        let alone = hashes.len() > 1 && one_of_them;
        if code == RejectCode::Unauthenticated {
            self.on_unauthenticated(request, &reject.message);
        }
        let Some(document) = self.documents.get_mut(&id) else {
            return true;
        };
        if let Some(least) = retry_after {
            // All that was under way is rejected for the same reason: that is one failure.
            if document.hold.is_none_or(|hold| hold <= now) {
                let backoff = &self.tuning.backoff;
                let delay = backoff.delay_from(least, document.submit_failures, &mut self.rng);
                document.submit_failures += 1;
                document.hold = Some(now + delay);
            }
            let unsure = code == RejectCode::OutcomeUnknown;
            document.queue.send_again(request, &hashes, false, unsure);
        } else if alone || code == RejectCode::Unauthenticated {
            document.queue.send_again(request, &hashes, alone, false);
        } else {
            let message = reject.message.clone();
            self.refuse(&id, &hashes, &Refusal { code, message });
        }
        self.with(now, &id, |_| {});
        true
    }

    /// The server does not take these. Whether it has one of them all the same, because an answer was lost, is found out first:
    /// by following the document anew, or by searching its history, in which there is also what the server has set aside.
    fn refuse(&mut self, id: &DocumentId, hashes: &[ChangeHash], refusal: &Refusal) {
        let Some(document) = self.documents.get_mut(id) else {
            return;
        };
        let find_out = document.is_followed() || refusal.code != RejectCode::Invalid;
        let refused = document.queue.refuse(hashes, refusal, find_out);
        if let Follow::On(_) = document.follow
            && document.queue.has_doubts()
        {
            document.follow = Follow::Due;
        }
        self.take_out(id, &refused, refusal);
        self.settle(id);
    }

    /// These will never be stored, and what depends on them is nothing worth.
    fn take_out(&mut self, id: &DocumentId, hashes: &[ChangeHash], refusal: &Refusal) {
        let Some(document) = self.documents.get_mut(id) else {
            return;
        };
        let doomed = document.queue.doom(hashes);
        let Some(first) = hashes.first().filter(|_| !doomed.is_empty()) else {
            return;
        };
        self.unsettled -= doomed.len();
        self.events.push_back(Event::Revert {
            document: id.clone(),
            hashes: doomed.clone(),
        });
        for hash in doomed {
            let (on, outcome) = match hashes.contains(&hash) {
                true => (hash, Outcome::Refused(refusal.clone())),
                false => (*first, Outcome::Dependent(*first)),
            };
            self.refused.add(id, hash, on);
            self.events.push_back(Event::Settled {
                document: id.clone(),
                hash,
                outcome,
            });
        }
        self.settle(id);
    }
}
