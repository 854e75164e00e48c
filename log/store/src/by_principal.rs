//! Where a principal's entries stand: for each frame that has any, their places in it, in the order of commit times.
//!
//! Reading looks into memory first and into the tables afterwards, so that what moves from one to the other meanwhile is
//! seen twice rather than not at all. One page costs a bounded amount of work, whatever it finds: see [`BUDGET`].

use std::{collections::BTreeMap, iter::Peekable};

use aetherflow_schema::{
    history::{Authored, AuthoredPage, AuthoredQuery, Position},
    id::{DocumentId, Offset, PartitionId},
    record::{Entry, Frame},
};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, SstFileWriter};

use crate::{
    database::Database,
    entry,
    generation::{Generation, Written},
    keys::{self, Family, Stamp},
    store::{ReadError, family},
};

/// What one page may cost: a row that is passed over is 1, a frame that is read [`FRAME`] and 1 for each KiB of it. So a page
/// reads some 4,000 frames, or 64 MiB, at most.
const BUDGET: usize = 64 << 10;

/// What reading a frame costs beside its bytes.
const FRAME: usize = 16;

/// Adds the rows of a generation to a table.
pub(crate) fn write(table: &mut SstFileWriter<'_>, generation: &Generation) -> Result<(), rocksdb::Error> {
    for (principal, written) in generation.all_written() {
        for (stamp, places) in rows(written) {
            table.put(keys::principal_at(&principal, stamp), encode(&places))?;
        }
    }
    Ok(())
}

/// Ascending entries as rows: each frame, and the places in it.
fn rows(written: &[Written]) -> impl Iterator<Item = (Stamp, Vec<u16>)> {
    written
        .chunk_by(|one, next| one.stamp == next.stamp)
        .map(|frame| (frame[0].stamp, frame.iter().map(|entry| entry.place).collect()))
}

fn encode(places: &[u16]) -> Vec<u8> {
    places.iter().flat_map(|place| place.to_be_bytes()).collect()
}

fn decode(row: &[u8]) -> Option<Vec<u16>> {
    let (places, rest) = row.as_chunks();
    (rest.is_empty() && !places.is_empty()).then(|| places.iter().map(|place| u16::from_be_bytes(*place)).collect())
}

/// A page of what a principal wrote, of partitions that are `sound`.
pub(crate) fn authored(
    Database { db, pending }: &Database,
    partitions: u16,
    sound: impl Fn(PartitionId) -> bool,
    query: &AuthoredQuery,
) -> Result<AuthoredPage, ReadError> {
    let name = query.principal.as_str().as_bytes();
    let from = start(db, query)?;
    let mut in_memory = pending.written(name, from, BUDGET);
    // What comes after them in memory was not asked for, so that nothing may be told of the tables there either.
    let limit = (in_memory.len() == BUDGET)
        .then(|| in_memory.pop())
        .flatten()
        .map(|last| last.stamp);
    let merged = Merge {
        memory: rows(&in_memory).peekable(),
        tables: in_tables(db, name, from.stamp).peekable(),
    };
    let of = query.document.as_ref().map(|document| document.partition(partitions));
    let mut page = Page::new(query);
    for row in merged {
        let (stamp, places) = row?;
        if stamp.committed_us >= query.until_us {
            break;
        }
        if limit.is_some_and(|limit| stamp >= limit) || page.is_full() {
            page.goes_on();
            break;
        }
        if of.is_some_and(|partition| partition != stamp.partition) {
            page.pass_over(stamp, &places);
        } else if !sound(stamp.partition) {
            page.unreadable(stamp, &places);
        } else {
            let frame = entry::at(db, stamp.partition, stamp.base)?;
            let damaged = |reason: &str| ReadError::Damaged {
                partition: stamp.partition,
                offset: stamp.base,
                reason: reason.to_owned(),
            };
            page.add(&frame, stamp, &places).map_err(damaged)?;
        }
    }
    Ok(page.done())
}

/// The first place at which an entry may stand that is meant: in the frame of the position after which to go on.
fn start(db: &DB, query: &AuthoredQuery) -> Result<Written, ReadError> {
    let since = Stamp {
        committed_us: query.since_us,
        partition: PartitionId(0),
        base: Offset::ZERO,
    };
    let mut stamp = since;
    if let Some(after) = query.after {
        let base = entry::containing(db, after.partition, after.offset)?;
        let after = Stamp {
            committed_us: after.committed_us,
            partition: after.partition,
            base: base.unwrap_or(Offset::ZERO),
        };
        stamp = stamp.max(after);
    }
    Ok(Written { stamp, place: 0 })
}

type Row = (Stamp, Vec<u16>);

fn in_tables<'a>(db: &'a DB, name: &[u8], from: Stamp) -> impl Iterator<Item = Result<Row, ReadError>> + use<'a> {
    let principal = keys::principal(name);
    let key = keys::principal_at(&principal, from);
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound([principal.as_slice(), &[0xff; 19]].concat());
    let rows = db.iterator_cf_opt(
        family(db, Family::ByPrincipal),
        options,
        IteratorMode::From(&key, Direction::Forward),
    );
    rows.map(move |row| {
        let (key, places) = row.map_err(|error| ReadError::Failed(error.to_string()))?;
        let malformed = || ReadError::Failed("a row of the principal index is malformed".to_owned());
        let stamp = keys::stamp_of(&principal, &key).ok_or_else(malformed)?;
        Ok((stamp, decode(&places).ok_or_else(malformed)?))
    })
}

/// Rows from memory and from tables in one order, each once.
struct Merge<M: Iterator, T: Iterator> {
    memory: Peekable<M>,
    tables: Peekable<T>,
}

impl<M: Iterator<Item = Row>, T: Iterator<Item = Result<Row, ReadError>>> Iterator for Merge<M, T> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some((in_memory, _)) = self.memory.peek() else {
            return self.tables.next();
        };
        match self.tables.peek() {
            Some(Ok((in_tables, _))) if in_tables == in_memory => {
                self.memory.next();
                self.tables.next()
            }
            Some(Ok((in_tables, _))) if in_tables > in_memory => self.memory.next().map(Ok),
            Some(_) => self.tables.next(),
            None => self.memory.next().map(Ok),
        }
    }
}

/// A page that is being filled.
struct Page<'a> {
    query: &'a AuthoredQuery,
    entries: Vec<Authored>,
    unreadable: BTreeMap<PartitionId, ()>,
    /// The last that was looked at.
    seen: Option<Position>,
    goes_on: bool,
    cost: usize,
}

impl<'a> Page<'a> {
    fn new(query: &'a AuthoredQuery) -> Self {
        Self {
            query,
            entries: Vec::new(),
            unreadable: BTreeMap::new(),
            seen: query.after,
            goes_on: false,
            cost: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.goes_on || self.entries.len() >= self.query.limit.max(1) || self.cost >= BUDGET
    }

    fn goes_on(&mut self) {
        self.goes_on = true;
    }

    fn saw(&mut self, stamp: Stamp, place: u16) {
        let position = position(stamp, place);
        self.seen = self.seen.max(Some(position));
    }

    fn pass_over(&mut self, stamp: Stamp, places: &[u16]) {
        self.cost += 1;
        if let Some(place) = places.last() {
            self.saw(stamp, *place);
        }
    }

    fn unreadable(&mut self, stamp: Stamp, places: &[u16]) {
        self.unreadable.insert(stamp.partition, ());
        self.pass_over(stamp, places);
    }

    /// Takes the entries at these places of a frame, until it is full; says how the index is wrong.
    fn add(&mut self, frame: &Frame, stamp: Stamp, places: &[u16]) -> Result<(), &'static str> {
        self.cost += FRAME + frame.bytes().len() / 1024;
        if frame.header().committed_us != stamp.committed_us {
            return Err("the principal index has another commit time");
        }
        let mut places = places.iter().copied().peekable();
        for (place, entry) in (0u16..).zip(frame.entries()) {
            if places.peek() != Some(&place) {
                continue;
            }
            let entry = entry.map_err(|_| "an entry that the principal index names cannot be read")?;
            if entry.draft.author.principal != self.query.principal {
                return Err("the principal index names somebody else's entry");
            }
            if self.entries.len() >= self.query.limit.max(1) {
                self.goes_on();
                return Ok(());
            }
            places.next();
            let position = position(stamp, place);
            if Some(position) > self.query.after {
                self.take(position, entry);
            }
        }
        match places.next() {
            Some(_) => Err("the principal index names entries that are not there"),
            None => Ok(()),
        }
    }

    fn take(&mut self, position: Position, entry: Entry) {
        self.seen = self.seen.max(Some(position));
        let wanted = |document: &DocumentId| *document == entry.draft.document;
        if !self.query.document.as_ref().is_none_or(wanted) {
            return;
        }
        self.entries.push(Authored {
            position,
            kind: entry.draft.kind,
            op_id: entry.draft.op_id,
            session: entry.draft.author.session,
            bytes: entry.draft.payload.len() as u64,
            document: entry.draft.document,
        });
    }

    fn done(self) -> AuthoredPage {
        AuthoredPage {
            entries: self.entries,
            next: self.seen.filter(|_| self.goes_on),
            unreadable: self.unreadable.into_keys().collect(),
        }
    }
}

fn position(stamp: Stamp, place: u16) -> Position {
    Position {
        committed_us: stamp.committed_us,
        partition: stamp.partition,
        offset: Offset(stamp.base.0 + u64::from(place)),
    }
}

/// Whether the index has exactly these entries of a principal, all of one frame.
pub(crate) fn has(Database { db, pending }: &Database, principal: &[u8], written: &[Written]) -> Result<bool, String> {
    let Some(first) = written.first() else {
        return Ok(true);
    };
    let mut in_memory = pending.written(&principal[1..], Written { place: 0, ..*first }, written.len());
    in_memory.retain(|entry| entry.stamp == first.stamp);
    if !in_memory.is_empty() {
        return Ok(in_memory == written);
    }
    let found = db
        .get_pinned_cf(
            family(db, Family::ByPrincipal),
            keys::principal_at(principal, first.stamp),
        )
        .map_err(|error| error.to_string())?;
    Ok(rows(written).all(|(_, places)| found.as_deref() == Some(encode(&places).as_slice())))
}
