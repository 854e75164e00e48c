//! The end of a partition's log, and whether it can be trusted.

use aetherflow_schema::id::{ChainHash, Offset};

/// The last entry of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// Its offset; zero when the partition is empty.
    pub offset: Offset,
    /// Its chain value.
    pub chain: ChainHash,
    /// The newest leader epoch in the log; zero when the partition is empty.
    pub epoch: u64,
}

/// What is wrong with a partition, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged at offset {offset}: {reason}")]
pub struct Damage {
    /// The first offset that is missing or cannot be trusted. Everything before it is sound.
    pub offset: Offset,
    /// What was found there.
    pub reason: String,
}

/// What a store found out about a partition when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionState {
    /// The log is whole; it may be continued from here.
    Sound(Tail),
    /// Something that was committed is missing or damaged: the partition serves neither reads nor writes.
    Quarantined(Damage),
}

/// Judges a recovered tail by the witness: the newest tail that was noted outside the store.
///
/// The witness only ever names what was committed. A recovered log that is shorter has therefore lost committed
/// entries, whatever the store itself believes; and one that has another chain value at that offset
/// (`chain_at_witness`) is another log.
pub fn judge(recovered: Tail, witness: Option<Tail>, chain_at_witness: Option<ChainHash>) -> Result<Tail, Damage> {
    let Some(witness) = witness else {
        return Ok(recovered);
    };
    if recovered.offset < witness.offset {
        return Err(Damage {
            offset: recovered.offset.next(),
            reason: format!(
                "entries {} to {} were committed and are gone",
                recovered.offset.next(),
                witness.offset
            ),
        });
    }
    if witness.offset > Offset::ZERO && chain_at_witness != Some(witness.chain) {
        return Err(Damage {
            offset: witness.offset,
            reason: format!(
                "the chain value is {}, but {} was committed",
                chain_at_witness.map_or_else(|| "missing".to_owned(), |chain| chain.to_string()),
                witness.chain
            ),
        });
    }
    Ok(recovered)
}
