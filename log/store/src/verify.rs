//! The check of the whole log.

use aetherflow_log_core::{Damage, Tail, storage::Verified};
use aetherflow_schema::{
    id::{ChainHash, Offset, PartitionId},
    record::Frame,
};

use crate::{
    by_doc, by_principal, database::Database, entry, generation::Generation, keys::OpKey, op_id, store::ReadError,
};

/// Reads a partition from its first entry to `tail`, recomputes every chain value and looks every entry up in the indexes.
pub(crate) fn partition(
    database: &Database,
    partition: PartitionId,
    tail: Tail,
    verified: &mut Verified,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Damage> {
    let at = |offset: Offset| move |reason: String| Damage { offset, reason };
    let damage = |error: ReadError| match error {
        ReadError::Damaged { offset, reason, .. } => Damage { offset, reason },
        ReadError::Failed(reason) => at(Offset(1))(reason),
    };
    let mut next = Offset(1);
    let mut chain = ChainHash::default();
    for frame in entry::from(&database.db, partition, Offset(1)).map_err(damage)? {
        let frame = frame.map_err(damage)?;
        let header = frame.header();
        if next > tail.offset {
            break;
        }
        if header.base != next || header.chain_before != chain {
            return Err(at(next)(format!("the log goes on at {} instead", header.base)));
        }
        frame.verify_chain().map_err(|error| at(next)(error.to_string()))?;
        indexes(database, &frame).map_err(at(next))?;
        next = header.last().next();
        chain = header.chain_after;
        verified.frames += 1;
        verified.entries += u64::from(header.count);
        verified.bytes += frame.bytes().len() as u64;
        progress(verified.entries);
    }
    if next != tail.offset.next() {
        return Err(at(next)(format!("the entries up to {} are missing", tail.offset)));
    }
    if chain != tail.chain {
        return Err(at(tail.offset)(format!(
            "the chain ends in {chain} instead of {}",
            tail.chain
        )));
    }
    Ok(())
}

/// Compares the rows that follow from a frame with those in the indexes.
fn indexes(database: &Database, frame: &Frame) -> Result<(), String> {
    let header = frame.header();
    let mut rows = Generation::after(
        vec![Offset::ZERO; usize::from(header.partition.0) + 1],
        header.count as usize,
    );
    rows.add(frame).map_err(|error| error.to_string())?;
    for (document, places) in rows.all_places() {
        if !by_doc::has(database, document, header.base, places)? {
            return Err("the document index does not match the entries".to_owned());
        }
    }
    for (principal, written) in rows.all_written() {
        if !by_principal::has(database, &principal, written)? {
            return Err("the principal index does not match the entries".to_owned());
        }
    }
    let (keys, offsets): (Vec<OpKey>, Vec<Option<Offset>>) = rows
        .operations()
        .map(|(document, op, offset)| (OpKey::of(document, op), Some(offset)))
        .unzip();
    let found = op_id::lookup(database, &keys).map_err(|error| match error {
        ReadError::Failed(reason) | ReadError::Damaged { reason, .. } => reason,
    })?;
    if found != offsets || offsets.len() != header.count as usize {
        return Err("the op-id index does not match the entries".to_owned());
    }
    Ok(())
}
