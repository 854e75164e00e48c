//! The suite that every [`Storage`] must pass. It is ordinary code, so that other crates can run it on theirs.

use aetherflow_schema::{
    access::{Author, Principal},
    history::{Authored, AuthoredQuery},
    id::{ChangeHash, DocumentId, Offset, OpId, PartitionId, SessionId},
    record::{EncodedEntry, EntryDraft, EntryKind, Frame},
};
use bytes::Bytes;

use crate::{
    partition::{Appended, Effect, Partition, Quorum},
    storage::{Operation, Snapshot, Storage},
    tail::{PartitionState, Tail},
};

/// Runs the whole suite on empty stores of four partitions.
///
/// # Panics
/// When the store breaks a rule; the message says which.
pub fn check<S: Storage>(empty: impl Fn() -> S) {
    an_empty_store_is_sound_and_empty(&empty());
    what_was_written_is_read_in_order(&empty());
    operations_are_found_again_by_document(&empty());
    documents_are_listed_once_and_in_pages(&empty());
    the_newest_snapshot_is_served(&empty());
    a_large_entry_is_kept(&empty());
    partitions_do_not_see_one_another(&empty());
    what_somebody_wrote_is_found_by_time_in_pages(&empty());
}

/// An entry for tests: everything about it follows from the document, a number and the payload.
///
/// # Panics
/// When the payload is too long for an entry.
pub fn entry(document: &DocumentId, n: u64, payload: &[u8]) -> EncodedEntry {
    entry_by(&Principal::anonymous(), document, n, payload)
}

/// The same by somebody.
///
/// # Panics
/// When the payload is too long for an entry.
pub fn entry_by(principal: &Principal, document: &DocumentId, n: u64, payload: &[u8]) -> EncodedEntry {
    let mut op = [0; 32];
    op[..8].copy_from_slice(&n.to_be_bytes());
    let draft = EntryDraft {
        kind: EntryKind::Change,
        document: document.clone(),
        op_id: OpId(op),
        author: Author {
            principal: principal.clone(),
            session: SessionId(Default::default()),
        },
        trace: None,
        payload: Bytes::copy_from_slice(payload),
    };
    match draft.encode() {
        Ok(entry) => entry,
        Err(error) => panic!("a test entry must encode: {error}"),
    }
}

/// A document for tests that lies in this partition of four.
///
/// # Panics
/// Never in practice: some small number lies in every partition.
pub fn document_in(partition: u16, n: u8) -> DocumentId {
    (0..=u16::MAX)
        .filter_map(|salt| DocumentId::from_bytes(&[&salt.to_be_bytes()[..], &[n; 14]].concat()).ok())
        .find(|id| id.partition(4) == PartitionId(partition))
        .unwrap_or_else(|| panic!("no document for partition {partition}"))
}

fn operation(document: &DocumentId, op: OpId) -> Operation<'_> {
    Operation {
        partition: document.partition(4),
        document,
        op,
    }
}

/// A leader of one partition over a store, as simple as can be.
pub struct Writer<'a, S> {
    store: &'a S,
    core: Partition<u64>,
    now_us: u64,
}

impl<'a, S: Storage> Writer<'a, S> {
    /// Continues the partition where the store says it ends.
    ///
    /// # Panics
    /// When the partition is quarantined.
    pub fn new(store: &'a S, partition: PartitionId) -> Self {
        let tail = sound(store, partition);
        Self {
            store,
            core: Partition::lead(partition, 0, tail, Quorum { needed: 1 }),
            now_us: 1_000,
        }
    }

    /// What is appended from now on is committed at this time.
    pub fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// Appends entries of one document in one batch and returns their offsets.
    ///
    /// # Panics
    /// When the store fails.
    pub fn append(&mut self, entries: &[EncodedEntry]) -> Appended {
        let operations: Vec<_> = entries
            .iter()
            .map(|entry| operation(entry.document(), entry.op_id()))
            .collect();
        let known = ok(self.store.lookup(&operations));
        let mut effects = Vec::new();
        self.core.submit(self.now_us, 0, entries, &known, &mut effects);
        self.core.seal(&mut effects);
        let mut appended = None;
        while !effects.is_empty() {
            let frames: Vec<Frame> = effects
                .iter()
                .filter_map(|effect| match effect {
                    Effect::Store(frame) => Some(frame.clone()),
                    _ => None,
                })
                .collect();
            let mut next = Vec::new();
            if let Some(last) = frames.last() {
                ok(self.store.write(&frames));
                self.core.on_stored(last.header().last(), &mut next);
            }
            for effect in effects {
                match effect {
                    Effect::Publish(_) => self.core.on_sequenced(&mut next),
                    Effect::Complete(_, result) => appended = Some(ok(result)),
                    Effect::Store(_) | Effect::Committed(..) => {}
                }
            }
            effects = next;
        }
        appended.unwrap_or_else(|| panic!("the append never ended"))
    }
}

fn ok<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the store failed: {error}"),
    }
}

fn sound<S: Storage>(store: &S, partition: PartitionId) -> Tail {
    match store.state(partition) {
        PartitionState::Sound(tail) => tail,
        PartitionState::Quarantined(damage) => panic!("partition {partition} is {damage}"),
    }
}

fn an_empty_store_is_sound_and_empty<S: Storage>(store: &S) {
    assert_eq!(store.partitions(), 4);
    for partition in (0..4).map(PartitionId) {
        assert_eq!(sound(store, partition), Tail::default());
        assert!(ok(store.frames(partition, Offset(1), usize::MAX)).is_empty());
    }
    assert_eq!(ok(store.document_tail(&document_in(0, 1))), None);
    assert_eq!(ok(store.snapshot(&document_in(0, 1))), None);
    assert!(ok(store.documents(None, 10)).is_empty());
    assert_eq!(store.failsafe(), None);
}

fn what_was_written_is_read_in_order<S: Storage>(store: &S) {
    let (one, two) = (document_in(0, 1), document_in(0, 2));
    let mut writer = Writer::new(store, PartitionId(0));
    for n in 0..100 {
        let document = if n % 3 == 0 { &two } else { &one };
        writer.append(&[entry(document, n, &n.to_be_bytes())]);
    }
    writer.append(&(100..1_500).map(|n| entry(&one, n, b"many")).collect::<Vec<_>>());
    let mut offset = Offset::ZERO;
    let mut chain = Tail::default().chain;
    let mut from = Offset(1);
    loop {
        let frames = ok(store.frames(PartitionId(0), from, 10_000));
        let Some(last) = frames.last() else { break };
        from = last.header().last().next();
        for frame in &frames {
            assert_eq!(frame.header().chain_before, chain, "frames are chained");
            ok(frame.verify_chain());
            for entry in frame.entries() {
                offset = offset.next();
                assert_eq!(ok(entry).offset, offset, "offsets are dense");
            }
            chain = frame.header().chain_after;
        }
    }
    assert_eq!(offset, Offset(1_500));
    let middle = ok(store.frames(PartitionId(0), Offset(700), 1));
    assert_eq!(middle.len(), 1, "one frame at least, whatever the byte limit");
    assert!(middle[0].header().base <= Offset(700) && middle[0].header().last() >= Offset(700));

    let mut of_one = Vec::new();
    loop {
        let after = of_one.last().map_or(Offset::ZERO, |entry: &(Offset, _)| entry.0);
        let page = ok(store.document_entries(&one, after, 100));
        if page.is_empty() {
            break;
        }
        assert!(page.iter().all(|entry| entry.draft.document == one));
        of_one.extend(page.into_iter().map(|entry| (entry.offset, entry.draft.payload)));
    }
    assert!(of_one.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(of_one.len(), 1_500 - 34);
    assert_eq!(ok(store.document_entries(&two, Offset(97), usize::MAX)).len(), 1);
    assert_eq!(ok(store.document_tail(&two)), Some(Offset(100)));
    let verified = ok(store.verify(&mut |_| {}));
    assert_eq!((verified.entries, verified.damage.len()), (1_500, 0));
}

fn operations_are_found_again_by_document<S: Storage>(store: &S) {
    let (one, two) = (document_in(1, 1), document_in(1, 2));
    let mut writer = Writer::new(store, PartitionId(1));
    let first = writer.append(&[entry(&one, 7, b"a"), entry(&one, 8, b"b")]);
    assert_eq!(first.offsets, [Offset(1), Offset(2)]);
    let again = writer.append(&[entry(&one, 8, b"b"), entry(&one, 9, b"c"), entry(&one, 9, b"c")]);
    assert_eq!(
        again.offsets,
        [Offset(2), Offset(3), Offset(3)],
        "a repeated operation keeps its offset"
    );
    let other = writer.append(&[entry(&two, 7, b"a")]);
    assert_eq!(
        other.offsets,
        [Offset(4)],
        "the same operation in another document is another one"
    );
    let known = entry(&one, 9, b"").op_id();
    let operations = [
        operation(&two, known),
        operation(&one, known),
        operation(&one, entry(&one, 55, b"").op_id()),
        operation(&two, entry(&two, 7, b"").op_id()),
    ];
    assert_eq!(
        ok(store.lookup(&operations)),
        [None, Some(Offset(3)), None, Some(Offset(4))]
    );
}

fn documents_are_listed_once_and_in_pages<S: Storage>(store: &S) {
    let mut documents = Vec::new();
    for partition in 0..4 {
        let mut writer = Writer::new(store, PartitionId(partition));
        for n in 0..5 {
            let document = document_in(partition, n);
            writer.append(&[entry(&document, 1, b"x"), entry(&document, 2, b"y")]);
            documents.push(document);
        }
    }
    let mut listed: Vec<DocumentId> = Vec::new();
    loop {
        let page = ok(store.documents(listed.last(), 3));
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(
        listed,
        ok(store.documents(None, 1_000)),
        "pages give the same order as one long list"
    );
    listed.sort();
    documents.sort();
    assert_eq!(listed, documents);
}

fn the_newest_snapshot_is_served<S: Storage>(store: &S) {
    let document = document_in(2, 1);
    let snapshot = |n: u64| Snapshot {
        offset: Offset(n),
        heads: vec![ChangeHash([n as u8; 32]), ChangeHash([n as u8 + 1; 32])],
        changes: n * 10,
        document: Bytes::from(vec![n as u8; 100_000]),
    };
    let mut writer = Writer::new(store, PartitionId(2));
    for n in 1..6 {
        writer.append(&[entry(&document, n, b"x")]);
        ok(store.put_snapshot(&document, &snapshot(n)));
        assert_eq!(ok(store.snapshot(&document)), Some(snapshot(n)));
    }
    ok(store.put_snapshot(&document, &snapshot(9)));
    assert_eq!(
        ok(store.snapshot(&document)),
        Some(snapshot(5)),
        "what is ahead of the log is not served"
    );
    assert_eq!(ok(store.snapshot(&document_in(2, 2))), None);
}

fn a_large_entry_is_kept<S: Storage>(store: &S) {
    let document = document_in(3, 1);
    let payload: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let mut writer = Writer::new(store, PartitionId(3));
    writer.append(&[entry(&document, 1, b"small"), entry(&document, 2, &payload)]);
    let entries = ok(store.document_entries(&document, Offset(1), 10));
    assert_eq!(entries[0].draft.payload, payload);
}

fn partitions_do_not_see_one_another<S: Storage>(store: &S) {
    for partition in (0..4).map(PartitionId) {
        let document = document_in(partition.0, 9);
        let appended = Writer::new(store, partition).append(&[entry(&document, 1, b"x")]);
        assert_eq!((appended.partition, appended.last()), (partition, Offset(1)));
        assert_eq!(ok(store.frames(partition, Offset(1), usize::MAX)).len(), 1);
    }
}

/// What every page of a query says, one after the other.
///
/// # Panics
/// When pages do not come to an end, or have more than was asked for.
pub fn all_authored<S: Storage>(store: &S, query: &AuthoredQuery) -> Vec<Authored> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = ok(store.authored(&query));
        assert!(page.entries.len() <= query.limit && page.unreadable.is_empty());
        found.extend(page.entries);
        assert!(page.next.is_none() || page.next > query.after, "a page leads on");
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

fn what_somebody_wrote_is_found_by_time_in_pages<S: Storage>(store: &S) {
    let somebody = |name: &str| Principal::named(name).unwrap_or_else(|| panic!("{name} is a name"));
    // One name is the beginning of another one.
    let (ada, adam) = (somebody("ada"), somebody("adam"));
    let mut expected = Vec::new();
    for partition in 0..4 {
        let mut writer = Writer::new(store, PartitionId(partition));
        let documents = [document_in(partition, 1), document_in(partition, 2)];
        for round in 0..20u64 {
            // Partitions take turns, and two frames of a partition are of the same moment.
            let now_us = 1_000 + 10 * (round / 2) + u64::from(partition % 2);
            writer.at(now_us);
            let batch: Vec<EncodedEntry> = (0..6)
                .map(|n| {
                    let author = if n % 3 == 1 { &adam } else { &ada };
                    entry_by(author, &documents[n as usize % 2], 6 * round + n, &[7; 5])
                })
                .collect();
            for (n, offset) in (0..6).zip(writer.append(&batch).offsets) {
                if n % 3 != 1 {
                    expected.push((now_us, partition, offset, documents[n % 2].clone()));
                }
            }
        }
    }
    expected.sort_unstable();
    let shown = |entries: Vec<Authored>| -> Vec<_> {
        assert!(
            entries
                .iter()
                .all(|entry| entry.bytes == 5 && entry.kind == EntryKind::Change)
        );
        let parts = entries.into_iter().map(|entry| (entry.position, entry.document));
        parts
            .map(|(at, document)| (at.committed_us, at.partition.0, at.offset, document))
            .collect()
    };
    let all = AuthoredQuery::all(ada.clone());
    for limit in [1, 7, 1000] {
        let query = AuthoredQuery { limit, ..all.clone() };
        assert_eq!(shown(all_authored(store, &query)), expected, "pages of {limit}");
    }
    let document = document_in(2, 2);
    let query = AuthoredQuery {
        document: Some(document.clone()),
        since_us: 1_010,
        until_us: 1_050,
        limit: 3,
        ..all
    };
    let meant = |row: &&(u64, u16, Offset, DocumentId)| row.3 == document && (1_010..1_050).contains(&row.0);
    let some: Vec<_> = expected.iter().filter(meant).cloned().collect();
    assert!(some.len() > 6);
    assert_eq!(shown(all_authored(store, &query)), some);
    let others = all_authored(store, &AuthoredQuery::all(adam));
    assert_eq!(others.len(), 4 * 20 * 2);
    assert!(all_authored(store, &AuthoredQuery::all(somebody("ad"))).is_empty());
}
