//! Who is present on which document: on this node, and on the others.
//!
//! | module | what |
//! | --- | --- |
//! | `room` | one document: members and watchers; no I/O |
//! | `shard` | some documents and their timers; no I/O |
//! | `remote` | what other nodes say; no I/O |
//! | [`service`] | all documents |
//! | [`bus`] | how nodes hear one another |
//! | [`nats`] | the same over NATS |
//! | [`subscriber`] | a watcher with a queue of its own |
//!
//! Nodes tell one another what changes, as it changes, on a bus that may lose anything. What heals that is the roster: for
//! each document on which it has members, a node says every third of a lease who they are and which states they are in.
//! Whoever lacks a state asks for it; whoever is in no roster for a lease is gone, because its node is.

pub mod bus;
pub mod nats;
mod remote;
mod room;
pub mod service;
mod shard;
pub mod subscriber;
#[cfg(test)]
mod tests;

pub use self::{
    bus::PresenceBus,
    service::{PresenceOptions, PresenceService},
    subscriber::{PresenceSubscription, Subscriber},
};
