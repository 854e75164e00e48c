//! What a gateway asks of whoever keeps the entries of documents: for clients that know changes and offsets, as those of
//! the native protocol do.
//!
//! Statesync implements [`DocumentLog`] beside [`Documents`](crate::documents::Documents), over the same log: what is
//! submitted here reaches the peers there, and the other way round. The rules that every implementation keeps:
//!
//! * nothing is told to a [`FollowSink`], and no submission answered, before it is committed;
//! * a follower is told every entry of its document after the place it started from exactly once and in the order of
//!   offsets, wherever history ends and the present begins;
//! * submissions that are handed over one after the other are placed in that order;
//! * a change is stored once: submitted again, it has the offset that it was given first.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{
    access::{AuthorizedEdit, Grant},
    documents::{BoxFuture, DocumentError},
    id::{ChangeHash, DocumentId, Offset},
    locks::Fence,
    native::{self, Start, wire},
    record::{Entry, EntryKind},
};

/// Changes of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The document. It is made if it does not exist.
    pub document: DocumentId,
    /// Automerge changes, each a chunk of its own, in an order in which each stands after those it depends on. One whose
    /// dependencies are not there takes effect when they are.
    pub changes: Vec<Bytes>,
    /// The lock under which they were made, if it was one: they are placed only while it is held, or if they are stored
    /// already.
    pub fence: Option<Fence>,
}

/// How safely something is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// On disk, synced, on one machine.
    Durable,
    /// On disk, synced, on as many machines as the cluster demands.
    Replicated,
}

/// Changes that are committed and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Where each change stands, in the order in which they were submitted.
    pub offsets: Vec<Offset>,
    /// How safely the least safe of them is stored.
    pub tier: Tier,
}

/// A submission that has its place in the document's queue; resolves when its changes are committed and applied.
pub type PendingSubmit = BoxFuture<'static, Result<Submitted, DocumentError>>;

/// The state of a document for somebody who has some or none of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAt {
    /// It is the state after this entry; zero when there is no such document.
    pub offset: Offset,
    /// What is missing, as automerge chunks; empty when nothing is.
    pub bytes: Bytes,
    /// The heads of that state.
    pub heads: Vec<ChangeHash>,
}

/// Committed entries of one document, in order, as followers are told of them. Followers share it, and the frame too.
#[derive(Debug)]
pub struct Ops {
    document: DocumentId,
    entries: Vec<Entry>,
    frame: OnceLock<Bytes>,
}

impl Ops {
    /// Entries of this document; those that are of no use to clients are left out. `None` when nothing is left.
    pub fn new(document: DocumentId, mut entries: Vec<Entry>) -> Option<Self> {
        entries.retain(|entry| wire::EntryKind::of(entry.draft.kind).is_some());
        (!entries.is_empty()).then(|| Self {
            document,
            entries,
            frame: OnceLock::new(),
        })
    }

    /// The document.
    pub fn document(&self) -> &DocumentId {
        &self.document
    }

    /// The entries; at least one.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of the entries' payloads.
    pub fn payload_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.draft.payload.len()).sum()
    }

    /// The frame for a subscriber, made when it is first asked for.
    pub fn frame(&self) -> Bytes {
        let make = || native::encode(&wire::ServerFrame::from(wire::Ops::of(&self.document, &self.entries)));
        self.frame.get_or_init(make).clone()
    }

    /// Whether its frame has more than so many bytes and parts of it would have less.
    pub fn is_longer(&self, bytes: usize) -> bool {
        self.entries.len() > 1 && self.frame().len() > bytes
    }

    /// The two halves of its entries; `None` when there is only one.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let (first, second) = self.entries.split_at(self.entries.len() / 2);
        let half = |entries: &[Entry]| Self::new(self.document.clone(), entries.to_vec());
        Some([half(first)?, half(second)?])
    }

    /// What of it comes after `offset`; `None` when that is nothing.
    pub fn after(self: &Arc<Self>, offset: Offset) -> Option<Arc<Self>> {
        if self.entries.first().is_some_and(|first| first.offset > offset) {
            return Some(self.clone());
        }
        let later = self.entries.iter().filter(|entry| entry.offset > offset);
        Self::new(self.document.clone(), later.cloned().collect()).map(Arc::new)
    }
}

/// What a follower is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// The state from which it goes on; comes first, if at all.
    Snapshot(SnapshotAt),
    /// The next entries.
    Ops(Arc<Ops>),
    /// The document cannot be followed, or no longer: nothing more comes.
    Failed(DocumentError),
}

/// What became of something that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is queued.
    Taken,
    /// There is no room for it at present; it has to be told again.
    Full,
    /// Nobody listens any more.
    Gone,
}

/// Where what a follower is told goes. [`offer`](Self::offer) never blocks.
pub trait FollowSink: Send + Sync + 'static {
    /// Queues what is told, if there is room. For entries that [are longer](Ops::is_longer) than [`longest`](Self::longest)
    /// there never is, but in parts.
    fn offer(&self, told: Told) -> Offered;

    /// Bytes of the longest frame that is taken. It may change.
    fn longest(&self) -> usize {
        usize::MAX
    }

    /// Waits until there is room for so many bytes with something to spare, so that reading history does not crowd out
    /// the rest; `false` when nobody listens any more, or when room does not come in time.
    fn room(&self, bytes: usize) -> BoxFuture<'_, bool>;
}

/// Somebody who wants to follow a document.
#[derive(Clone)]
pub struct Follower {
    /// The document, and the permission to read it.
    pub grant: Grant,
    /// What it has already.
    pub start: Start,
    /// Where it is told.
    pub sink: Arc<dyn FollowSink>,
}

/// A document that is being followed. Dropping it ends that.
pub trait Following: Send + Sync {}

/// A stretch of a document's history.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// The document, and the permission to read it.
    pub grant: Grant,
    /// The entries after this offset.
    pub after: Offset,
    /// The offset before which to stop; `None` for all that is committed now.
    pub until: Option<Offset>,
    /// Bytes of payload at which to stop, about: one entry may be larger.
    pub bytes: usize,
}

/// The beginning of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPage {
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// The offset after which to go on; `None` when that was all.
    pub next: Option<Offset>,
    /// The offset before which the stretch ends, to be asked for in the next page.
    pub until: Offset,
}

/// The entries of documents.
pub trait DocumentLog: Send + Sync + 'static {
    /// Hands changes over; ready when they have their place in the document's queue, waiting while that is full.
    fn submit(&self, edit: AuthorizedEdit<Changes>) -> BoxFuture<'_, Result<PendingSubmit, DocumentError>>;

    /// Follows a document, which need not exist, until what is returned is dropped. Must be called within a runtime.
    fn follow(&self, follower: Follower) -> Box<dyn Following>;

    /// Reads a page of a document's history.
    fn fetch(&self, stretch: Stretch) -> BoxFuture<'_, Result<EntryPage, DocumentError>>;
}

impl wire::EntryKind {
    /// What a kind of the log is called in the protocol; `None` when clients are not told of it.
    pub fn of(kind: EntryKind) -> Option<Self> {
        match kind {
            EntryKind::Change => Some(Self::Change),
            EntryKind::Document => Some(Self::Document),
            EntryKind::Created => Some(Self::Created),
            EntryKind::Deleted => Some(Self::Deleted),
            EntryKind::Restored => Some(Self::Restored),
            EntryKind::ForkedFrom => Some(Self::ForkedFrom),
            EntryKind::Grant | EntryKind::Revoke | EntryKind::SnapshotMarker => None,
        }
    }
}

impl wire::Entry {
    /// An entry for a client; `None` when it is of no use to one.
    pub fn of(entry: &Entry) -> Option<Self> {
        let draft = &entry.draft;
        Some(Self {
            offset: entry.offset.0,
            kind: wire::EntryKind::of(draft.kind)?.into(),
            committed_ms: entry.committed_us / 1000,
            principal: draft.author.principal.as_str().to_owned(),
            session_id: Bytes::copy_from_slice(draft.author.session.0.as_bytes()),
            payload: draft.payload.clone(),
        })
    }
}

impl wire::Ops {
    /// Entries for a subscriber.
    pub fn of(document: &DocumentId, entries: &[Entry]) -> Self {
        Self {
            document: Bytes::copy_from_slice(document.as_bytes()),
            entries: entries.iter().filter_map(wire::Entry::of).collect(),
            request_id: None,
            last: false,
        }
    }
}

impl wire::Snapshot {
    /// A state for a subscriber.
    pub fn of(document: &DocumentId, snapshot: SnapshotAt) -> Self {
        let heads: Vec<u8> = snapshot.heads.iter().flat_map(|hash| hash.0).collect();
        Self {
            document: Bytes::copy_from_slice(document.as_bytes()),
            offset: snapshot.offset.0,
            bytes: snapshot.bytes,
            heads: heads.into(),
        }
    }
}

impl From<Tier> for wire::Tier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Durable => Self::Durable,
            Tier::Replicated => Self::Replicated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Author, Principal},
        id::{OpId, SessionId},
        record::EntryDraft,
    };

    fn document() -> DocumentId {
        DocumentId::from_bytes(&[7; 16]).unwrap()
    }

    fn entry(offset: u64, kind: EntryKind) -> Entry {
        Entry {
            offset: Offset(offset),
            epoch: 0,
            committed_us: 5_000_999,
            draft: EntryDraft {
                kind,
                document: document(),
                op_id: OpId([offset as u8; 32]),
                author: Author {
                    principal: Principal::named("ada").unwrap(),
                    session: SessionId(uuid::Uuid::from_u128(9)),
                },
                trace: None,
                payload: Bytes::from_static(b"abc"),
            },
        }
    }

    #[test]
    fn followers_are_told_who_when_and_where_and_share_the_frame() {
        let entries = vec![entry(3, EntryKind::Change), entry(4, EntryKind::SnapshotMarker)];
        let ops = Ops::new(document(), entries).unwrap();
        assert_eq!((ops.entries().len(), ops.payload_bytes()), (1, 3));
        let frame = ops.frame();
        assert_eq!(ops.frame().as_ptr(), frame.as_ptr());
        let Ok(wire::server_frame::Kind::Ops(found)) = native::decode_server(frame) else {
            panic!("not ops");
        };
        let entry = &found.entries[0];
        assert_eq!((entry.offset, entry.committed_ms, &*entry.principal), (3, 5_000, "ada"));
        assert_eq!(entry.kind(), wire::EntryKind::Change);
        assert!(found.request_id.is_none() && !found.last);
    }

    #[test]
    fn only_what_comes_later_is_left_and_the_whole_is_shared() {
        let entries = [3, 5, 9].map(|offset| entry(offset, EntryKind::Change));
        let ops = Arc::new(Ops::new(document(), entries.to_vec()).unwrap());
        assert!(Arc::ptr_eq(&ops.after(Offset(2)).unwrap(), &ops));
        let offsets = |after| {
            let ops = ops.after(Offset(after))?;
            Some(ops.entries().iter().map(|entry| entry.offset.0).collect::<Vec<_>>())
        };
        assert_eq!(offsets(3), Some(vec![5, 9]));
        assert_eq!(offsets(8), Some(vec![9]));
        assert_eq!(offsets(9), None);
        let [first, second] = ops.halves().unwrap();
        let offsets = |ops: &Ops| ops.entries().iter().map(|entry| entry.offset.0).collect::<Vec<_>>();
        assert_eq!((offsets(&first), offsets(&second)), (vec![3], vec![5, 9]));
        assert!(ops.is_longer(ops.frame().len() - 1) && !ops.is_longer(ops.frame().len()));
        assert!(!first.is_longer(1) && first.halves().is_none());
        assert!(Ops::new(document(), vec![entry(1, EntryKind::Grant)]).is_none());
    }
}
