//! Identifiers, limits, log records and wire formats of AetherFlow.
//!
//! Owns: every byte layout that leaves a process (except Quantum's), and the types and traits at which services meet.
//! Nothing here does I/O, reads a clock or draws randomness.
//!
//! | module | what |
//! | --- | --- |
//! | [`id`] | newtypes for every identifier and position |
//! | [`limits`] | the bounds on everything that comes from outside |
//! | [`record`] | the log: entries, frames, the hash chain |
//! | [`repo`] | the automerge-repo protocol, version "1", in CBOR |
//! | [`native`] | the native protocol `aether/1`, in protobuf |
//! | [`close`] | why a connection was closed, as WebSocket close codes |
//! | [`access`] | who may do what: the stage between decoding and appending |
//! | [`documents`] | what a gateway asks of whoever materializes documents |
//! | [`document_log`] | what it asks of whoever keeps their entries |
//! | [`sessions`] | what it asks of whoever keeps sessions |
//! | [`network`] | where somebody is, as limits count it |
//! | [`presence`] | who is present on which document |
//! | [`locks`] | who works on which document |
//! | [`history`] | who wrote what, when, and from where |

pub mod access;
pub mod close;
pub mod document_log;
pub mod documents;
pub mod history;
pub mod id;
pub mod limits;
pub mod locks;
pub mod native;
pub mod network;
pub mod presence;
pub mod record;
pub mod repo;
pub mod sessions;
