//! What the server says.

use std::time::Instant;

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset, SessionId},
    native::{
        ClientFrame, RequestId, Start, Subscribe, decode_server,
        wire::{self, RejectCode, server_frame::Kind},
    },
};
use bytes::Bytes;
use uuid::Uuid;

use super::{Event, Refusal, Session, document::Follow};

impl Session {
    pub(super) fn on_frame(&mut self, now: Instant, frame: Bytes) {
        if !self.link.is_connected() {
            return;
        }
        self.on_heard(now);
        let kind = match decode_server(frame) {
            Ok(kind) => kind,
            Err(error) => return self.hang_up(now, &format!("the server sent nonsense: {error}")),
        };
        match kind {
            Kind::Welcome(welcome) => self.on_welcome(now, &welcome),
            Kind::Receipt(receipt) => self.on_receipt(now, &receipt),
            Kind::Reject(reject) => self.on_reject(now, &reject),
            Kind::Snapshot(snapshot) => self.on_snapshot(now, snapshot),
            Kind::Ops(ops) => match ops.request_id {
                Some(request) => self.on_history(now, RequestId(request), ops),
                None => self.on_ops(ops),
            },
            Kind::PresenceEvent(event) => self.on_presence(now, event),
            Kind::GoAway(go_away) => self.on_go_away(now, &go_away),
            Kind::LockGranted(granted) => self.on_lock_granted(now, &granted),
            Kind::LockReleased(released) => self.on_lock_released(now, &released),
            // Nobody asks who holds which lock.
            Kind::Pong(_) | Kind::Locks(_) => {}
        }
    }

    pub(super) fn poll_subscribe(&mut self, now: Instant, id: &DocumentId) -> Option<ClientFrame> {
        let again = self.followed.contains(id);
        let document = self.documents.get_mut(id)?;
        let asking = document.follow == Follow::AskingHeads;
        let start = document.start(now, again);
        if document.follow == Follow::AskingHeads && !asking {
            self.events.push_back(Event::AskHeads(id.clone()));
        }
        let start = start?;
        if std::mem::take(&mut document.refusal_told) {
            self.events.push_back(Event::Following {
                document: id.clone(),
                refusal: None,
            });
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        document.doubt_others(now);
        document.follow = match start {
            Start::After(_) => Follow::On(request),
            Start::Snapshot | Start::AfterHeads(_) => Follow::AwaitingSnapshot(request),
        };
        self.followed.insert(id.clone());
        self.subscriptions.retain(|_, followed| followed != id);
        self.subscriptions.insert(request, id.clone());
        let document = id.clone();
        Some(ClientFrame::Subscribe(Subscribe {
            request,
            document,
            start,
        }))
    }

    fn on_snapshot(&mut self, now: Instant, snapshot: wire::Snapshot) {
        let Ok(id) = DocumentId::from_bytes(&snapshot.document) else {
            return;
        };
        let (heads, []) = snapshot.heads.as_chunks() else {
            return self.hang_up(now, "a snapshot's heads are not hashes");
        };
        let heads = heads.iter().map(|hash| ChangeHash(*hash)).collect();
        let offset = Offset(snapshot.offset);
        let Some(document) = self.documents.get_mut(&id) else {
            return;
        };
        if document.take_snapshot(offset) {
            self.followed_well(&id);
            self.events.push_back(Event::Merge {
                document: id,
                offset,
                bytes: snapshot.bytes,
                heads,
            });
        }
    }

    fn on_ops(&mut self, ops: wire::Ops) {
        let Ok(id) = DocumentId::from_bytes(&ops.document) else {
            return;
        };
        let Some(document) = self.documents.get_mut(&id) else {
            return;
        };
        let Some(entries) = document.take_new(ops.entries) else {
            return;
        };
        self.followed_well(&id);
        if !entries.is_empty() {
            self.events.push_back(Event::Apply { document: id, entries });
        }
    }

    fn followed_well(&mut self, id: &DocumentId) {
        if let Some(document) = self.documents.get_mut(id) {
            document.subscribe_failures = 0;
        }
    }

    fn on_presence(&mut self, now: Instant, event: wire::PresenceEvent) {
        let id = DocumentId::from_bytes(&event.document);
        let session = Uuid::from_slice(&event.session_id).map(SessionId);
        let (Ok(id), Ok(session)) = (id, session) else {
            return;
        };
        let Some(document) = self.documents.get_mut(&id).filter(|document| document.open) else {
            return;
        };
        if self.own_sessions.contains(&session) {
            return;
        }
        if let Some(present) = document.see(now, session, event) {
            self.events.push_back(Event::Presence {
                document: id.clone(),
                session,
                present,
            });
        }
        self.arm(now, &id);
    }

    fn on_reject(&mut self, now: Instant, reject: &wire::Reject) {
        let is_answer = self.on_submit_reject(now, reject)
            || self.on_lock_reject(now, reject)
            || self.on_search_reject(now, reject);
        if is_answer {
            return;
        }
        let Some(id) = self.subscriptions.remove(&RequestId(reject.request_id)) else {
            return;
        };
        let code = reject.code();
        if code == RejectCode::Unauthenticated {
            self.on_unauthenticated(RequestId(reject.request_id), &reject.message);
        }
        let Some(document) = self.documents.get_mut(&id).filter(|document| document.open) else {
            return;
        };
        let message = reject.message.clone();
        document.follow = match (code, reject.retry_after_ms) {
            (RejectCode::NoSuchPlace, _) if document.cursor.is_some() => {
                document.cursor = None;
                self.events.push_back(Event::AskHeads(id.clone()));
                Follow::AskingHeads
            }
            (RejectCode::Unauthenticated, _) => Follow::Due,
            (_, Some(ms)) => {
                let least = std::time::Duration::from_millis(ms.into());
                let failures = document.subscribe_failures;
                document.subscribe_failures += 1;
                Follow::Held(now + self.tuning.backoff.delay_from(least, failures, &mut self.rng))
            }
            _ => {
                let refusal = Refusal { code, message };
                document.refusal_told = true;
                self.events.push_back(Event::Following {
                    document: id.clone(),
                    refusal: Some(refusal.clone()),
                });
                Follow::Refused(refusal)
            }
        };
        self.with(now, &id, |_| {});
    }
}
