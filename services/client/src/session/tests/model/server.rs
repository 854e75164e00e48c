//! A server that does what the protocol says, with one log in memory.

use std::collections::{BTreeMap, HashMap, HashSet};

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    locks::Fencing,
    native::{AcquireLock, Fetch, Presence, ReleaseLock, RequestId, Start, Submit, Subscribe, wire},
};
use automerge::{Automerge, Change, ReadDoc};
use bytes::Bytes;

use crate::replica::new_change;

/// What the server does with the next submit of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session::tests) enum Mood {
    Fine,
    Overloaded,
    /// It stores it, and says that it does not know.
    Unknown,
    Stopping,
    /// It does not want it from this client, whether it has it or not.
    Forbidden,
}

/// One log for all documents, in memory.
#[derive(Default)]
pub(in crate::session::tests) struct Server {
    /// With gaps where a restored backup had no entries any more.
    pub(in crate::session::tests) log: Vec<Option<(DocumentId, Bytes)>>,
    stored: HashMap<(DocumentId, ChangeHash), Offset>,
    /// It was restored from a backup.
    pub(in crate::session::tests) rolled_back: bool,
    /// Changes that it did not want once.
    pub(in crate::session::tests) forbidden: HashSet<ChangeHash>,
    /// Changes that it will never take.
    pub(in crate::session::tests) poison: HashSet<ChangeHash>,
    pub(in crate::session::tests) present: BTreeMap<(usize, DocumentId), Presence>,
    /// Which session holds which lock, with which token.
    pub(in crate::session::tests) locks: BTreeMap<DocumentId, (u128, Fencing)>,
    tokens: u64,
}

/// The server's end of a connection.
#[derive(Default)]
pub(in crate::session::tests) struct Served {
    pub(in crate::session::tests) greeted: bool,
    /// How much of each document was sent.
    pub(in crate::session::tests) subscriptions: BTreeMap<DocumentId, usize>,
}

impl Server {
    pub(in crate::session::tests) fn document(&self, id: &DocumentId) -> Automerge {
        let mut document = Automerge::new();
        for (_, bytes) in self.log.iter().flatten().filter(|(owner, _)| owner == id) {
            let _ = document.apply_changes([Change::from_bytes(bytes.to_vec()).unwrap()]);
        }
        document
    }

    pub(in crate::session::tests) fn offset(&self, id: &DocumentId, hash: &ChangeHash) -> Option<Offset> {
        self.stored.get(&(id.clone(), *hash)).copied()
    }

    pub(in crate::session::tests) fn store(&mut self, id: &DocumentId, bytes: &Bytes) -> u64 {
        let hash = new_change(&Change::from_bytes(bytes.to_vec()).unwrap()).hash;
        let log = &mut self.log;
        let offset = self.stored.entry((id.clone(), hash)).or_insert_with(|| {
            log.push(Some((id.clone(), bytes.clone())));
            Offset(log.len() as u64)
        });
        offset.0
    }

    pub(in crate::session::tests) fn submit(&mut self, submit: &Submit, mood: Mood) -> wire::ServerFrame {
        use wire::RejectCode as Code;
        let reject = |code, retry_after_ms| no(submit.request, code, retry_after_ms);
        let hash = |bytes: &Bytes| new_change(&Change::from_bytes(bytes.to_vec()).unwrap()).hash;
        match mood {
            Mood::Overloaded => return reject(Code::Overloaded, Some(1_000)),
            Mood::Stopping => return reject(Code::Stopping, None),
            Mood::Forbidden => {
                self.forbidden.extend(submit.changes.iter().map(hash));
                return reject(Code::Forbidden, None);
            }
            Mood::Fine | Mood::Unknown => {}
        }
        if submit.changes.iter().any(|bytes| self.poison.contains(&hash(bytes))) {
            return reject(Code::Invalid, None);
        }
        let is_new = |bytes| !self.stored.contains_key(&(submit.document.clone(), hash(bytes)));
        if let Some(fencing) = submit.fencing
            && self
                .locks
                .get(&submit.document)
                .is_none_or(|(_, held)| *held != fencing)
            && submit.changes.iter().any(is_new)
        {
            return reject(Code::StaleFencing, None);
        }
        let offsets = submit
            .changes
            .iter()
            .map(|bytes| self.store(&submit.document, bytes))
            .collect();
        if mood == Mood::Unknown {
            return reject(Code::OutcomeUnknown, Some(1_000));
        }
        wire::ServerFrame::from(wire::Receipt {
            request_id: submit.request.0,
            offsets,
            tier: wire::Tier::Durable.into(),
        })
    }

    /// A session has a lock, or wants it.
    pub(in crate::session::tests) fn acquire(&mut self, session: u128, acquire: &AcquireLock) -> wire::ServerFrame {
        let held = self.locks.get(&acquire.document).copied();
        let fencing = match (held, acquire.fencing) {
            (Some((holder, held)), None) if holder == session => held,
            (Some(_), None) => return no(acquire.request, wire::RejectCode::Locked, Some(1_000)),
            (None, None) => {
                self.tokens += 1;
                Fencing(self.tokens)
            }
            (held, Some(token)) if held == Some((session, token)) => token,
            (_, Some(_)) => return no(acquire.request, wire::RejectCode::StaleFencing, None),
        };
        self.locks.insert(acquire.document.clone(), (session, fencing));
        let lock = wire::Lock {
            fencing: fencing.0,
            ..wire::Lock::default()
        };
        wire::ServerFrame::from(wire::LockGranted {
            request_id: acquire.request.0,
            lock: Some(lock),
            ttl_ms: acquire.ttl_ms,
        })
    }

    /// A session is over: nobody came back.
    pub(in crate::session::tests) fn end_session(&mut self, session: u128) {
        self.locks.retain(|_, (holder, _)| *holder != session);
    }

    /// A session gives a lock back.
    pub(in crate::session::tests) fn release(&mut self, session: u128, release: &ReleaseLock) -> wire::ServerFrame {
        if self.locks.get(&release.document) != Some(&(session, release.fencing)) {
            return no(release.request, wire::RejectCode::StaleFencing, None);
        }
        self.locks.remove(&release.document);
        let request_id = release.request.0;
        wire::ServerFrame::from(wire::LockReleased { request_id })
    }

    pub(in crate::session::tests) fn subscribe(
        &self,
        served: &mut Served,
        subscribe: Subscribe,
    ) -> Option<wire::ServerFrame> {
        let Subscribe {
            request,
            document,
            start,
        } = subscribe;
        let all = self.log.len();
        let id = Bytes::copy_from_slice(document.as_bytes());
        if let Start::After(offset) = start {
            let place = (offset.0 as usize).checked_sub(1);
            if place.is_some_and(|place| self.log.get(place).is_none_or(Option::is_none)) {
                return Some(no(request, wire::RejectCode::NoSuchPlace, None));
            }
            served.subscriptions.insert(document, offset.0 as usize);
            return None;
        }
        let state = self.document(&document);
        served.subscriptions.insert(document, all);
        let bytes = match start {
            Start::AfterHeads(heads) => {
                let heads: Vec<_> = heads.iter().map(|hash| automerge::ChangeHash(hash.0)).collect();
                // Changes that wait for others are in the whole alone.
                if state.get_missing_deps(&[]).is_empty() {
                    state.save_after(&heads)
                } else {
                    state.save()
                }
            }
            _ => state.save(),
        };
        Some(wire::ServerFrame::from(wire::Snapshot {
            document: id,
            offset: all as u64,
            bytes: bytes.into(),
            heads: state.get_heads().iter().flat_map(|hash| hash.0).collect(),
        }))
    }

    /// The history of a document, from its beginning, in small parts.
    pub(in crate::session::tests) fn fetch(&self, fetch: &Fetch, mood: Mood) -> Vec<wire::ServerFrame> {
        use wire::RejectCode as Code;
        let reject = |code, retry_after_ms| vec![no(fetch.request, code, retry_after_ms)];
        match mood {
            Mood::Overloaded | Mood::Unknown => return reject(Code::Overloaded, Some(1_000)),
            Mood::Stopping => return reject(Code::Stopping, None),
            // Who may not write may read.
            Mood::Fine | Mood::Forbidden => {}
        }
        assert_eq!((fetch.from, fetch.until), (Offset(1), None));
        let entries = self.entries(&fetch.document, 0);
        let parts = entries.len().div_ceil(2);
        if parts == 0 {
            return reject(Code::NotFound, None);
        }
        let parts = entries.chunks(2).zip(1..).map(|(part, number)| wire::Ops {
            document: Bytes::copy_from_slice(fetch.document.as_bytes()),
            entries: part.to_vec(),
            request_id: Some(fetch.request.0),
            last: number == parts,
        });
        parts.map(wire::ServerFrame::from).collect()
    }

    /// The entries of a document from the one with this number on.
    fn entries(&self, document: &DocumentId, from: usize) -> Vec<wire::Entry> {
        let entries = self.log.iter().enumerate().skip(from);
        let entries = entries.filter_map(|(at, entry)| Some((at, entry.as_ref()?)));
        entries
            .filter(|(_, (owner, _))| owner == document)
            .map(|(at, (_, payload))| wire::Entry {
                offset: at as u64 + 1,
                kind: wire::EntryKind::Change.into(),
                payload: payload.clone(),
                ..wire::Entry::default()
            })
            .collect()
    }

    /// It is restored from a backup that ends there: what came later is gone, and its places with it.
    pub(in crate::session::tests) fn roll_back(&mut self, length: usize) {
        self.log.iter_mut().skip(length).for_each(|entry| *entry = None);
        self.stored.retain(|_, offset| offset.0 <= length as u64);
        self.present.clear();
        self.locks.clear();
        self.rolled_back = true;
    }

    /// What a subscriber has not been sent.
    pub(in crate::session::tests) fn news(&self, served: &mut Served) -> Vec<wire::ServerFrame> {
        let mut frames = Vec::new();
        for (document, sent) in &mut served.subscriptions {
            let entries = self.entries(document, *sent);
            *sent = self.log.len();
            if !entries.is_empty() {
                frames.push(wire::ServerFrame::from(wire::Ops {
                    document: Bytes::copy_from_slice(document.as_bytes()),
                    entries,
                    request_id: None,
                    last: false,
                }));
            }
        }
        frames
    }
}

pub(super) fn no(request: RequestId, code: wire::RejectCode, retry_after_ms: Option<u32>) -> wire::ServerFrame {
    wire::ServerFrame::from(wire::Reject {
        request_id: request.0,
        code: code.into(),
        retry_after_ms,
        message: String::new(),
    })
}
