//! What services hold of the op log.
//!
//! | module | what |
//! | --- | --- |
//! | [`handle`] | [`LogHandle`]: append, read, tail, snapshots, health |
//! | [`tail`] | following a partition's committed entries |
//! | `queue` | what waits for the writer, bounded by bytes |
//! | `writer` | the one thread that places and answers: group commit over all partitions of a store |
//! | `disk` | the thread that writes large groups meanwhile |
//! | `completions` | the way back from the writer to those who wait |
//! | `witness` | the thread that notes the committed tails |
//!
//! One writer thread serves a whole store. It takes everything that has queued, lets the cores place it, has all frames
//! written in one batch with one fsync, and then moves the watermarks and answers. It never waits for more to come: while
//! one group is being written the next one is placed.

mod completions;
mod disk;
pub mod handle;
mod queue;
pub mod tail;
mod witness;
mod writer;

pub use aetherflow_log_core::{AppendError, Appended, Damage, StorageError, Tail};
pub use handle::{LogHandle, LogOptions, PartitionStatus, PendingAppend};
pub use tail::TailReader;
