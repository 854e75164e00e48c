//! A follower that remembers what it was told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aetherflow_schema::{
    document_log::{DocumentLog, FollowSink, Follower, Following, Offered, SnapshotAt, Told},
    documents::{BoxFuture, DocumentError},
    id::{DocumentId, Offset},
    native::Start,
    record::{Entry, EntryKind},
};
use aetherflow_statesync::Statesync;
use automerge::{AutoCommit, Change};

use super::grant;

struct Sink {
    told: Mutex<Vec<Told>>,
    answer: Mutex<Offered>,
    /// Every so many offers there is no room; never when zero.
    full_each: AtomicUsize,
    offers: AtomicUsize,
    /// Bytes of the longest frame that it takes.
    longest: AtomicUsize,
}

impl FollowSink for Sink {
    fn offer(&self, told: Told) -> Offered {
        let answer = *self.answer.lock().unwrap();
        if let Told::Ops(ops) = &told
            && ops.entries().len() > 1
            && ops.frame().len() > self.longest()
        {
            return Offered::Full;
        }
        let each = self.full_each.load(Ordering::Relaxed);
        let offers = self.offers.fetch_add(1, Ordering::Relaxed);
        if answer == Offered::Taken && each > 0 && offers % each == each - 1 {
            return Offered::Full;
        }
        if answer == Offered::Taken {
            self.told.lock().unwrap().push(told);
        }
        answer
    }

    fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    fn room(&self, _: usize) -> BoxFuture<'_, bool> {
        Box::pin(async {
            loop {
                let answer = *self.answer.lock().unwrap();
                match answer {
                    Offered::Taken => return true,
                    Offered::Gone => return false,
                    Offered::Full => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        })
    }
}

pub(crate) struct Listener {
    sink: Arc<Sink>,
    following: Option<Box<dyn Following>>,
}

impl Listener {
    pub(crate) fn follow(statesync: &Statesync, document: &DocumentId, start: Start) -> Self {
        Self::taking(usize::MAX, statesync, document, start)
    }

    /// One that takes frames of so many bytes.
    pub(crate) fn taking(bytes: usize, statesync: &Statesync, document: &DocumentId, start: Start) -> Self {
        let sink = Arc::new(Sink {
            told: Mutex::default(),
            answer: Mutex::new(Offered::Taken),
            full_each: AtomicUsize::new(0),
            offers: AtomicUsize::new(0),
            longest: AtomicUsize::new(bytes),
        });
        let follower = Follower {
            grant: grant(document),
            start,
            sink: sink.clone(),
        };
        Self {
            following: Some(statesync.follow(follower)),
            sink,
        }
    }

    pub(crate) fn stop(&mut self) {
        self.following = None;
    }

    /// What offers are answered from now on.
    pub(crate) fn answer(&self, answer: Offered) {
        *self.sink.answer.lock().unwrap() = answer;
    }

    pub(crate) fn full_each(&self, offers: usize) {
        self.sink.full_each.store(offers, Ordering::Relaxed);
    }

    /// From now on it takes frames of so many bytes.
    pub(crate) fn takes(&self, bytes: usize) {
        self.sink.longest.store(bytes, Ordering::Relaxed);
    }

    /// The bytes of each frame with entries, and how many there are in it.
    pub(crate) fn frames(&self) -> Vec<(usize, usize)> {
        let told = self.told();
        let ops = told.iter().filter_map(|told| match told {
            Told::Ops(ops) => Some((ops.frame().len(), ops.entries().len())),
            _ => None,
        });
        ops.collect()
    }

    fn told(&self) -> Vec<Told> {
        self.sink.told.lock().unwrap().clone()
    }

    pub(crate) fn snapshot(&self) -> Option<SnapshotAt> {
        self.told().into_iter().find_map(|told| match told {
            Told::Snapshot(snapshot) => Some(snapshot),
            _ => None,
        })
    }

    pub(crate) fn failure(&self) -> Option<DocumentError> {
        self.told().into_iter().find_map(|told| match told {
            Told::Failed(error) => Some(error),
            _ => None,
        })
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let told = self.told();
        let ops = told.iter().filter_map(|told| match told {
            Told::Ops(ops) => Some(ops.entries().to_vec()),
            _ => None,
        });
        ops.flatten().collect()
    }

    pub(crate) fn offsets(&self) -> Vec<Offset> {
        self.entries().iter().map(|entry| entry.offset).collect()
    }

    /// The newest offset it knows of.
    pub(crate) fn reached(&self) -> Offset {
        let snapshot = self.snapshot().map(|snapshot| snapshot.offset);
        self.offsets().last().copied().or(snapshot).unwrap_or_default()
    }

    pub(crate) fn assert_in_order(&self) {
        let told = self.told();
        let later = told.iter().skip(1).any(|told| matches!(told, Told::Snapshot(_)));
        assert!(!later, "a snapshot comes first");
        let offsets = self.offsets();
        assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
        if let Some(snapshot) = self.snapshot() {
            assert!(offsets.first().is_none_or(|first| *first > snapshot.offset));
        }
    }

    /// The document as a client makes it of what it was told.
    pub(crate) fn document(&self) -> AutoCommit {
        let mut document = AutoCommit::new();
        if let Some(snapshot) = self.snapshot() {
            document.load_incremental(&snapshot.bytes).unwrap();
        }
        for entry in self.entries() {
            let payload = &entry.draft.payload;
            match entry.draft.kind {
                EntryKind::Change => {
                    let change = Change::from_bytes(payload.to_vec()).unwrap();
                    document.apply_changes([change]).unwrap();
                }
                EntryKind::Document => {
                    document.load_incremental(payload).unwrap();
                }
                _ => {}
            }
        }
        document
    }
}
