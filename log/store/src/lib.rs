//! The op log on RocksDB.
//!
//! | module | what |
//! | --- | --- |
//! | [`keys`] | the whole key space, in one place |
//! | `entry`, `by_doc`, `by_principal`, `op_id`, `snapshot`, `meta` | one key family each: its values, how it is read |
//! | `generation`, `pending` | the index rows of the newest frames, in memory |
//! | `tables`, `database` | how they become tables, and the thread that does it |
//! | `options` | how RocksDB is set up, and why |
//! | `witness` | the tails noted outside RocksDB, which notices no lost tail by itself |
//! | `recovery`, `reindex` | what is checked when the store is opened, and what is indexed again |
//! | `failsafe` | the state after a failed write |
//! | `verify` | the check of the whole log |
//! | [`RocksStore`] | the [`Storage`](aetherflow_log_core::Storage) made of them |

mod by_doc;
mod by_principal;
mod database;
mod entry;
mod failsafe;
#[cfg(test)]
mod fuzz;
mod generation;
pub mod keys;
mod meta;
mod op_id;
mod options;
mod pending;
mod recovery;
mod reindex;
mod snapshot;
mod store;
mod tables;
mod verify;
mod witness;

pub use options::StoreOptions;
pub use store::{OpenError, RocksStore};
