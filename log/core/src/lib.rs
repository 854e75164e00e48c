//! The op log's rules, without I/O.
//!
//! | module | what |
//! | --- | --- |
//! | [`partition`] | one partition: placing entries, the commit rule, completing those who wait |
//! | [`tail`] | what a store must prove about a partition before it may be written again |
//! | [`storage`] | what the log asks of a durable store; its documentation is the specification |
//! | [`memory`] | a store in memory: for simulation, and to test what is built on the trait |
//! | [`conformance`] | the one suite that every store must pass |

pub mod conformance;
mod in_flight;
pub mod memory;
pub mod partition;
pub mod storage;
pub mod tail;

pub use partition::{AppendError, Appended, Effect, Partition};
pub use storage::{Storage, StorageError};
pub use tail::{Damage, PartitionState, Tail};
