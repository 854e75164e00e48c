//! Materializes automerge documents from the op log and keeps their peers in sync.
//!
//! **Entry point**: [`Statesync`], which implements [`Documents`](aetherflow_schema::documents::Documents) and
//! [`DocumentLog`](aetherflow_schema::document_log::DocumentLog).
//! **Invariant**: what a peer sends is appended to the log first, applied once it is committed, and answered once it is
//! applied. Nothing else ever changes a document, so a document is a pure function of its entries in the log.
//!
//! | module | what |
//! | --- | --- |
//! | `service` | which documents are open; one actor for each |
//! | `actor` | the order in which one document does things |
//! | `content` | the document itself: absent, cold (bytes and heads), or live (an automerge document) |
//! | `load` | from a snapshot and the log's tail to a content; entries that cannot be applied are set aside |
//! | `intake` | from a sync message, or changes, to log entries |
//! | `guard` | what is checked of a sync message, and of changes, before automerge sees them |
//! | `sound` | what is checked of a decoded change, so that it cannot spoil the document it is applied to |
//! | `turns` | how much work on large changes is done at once |
//! | `peers` | who is connected, and what each is told |
//! | `recent` | what was applied last, to be sent on as it came |
//! | `history` | any earlier state, and the list of changes |
//! | `entries`, `follow` | documents as their entries: submitting, following, reading them |
//! | `json` | automerge to JSON and back |

mod actor;
mod content;
mod entries;
mod follow;
#[cfg(test)]
mod fuzz;
mod guard;
mod history;
mod intake;
mod json;
mod load;
mod peers;
mod recent;
mod service;
mod sound;
mod turns;

pub use service::{Statesync, StatesyncOptions};

use aetherflow_schema::id::ChangeHash;

/// Automerge's change hash as ours.
fn to_schema(hash: &automerge::ChangeHash) -> ChangeHash {
    ChangeHash(hash.0)
}

/// Our change hash as automerge's.
fn to_automerge(hash: &ChangeHash) -> automerge::ChangeHash {
    automerge::ChangeHash(hash.0)
}

/// Runs `work`, turning a panic into an error: automerge may panic on what a hostile peer sends.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        format!("automerge panicked: {}", message.unwrap_or("no message"))
    })
}
