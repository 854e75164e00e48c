//! The op log on RocksDB.
//!
//! | module | what |
//! | --- | --- |
//! | [`keys`] | the whole key space, in one place |
//! | `entry`, `by_doc`, `op_id`, `snapshot`, `meta` | one key family each: its values, how it is read |
//! | `options` | how RocksDB is set up, and why |
//! | `witness` | the tails noted outside RocksDB, which notices no lost tail by itself |
//! | `recovery` | what is checked when the store is opened |
//! | `verify` | the check of the whole log |
//! | [`RocksStore`] | the [`Storage`](aetherflow_log_core::Storage) made of them |

mod by_doc;
mod entry;
pub mod keys;
mod meta;
mod op_id;
mod options;
mod recovery;
mod snapshot;
mod store;
mod verify;
mod witness;

pub use options::StoreOptions;
pub use store::{OpenError, RocksStore};
