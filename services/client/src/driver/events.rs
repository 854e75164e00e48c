//! Doing what the session wants.

use std::sync::Arc;

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    native::wire::Entry,
};
use bytes::Bytes;

use super::Driver;
use crate::{
    error::SubmitError,
    lock,
    presence::Present,
    receipt::Committed,
    session::{Event, Input, LinkStatus, Outcome, Refusal},
    status::{Carrier, Link},
    store::What,
};
use aetherflow_schema::native::wire::RejectCode;

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
                Event::Revert {
                    document,
                    hashes,
                    generation,
                } => {
                    if let Some(shared) = self.opened(&document) {
                        lock(&shared.replica).revert(&hashes, generation);
                        shared.touch();
                    }
                }
                Event::Apply { document, entries } => self.apply(&document, &entries).await,
                Event::Merge {
                    document,
                    offset,
                    bytes,
                    heads,
                } => self.merge(document, offset, bytes, &heads).await,
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

    async fn apply(&mut self, document: &DocumentId, entries: &[Entry]) {
        let (Some(shared), Some(last)) = (self.opened(document), entries.last()) else {
            return;
        };
        let chunks = lock(&shared.replica).apply(entries);
        let changed = !chunks.is_empty();
        self.advance(document, Offset(last.offset), chunks.into()).await;
        if changed {
            shared.touch();
        }
    }

    async fn merge(&mut self, document: DocumentId, offset: Offset, bytes: Bytes, heads: &[ChangeHash]) {
        let Some(shared) = self.opened(&document) else {
            return;
        };
        let merged = lock(&shared.replica).merge(&bytes, heads);
        match merged {
            Ok(changes) => {
                self.advance(&document, offset, bytes).await;
                shared
                    .state
                    .send_if_modified(|state| !std::mem::replace(&mut state.loaded, true));
                shared.touch();
                // Whether it lacks them because they wait to be submitted.
                self.take_edits().await;
                if !changes.is_empty() {
                    self.session.handle(super::now(), Input::Lacking { document, changes });
                }
            }
            Err(error) => {
                tracing::error!(%document, %error, "the server's state of a document cannot be merged");
                let refusal = Refusal {
                    code: RejectCode::Unreadable,
                    message: format!("what the server sent cannot be merged: {error}"),
                };
                shared.state.send_modify(|state| state.refusal = Some(refusal));
                self.session.handle(super::now(), Input::Close(document));
            }
        }
    }

    async fn advance(&mut self, document: &DocumentId, cursor: Offset, bytes: Bytes) {
        if let Some(opened) = self.documents.get_mut(document) {
            opened.cursor = Some(cursor);
        }
        self.keep(document, What::Merged { cursor, bytes }, None).await;
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
