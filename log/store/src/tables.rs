//! Writing index rows as sorted tables, past memtable and write-ahead log.
//!
//! **Owns** the directory in which the tables are made, and the mark that each of them carries.
//! **Inputs**: a generation of rows. **Effects**: one table in each index family.
//! **Invariants**: a table is moved into the database whole, after its fsync, together with the mark that says up to which
//! offset of each partition its family is now complete. A mark is never ahead of its family's rows.
//! **On failure**, and in a crash between any two steps, the marks of the families may differ and a file may be left
//! over. The lower mark counts, rows written twice are the same rows, and the file is removed at the next opening.

use std::{fs, io, path::PathBuf};

use aetherflow_schema::id::Offset;
use rocksdb::{DB, IngestExternalFileOptions, SstFileWriter};

use crate::{
    by_doc, by_principal,
    generation::Generation,
    keys::{self, Family},
    op_id,
    options::StoreOptions,
    store::family,
};

/// The families whose rows follow from the frames.
pub(crate) const INDEXES: [Family; 3] = [Family::ByDoc, Family::ByPrincipal, Family::OpId];

/// Brings the rows of a generation into each family that does not have them yet: one index may be behind the others, when it
/// is new, or was lost.
pub(crate) fn put_away(db: &DB, options: &StoreOptions, generation: &Generation) -> Result<(), String> {
    INDEXES.into_iter().try_for_each(|family| {
        let mark = mark(db, family, generation.indexed().len())?;
        if mark.iter().zip(generation.indexed()).all(|(has, wants)| has >= wants) {
            return Ok(());
        }
        let table = write(options, family, generation)?;
        ingest(db, family, &table)
    })
}

/// Makes the table of one family.
pub(crate) fn write(options: &StoreOptions, family: Family, generation: &Generation) -> Result<PathBuf, String> {
    let dir = directory(options);
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let path = dir.join(family.name()).with_extension("sst");
    let table_options = options.table_options(family);
    let mut table = SstFileWriter::create(&table_options);
    let written = table.open(&path).and_then(|()| {
        match family {
            Family::ByDoc => by_doc::write(&mut table, generation)?,
            Family::ByPrincipal => by_principal::write(&mut table, generation)?,
            _ => op_id::write(&mut table, generation)?,
        }
        table.put(keys::INDEXED, encode(generation.indexed()))?;
        table.finish()
    });
    written.map_err(|error| {
        // What it takes on a full disk is given back.
        let _ = fs::remove_file(&path);
        format!("the {} index cannot be written: {error}", family.name())
    })?;
    Ok(path)
}

/// Moves a table into its family. RocksDB syncs the file first, and its manifest afterwards.
pub(crate) fn ingest(db: &DB, index: Family, table: &PathBuf) -> Result<(), String> {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    db.ingest_external_file_cf_opts(family(db, index), &options, vec![table])
        .map_err(|error| format!("the {} index does not take its table: {error}", index.name()))
}

/// For each partition the offset up to which all families are complete, and the one up to which any is: a mark is never
/// ahead of the log.
pub(crate) fn indexed(db: &DB, partitions: u16) -> Result<Vec<(Offset, Offset)>, String> {
    let mut range = vec![(Offset(u64::MAX), Offset::ZERO); usize::from(partitions)];
    for index in INDEXES {
        for ((lowest, highest), offset) in range.iter_mut().zip(mark(db, index, usize::from(partitions))?) {
            *lowest = offset.min(*lowest);
            *highest = offset.max(*highest);
        }
    }
    Ok(range)
}

/// For each partition the offset up to which a family is complete.
fn mark(db: &DB, index: Family, partitions: usize) -> Result<Vec<Offset>, String> {
    let mark = db
        .get_cf(family(db, index), keys::INDEXED)
        .map_err(|error| format!("the mark of the {} index cannot be read: {error}", index.name()))?;
    let offsets = match mark {
        Some(mark) => decode(&mark),
        None => vec![Offset::ZERO; partitions],
    };
    if offsets.len() != partitions {
        return Err(format!("the mark of the {} index is malformed", index.name()));
    }
    Ok(offsets)
}

/// Removes what a crash left over.
pub(crate) fn clean(options: &StoreOptions) -> io::Result<()> {
    match fs::remove_dir_all(directory(options)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Beside the database, on the same file system: a table is moved by its name.
fn directory(options: &StoreOptions) -> PathBuf {
    options.dir.join("indexing")
}

fn encode(offsets: &[Offset]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| offset.0.to_be_bytes()).collect()
}

fn decode(mark: &[u8]) -> Vec<Offset> {
    let (offsets, rest) = mark.as_chunks();
    match rest {
        [] => offsets
            .iter()
            .map(|offset| Offset(u64::from_be_bytes(*offset)))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
