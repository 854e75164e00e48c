//! A client that does what the driver does, without a task and without a network.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    time::{Duration, Instant},
};

use aetherflow_schema::{
    close::CloseCode,
    id::{ChangeHash, DocumentId, Offset},
    locks::Fencing,
    native::{ClientFrame, KNOWN_CAPABILITIES},
};
use automerge::{Automerge, ROOT, transaction::Transactable};
use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};

use super::{
    super::super::{Backoff, Event, Input, LinkStatus, LockId, LockNews, Outcome, Session, Tuning},
    server::{Mood, Served},
};
use crate::{
    replica::{self, Replica},
    store::{self, Record, StoreFile, What, leftover},
};

/// An offline store.
struct Disk {
    folder: tempfile::TempDir,
    file: StoreFile,
}

impl Disk {
    fn open(folder: tempfile::TempDir) -> Self {
        let file = StoreFile::open(&folder.path().join("store"), false).unwrap();
        Self { folder, file }
    }
}

/// A client without a task and without a network.
pub(in crate::session::tests) struct Client {
    pub(in crate::session::tests) number: usize,
    pub(in crate::session::tests) session: Session,
    pub(in crate::session::tests) replicas: BTreeMap<DocumentId, Replica>,
    pub(in crate::session::tests) outcomes: Vec<(DocumentId, ChangeHash, Outcome)>,
    pub(in crate::session::tests) edits: Vec<(DocumentId, ChangeHash)>,
    /// Edits that the session has not heard of.
    pub(in crate::session::tests) under_way: VecDeque<Input>,
    pub(in crate::session::tests) applied: BTreeMap<DocumentId, BTreeSet<u64>>,
    pub(in crate::session::tests) cursors: BTreeMap<DocumentId, Offset>,
    pub(in crate::session::tests) status: Option<LinkStatus>,
    /// With which code it ended the last connection, if it did.
    pub(in crate::session::tests) hung_up: Option<CloseCode>,
    /// The session that the server gives it.
    pub(in crate::session::tests) server_session: u128,
    /// What the server can.
    pub(in crate::session::tests) capabilities: &'static [&'static str],
    /// Edits that were made under a lock.
    pub(in crate::session::tests) made_under: HashSet<ChangeHash>,
    /// Locks that are wanted, the newest last.
    pub(super) wanted: Vec<(DocumentId, LockId)>,
    pub(super) locks_wanted: u64,
    /// The newest token of each document's lock.
    pub(super) tokens: BTreeMap<DocumentId, Fencing>,
    /// What became of locks.
    pub(in crate::session::tests) lock_news: Vec<(LockId, LockNews)>,
    pub(in crate::session::tests) dialing: bool,
    pub(in crate::session::tests) connected: bool,
    pub(in crate::session::tests) to_server: VecDeque<ClientFrame>,
    pub(in crate::session::tests) to_client: VecDeque<Bytes>,
    pub(in crate::session::tests) open: BTreeSet<DocumentId>,
    disk: Option<Disk>,
    pub(super) served: Served,
    pub(in crate::session::tests) mood: Mood,
    pub(super) last_ops: Option<Bytes>,
}

fn tuning() -> Tuning {
    Tuning {
        client_id: "client".to_owned(),
        token: "token".to_owned(),
        backoff: Backoff::default(),
        silence: Duration::from_secs(15),
        patience: Duration::from_secs(10),
        answer: Duration::from_secs(60),
        stable: Duration::from_secs(5),
        submits: 4,
        submit_bytes: 1 << 20,
    }
}

impl Client {
    pub(in crate::session::tests) fn new(number: usize, now: Instant) -> Self {
        Self {
            number,
            session: Session::new(tuning(), now, StdRng::seed_from_u64(number as u64)),
            replicas: BTreeMap::new(),
            outcomes: Vec::new(),
            edits: Vec::new(),
            under_way: VecDeque::new(),
            applied: BTreeMap::new(),
            cursors: BTreeMap::new(),
            status: None,
            hung_up: None,
            server_session: number as u128,
            capabilities: KNOWN_CAPABILITIES,
            made_under: HashSet::new(),
            wanted: Vec::new(),
            locks_wanted: 0,
            tokens: BTreeMap::new(),
            lock_news: Vec::new(),
            dialing: false,
            connected: false,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            open: BTreeSet::new(),
            disk: None,
            served: Served::default(),
            mood: Mood::Fine,
            last_ops: None,
        }
    }

    pub(in crate::session::tests) fn tell(&mut self, now: Instant, input: Input) {
        self.session.handle(now, input);
        self.carry_out(now);
    }

    /// One with an offline store.
    pub(in crate::session::tests) fn with_disk(number: usize, now: Instant) -> Self {
        let disk = Some(Disk::open(tempfile::tempdir().unwrap()));
        Self {
            disk,
            ..Self::new(number, now)
        }
    }

    pub(in crate::session::tests) fn open(&mut self, now: Instant, id: &DocumentId) {
        self.open.insert(id.clone());
        let mut refused = Vec::new();
        if let Some(disk) = &self.disk {
            let stored = disk.file.load(id).unwrap();
            let (replica, out) = Replica::restore(&stored.parts).unwrap();
            assert_eq!(stored.cursor, self.cursors.get(id).copied());
            self.replicas.insert(id.clone(), replica);
            refused = out;
        } else {
            self.replicas
                .entry(id.clone())
                .or_insert_with(|| Replica::new(Automerge::new()));
        }
        let (document, cursor) = (id.clone(), self.cursors.get(id).copied());
        self.tell(
            now,
            Input::Open {
                document,
                cursor,
                refused,
            },
        );
    }

    pub(in crate::session::tests) fn close(&mut self, now: Instant, id: &DocumentId) {
        self.open.remove(id);
        self.tell(now, Input::Close(id.clone()));
        if self.disk.is_some() {
            // What the session has not heard of is an edit all the same.
            self.hand_over_all(now);
            self.carry_out(now);
            self.replicas.remove(id);
        }
    }

    /// The process is killed, and starts again.
    pub(in crate::session::tests) fn crash(&mut self, now: Instant) {
        self.cut();
        for input in std::mem::take(&mut self.under_way) {
            if let Input::Edit { change, .. } = input {
                self.edits.retain(|(_, hash)| *hash != change.hash);
            }
        }
        let Some(Disk { folder, file }) = self.disk.take() else {
            panic!("everything is lost");
        };
        drop(file);
        let mut disk = Disk::open(folder);
        let left = leftover(&mut disk.file, &disk.folder.path().join("store"), false).unwrap();
        for (document, hash) in &self.edits {
            let known = |(of, known, _): &(DocumentId, ChangeHash, Outcome)| (of, known) == (document, hash);
            if disk.file.refused(document).contains(hash) && !self.outcomes.iter().any(known) {
                // It depends on another one.
                self.outcomes.push((document.clone(), *hash, Outcome::Dependent(*hash)));
            }
        }
        self.disk = Some(disk);
        self.session = Session::new(tuning(), now, StdRng::seed_from_u64(self.number as u64));
        self.hung_up = None;
        self.server_session += 1 << 16;
        self.forget_locks();
        for (document, changes) in left {
            for change in changes {
                let document = document.clone();
                let left = true;
                self.tell(now, Input::Edit { document, change, left });
            }
        }
        for id in self.open.clone() {
            self.open(now, &id);
        }
    }

    fn keep(&mut self, document: &DocumentId, what: What) {
        let document = document.clone();
        self.keep_all(vec![Record { document, what }]);
    }

    fn keep_all(&mut self, records: Vec<Record>) {
        if let Some(disk) = &mut self.disk {
            disk.file.append(records).unwrap();
        }
    }

    /// Applies an edit, which the session does not hear of yet.
    pub(in crate::session::tests) fn edit(&mut self, id: &DocumentId) -> (ChangeHash, Input) {
        let replica = self.replicas.get_mut(id).unwrap();
        let key = format!("{} {}", self.number, self.edits.len());
        let edited = replica.edit(0, |tx| tx.put(ROOT, key, 1)).unwrap();
        let change = edited.change.unwrap();
        let hash = change.hash;
        self.edits.push((id.clone(), hash));
        let input = Input::Edit {
            document: id.clone(),
            change,
            left: false,
        };
        (hash, input)
    }

    pub(in crate::session::tests) fn hand_over(&mut self, now: Instant) {
        if let Some(input) = self.under_way.pop_front() {
            self.keep_edit(&input);
            self.tell(now, input);
        }
    }

    fn keep_edit(&mut self, input: &Input) {
        if let Input::Edit { document, change, .. } = input {
            self.keep(document, What::local(change));
        }
    }

    /// What comes of it is carried out later.
    fn hand_over_all(&mut self, now: Instant) {
        for input in std::mem::take(&mut self.under_way) {
            self.keep_edit(&input);
            self.session.handle(now, input);
        }
    }

    fn settled(&mut self, document: DocumentId, hash: ChangeHash, outcome: Outcome) {
        let what = match outcome {
            Outcome::Committed { .. } => What::Acknowledged(hash),
            Outcome::Refused(_) | Outcome::Dependent(_) => What::Refused(hash),
        };
        self.keep(&document, what);
        self.outcomes.push((document, hash, outcome));
    }

    pub(super) fn carry_out(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Dial => self.dialing = true,
                Event::HangUp(code) => {
                    self.cut();
                    self.hung_up = Some(code);
                }
                Event::Settled {
                    document,
                    hash,
                    outcome,
                } => self.settled(document, hash, outcome),
                Event::Revert { document, hashes } => {
                    if let Some(replica) = self.replicas.get_mut(&document) {
                        replica.revert(&hashes).unwrap();
                    }
                }
                Event::StoredAfterAll { document, hash } => self.keep(&document, What::Acknowledged(hash)),
                Event::Apply { document, entries } => {
                    let applied = self.applied.entry(document.clone()).or_default();
                    for entry in &entries {
                        assert!(applied.insert(entry.offset), "an entry is handed on once");
                    }
                    let last = Offset(entries.last().unwrap().offset);
                    let before = self.cursors.insert(document.clone(), last);
                    assert!(before.is_none_or(|before| before < last), "in order");
                    let applied = self.replicas.get_mut(&document).unwrap().apply(&entries).unwrap();
                    let (cursor, bytes) = (last, applied.chunks.into());
                    self.keep(&document, What::Merged { cursor, bytes });
                    let stored = applied.stored;
                    self.session.handle(now, Input::Applied { document, stored });
                }
                Event::Search {
                    document,
                    entries,
                    last,
                } => {
                    let stored = replica::search(&entries, &self.session.asks(&document));
                    self.session.handle(now, Input::Searched { document, stored, last });
                }
                Event::Merge {
                    document,
                    offset,
                    bytes,
                    heads,
                } => {
                    self.applied
                        .entry(document.clone())
                        .or_default()
                        .retain(|applied| *applied <= offset.0);
                    self.cursors.insert(document.clone(), offset);
                    let asked = self.session.asks(&document);
                    let replica = self.replicas.get_mut(&document).unwrap();
                    let merged = replica.merge(&bytes, &heads, &asked).unwrap();
                    self.hand_over_all(now);
                    let mut lacking = merged.lacking;
                    lacking.retain(|change| !self.session.is_pending(&document, &change.hash));
                    self.keep_all(store::merged(&document, offset, bytes, &lacking));
                    let held = merged.held;
                    let merged = Input::Merged {
                        document,
                        offset,
                        lacking,
                        held,
                    };
                    self.session.handle(now, merged);
                }
                Event::AskHeads(document) => {
                    let heads = self.replicas[&document].heads();
                    self.session.handle(now, Input::Heads { document, heads });
                }
                Event::Link(status) => self.status = Some(status),
                Event::Lock { document, lock, news } => self.on_lock_news(document, lock, news),
                Event::Presence { .. } | Event::Following { .. } => {}
            }
        }
    }
}
