//! Doing what the session wants.

use std::sync::Arc;

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    native::wire::{Entry, RejectCode},
};
use bytes::Bytes;

use super::{Driver, content};
use crate::{
    document::Shared,
    error::SubmitError,
    lock,
    presence::Present,
    receipt::Committed,
    replica::{Applied, Merged, ReplicaError},
    session::{Event, Input, LinkStatus, NewChange, Outcome, Refusal},
    status::{Carrier, Link},
    store::{self, What},
};

impl Driver {
    /// Does everything that the session wants, and what comes of that.
    pub(super) async fn carry_out(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Dial => self.wire.dial(),
                Event::HangUp(code) => self.wire.hang_up(code),
                Event::Settled {
                    document,
                    hash,
                    outcome,
                } => self.settled(document, hash, outcome).await,
                Event::Revert { document, hashes } => {
                    if let Some(shared) = self.opened(&document) {
                        let reverted = content::revert(shared.clone(), hashes).await;
                        shared.touch();
                        if let Err(error) = reverted {
                            self.give_up(&shared, &error);
                        }
                    }
                }
                Event::StoredAfterAll { document, hash } => {
                    self.keep(&document, What::Acknowledged(hash), None).await;
                }
                Event::Apply { document, entries } => self.apply(document, entries).await,
                Event::Search {
                    document,
                    entries,
                    last,
                } => {
                    let asked = self.session.asks(&document);
                    let stored = content::search(entries, asked).await;
                    let searched = Input::Searched { document, stored, last };
                    self.session.handle(super::now(), searched);
                }
                Event::Merge {
                    document,
                    offset,
                    bytes,
                    heads,
                } => self.merge(document, offset, bytes, heads).await,
                Event::AskHeads(document) => {
                    let heads = self.opened(&document).map(|shared| lock(&shared.replica).heads());
                    let heads = heads.unwrap_or_default();
                    self.session.handle(super::now(), Input::Heads { document, heads });
                }
                Event::Presence {
                    document,
                    session,
                    present,
                } => {
                    if let Some(shared) = self.opened(&document) {
                        shared.presence.send_modify(|everybody| {
                            let everybody = Arc::make_mut(everybody);
                            match present {
                                Some(seen) => {
                                    let (principal, state) = (seen.principal, seen.state);
                                    everybody.insert(session, Present { principal, state });
                                }
                                None => {
                                    everybody.remove(&session);
                                }
                            }
                        });
                    }
                }
                Event::Following { document, refusal } => {
                    if let Some(shared) = self.opened(&document) {
                        shared.state.send_modify(|state| state.refusal = refusal);
                    }
                }
                Event::Lock { lock, news, .. } => self.on_lock_news(lock, news),
                Event::Link(link) => self.on_link(link),
            }
        }
        self.count();
    }

    async fn settled(&mut self, document: DocumentId, hash: ChangeHash, outcome: Outcome) {
        let what = match outcome {
            Outcome::Committed { .. } => What::Acknowledged(hash),
            Outcome::Refused(_) | Outcome::Dependent(_) => What::Refused(hash),
        };
        self.keep(&document, what, None).await;
        let result = match outcome {
            Outcome::Committed { offset, tier } => Ok(Committed { offset, tier }),
            Outcome::Refused(refusal) => {
                tracing::warn!(%document, %hash, %refusal, "an edit is refused");
                Err(SubmitError::Refused(refusal))
            }
            Outcome::Dependent(on) => Err(SubmitError::Dependent(on)),
        };
        // Nobody waits for what an earlier client has left.
        if let Some(waiter) = self.waiters.remove(&(document, hash)) {
            let _ = waiter.outcome.send(result);
        }
    }

    async fn apply(&mut self, document: DocumentId, entries: Vec<Entry>) {
        let (Some(shared), Some(last)) = (self.opened(&document), entries.last()) else {
            return;
        };
        let cursor = Offset(last.offset);
        match content::apply(shared.clone(), entries).await {
            Ok(Applied { chunks, stored }) => {
                let changed = !chunks.is_empty();
                let bytes = chunks.into();
                self.advance(&document, cursor);
                self.keep(&document, What::Merged { cursor, bytes }, None).await;
                if changed {
                    shared.touch();
                }
                self.session.handle(super::now(), Input::Applied { document, stored });
            }
            Err(error) => self.give_up(&shared, &error),
        }
    }

    async fn merge(&mut self, document: DocumentId, offset: Offset, bytes: Bytes, heads: Vec<ChangeHash>) {
        let Some(shared) = self.opened(&document) else {
            return;
        };
        let asked = self.session.asks(&document);
        let Merged { lacking, held } = match content::merge(shared.clone(), bytes.clone(), heads, asked).await {
            Ok(merged) => merged,
            Err(error) => return self.give_up(&shared, &error),
        };
        // Whether the server lacks them because they wait to be submitted.
        self.take_edits().await;
        let is_new = |change: &NewChange| !self.session.is_pending(&document, &change.hash);
        let lacking: Vec<_> = lacking.into_iter().filter(is_new).collect();
        self.advance(&document, offset);
        self.append(store::merged(&document, offset, bytes, &lacking), None)
            .await;
        shared
            .state
            .send_if_modified(|state| !std::mem::replace(&mut state.loaded, true));
        shared.touch();
        let merged = Input::Merged {
            document,
            offset,
            lacking,
            held,
        };
        self.session.handle(super::now(), merged);
    }

    /// The replica is not what the server has, and will not be: nothing more is taken from the server for this document.
    fn give_up(&mut self, shared: &Shared, error: &ReplicaError) {
        tracing::error!(document = %shared.id, %error, "what the server has of a document cannot be taken in");
        let refusal = Refusal {
            code: RejectCode::Unreadable,
            message: format!("what the server sent cannot be merged: {error}"),
        };
        shared.state.send_modify(|state| state.refusal = Some(refusal));
        let document = shared.id.clone();
        self.session.handle(super::now(), Input::Close(document));
    }

    fn advance(&mut self, document: &DocumentId, cursor: Offset) {
        if let Some(opened) = self.documents.get_mut(document) {
            opened.cursor = Some(cursor);
        }
    }

    fn on_link(&self, link: LinkStatus) {
        let link = match link {
            LinkStatus::Waiting { until, reason } => {
                tracing::debug!(reason, "not connected");
                Link::Offline {
                    retry_at: until,
                    reason,
                }
            }
            LinkStatus::Connecting => Link::Connecting,
            LinkStatus::Online { session, principal } => {
                let carrier = self.wire.carrier().unwrap_or(Carrier::WebSocket);
                tracing::debug!(%session, principal, ?carrier, "connected");
                Link::Online {
                    carrier,
                    session,
                    principal,
                }
            }
            LinkStatus::Stopped { code, reason } => {
                tracing::warn!(?code, reason, "the server does not want this client");
                Link::Stopped { code, reason }
            }
        };
        self.status.send_modify(|status| status.link = link);
    }
}
