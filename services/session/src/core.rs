//! Sessions without I/O: told the time and given randomness, they say what is to be done.
//!
//! | module | what |
//! | --- | --- |
//! | `wheel` | timers, for sessions, presence and locks alike |
//! | `entry` | one session, and what its connection shares with it |
//! | `registry` | all sessions, found by id, connection and principal |
//! | `lifecycle` | what happens to a session |
//! | `resume` | a client comes back |
//! | `remote` | sessions of other nodes |
//! | `effects` | what is to be done about it |

pub(crate) mod effects;
pub(crate) mod entry;
#[cfg(test)]
mod footprint;
pub(crate) mod lifecycle;
pub(crate) mod registry;
pub(crate) mod remote;
pub(crate) mod resume;
#[cfg(test)]
mod tests;
pub(crate) mod wheel;
