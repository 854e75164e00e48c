//! A client that speaks the native protocol: it subscribes from where each replica stands, and submits what the server has
//! not acknowledged. Whatever is rejected, but for a place that is not there, ends the connection; the next one begins
//! with what is missing. A place that is not there is noted in the replica for the checker.

use std::collections::{HashMap, HashSet};

use aetherflow_schema::{
    id::{DocumentId, Offset},
    native::{
        ClientFrame, RequestId, Submit, Subscribe,
        wire::{RejectCode, server_frame::Kind},
    },
};
use automerge::ChangeHash;
use bytes::Bytes;

use super::Shared;
use crate::{
    link::Link,
    lock,
    native::{self, Connection, Transport},
    replica::{Replica, ReplicaError},
    wire::WireError,
};

/// What is under way on one connection.
#[derive(Default)]
pub(super) struct Requests {
    next: u64,
    subscribed: HashSet<DocumentId>,
    subscribes: HashMap<RequestId, DocumentId>,
    submits: HashMap<RequestId, (DocumentId, Vec<ChangeHash>)>,
}

pub(super) async fn connect(shared: &Shared, transport: Transport) -> Result<(Link, String), WireError> {
    let connection = Connection::open_on(transport, &shared.options.endpoint, &shared.name).await?;
    *lock(&shared.requests) = Requests::default();
    for open in lock(&shared.replicas).values_mut() {
        open.replica.become_native();
    }
    Ok((connection.into_link(), String::new()))
}

impl Requests {
    fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    /// What is to be said about a document, if anything.
    pub(super) fn say(&mut self, document: &DocumentId, replica: &mut Replica) -> Option<Bytes> {
        if self.subscribed.insert(document.clone()) {
            let request = self.request();
            self.subscribes.insert(request, document.clone());
            let subscribe = Subscribe {
                request,
                document: document.clone(),
                start: replica.place(),
            };
            return Some(ClientFrame::Subscribe(subscribe).encode());
        }
        let changes = replica.unsaid();
        if changes.is_empty() {
            return None;
        }
        let request = self.request();
        let hashes = changes.iter().map(automerge::Change::hash).collect();
        self.submits.insert(request, (document.clone(), hashes));
        let submit = Submit {
            request,
            document: document.clone(),
            changes: changes
                .iter()
                .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
                .collect(),
            fencing: None,
        };
        Some(ClientFrame::Submit(submit).encode())
    }
}

impl Shared {
    pub(super) fn hear_native(&self, frame: &Bytes) -> Result<(), WireError> {
        match native::decode(frame)? {
            Kind::Receipt(receipt) => {
                let submitted = lock(&self.requests).submits.remove(&RequestId(receipt.request_id));
                let Some((document, hashes)) = submitted else {
                    return Err(WireError::Nonsense(format!("{receipt:?} answers nothing")));
                };
                if receipt.offsets.len() != hashes.len() {
                    return Err(WireError::Nonsense(format!("{receipt:?} for {} changes", hashes.len())));
                }
                let offsets = receipt.offsets.into_iter().map(Offset);
                let stored: Vec<_> = hashes.into_iter().zip(offsets).collect();
                self.on_document(&document, |replica| replica.hear_receipt(&stored));
                Ok(())
            }
            Kind::Reject(reject) => {
                let request = RequestId(reject.request_id);
                let subscribed = lock(&self.requests).subscribes.remove(&request);
                let ahead = reject.code() == RejectCode::NoSuchPlace;
                if let Some(document) = subscribed.filter(|_| ahead) {
                    // The server has lost what this client has seen, or is another one: the checker hears of it.
                    lock(&self.requests).subscribed.remove(&document);
                    self.on_document(&document, Replica::forget_place);
                    return Ok(());
                }
                Err(WireError::Refused(format!("{reject:?}")))
            }
            Kind::Snapshot(snapshot) => {
                let hear = |replica: &mut Replica| {
                    replica.hear_snapshot(Offset(snapshot.offset), &snapshot.bytes, &snapshot.heads)
                };
                self.told(&snapshot.document, hear)
            }
            Kind::Ops(ops) => self.told(&ops.document, |replica| replica.hear_entries(&ops.entries)),
            Kind::Welcome(_) | Kind::PresenceEvent(_) | Kind::GoAway(_) | Kind::Pong(_) => Ok(()),
            Kind::LockGranted(_) | Kind::LockReleased(_) | Kind::Locks(_) => {
                Err(WireError::Nonsense("nobody asked for a lock".to_owned()))
            }
        }
    }

    fn told(
        &self,
        document: &[u8],
        hear: impl FnOnce(&mut Replica) -> Result<(), ReplicaError>,
    ) -> Result<(), WireError> {
        let document = DocumentId::from_bytes(document).map_err(|error| WireError::Nonsense(error.to_string()))?;
        self.on_document(&document, hear)
            .unwrap_or(Ok(()))
            .map_err(|error| WireError::Nonsense(format!("{document}: {error}")))
    }
}
