//! Bringing back at opening what was only in memory: the index rows of the newest frames.

use aetherflow_log_core::{Damage, Tail};
use aetherflow_schema::{
    id::{Offset, PartitionId},
    record::Frame,
};
use rocksdb::DB;

use crate::{
    entry,
    generation::Generation,
    options::StoreOptions,
    recovery,
    store::{OpenError, ReadError},
    tables,
};

/// Reads the frames after the marks again. Whatever would be too much for memory becomes tables right away, so that even
/// an index that is gone entirely is rebuilt. Partitions that turn out to be damaged are judged so.
pub(crate) fn rebuild(
    db: &DB,
    options: &StoreOptions,
    judged: &mut [Result<Tail, Damage>],
) -> Result<Generation, OpenError> {
    let indexed = tables::indexed(db, judged.len() as u16).map_err(OpenError::Corrupt)?;
    let lowest = indexed.iter().map(|(lowest, _)| *lowest).collect();
    let mut generation = Generation::after(lowest, options.index_entries);
    for ((partition, judged), (indexed, highest)) in (0..).map(PartitionId).zip(judged).zip(indexed) {
        let Ok(tail) = judged else { continue };
        if highest > tail.offset {
            *judged = Err(Damage {
                offset: tail.offset.next(),
                reason: format!("entries {} to {highest} were indexed and are gone", tail.offset.next()),
            });
            continue;
        }
        for frame in unindexed(db, partition, indexed) {
            if let Err(damage) = frame.and_then(|frame| add(&mut generation, &frame)) {
                *judged = Err(recovery::damage(damage));
                break;
            }
            if options.full().is(&generation) {
                tables::put_away(db, options, &generation).map_err(OpenError::Write)?;
                generation = Generation::after(generation.indexed().to_vec(), options.index_entries);
            }
        }
    }
    Ok(generation)
}

/// The frames of a partition after its mark, which always stands at the end of a frame.
fn unindexed(db: &DB, partition: PartitionId, indexed: Offset) -> impl Iterator<Item = Result<Frame, ReadError>> + '_ {
    let (frames, error) = match entry::from(db, partition, indexed.next()) {
        Ok(frames) => (Some(frames), None),
        Err(error) => (None, Some(Err(error))),
    };
    frames
        .into_iter()
        .flatten()
        .chain(error)
        .skip_while(move |frame| frame.as_ref().is_ok_and(|frame| frame.header().last() <= indexed))
}

fn add(generation: &mut Generation, frame: &Frame) -> Result<(), ReadError> {
    generation.add(frame).map_err(|error| ReadError::Damaged {
        partition: frame.header().partition,
        offset: frame.header().base,
        reason: error.to_string(),
    })
}
