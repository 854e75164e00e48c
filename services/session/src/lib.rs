//! Who is connected, who is here, and who holds what.
//!
//! | module | what |
//! | --- | --- |
//! | [`service`] | sessions: the driver around the core |
//! | `core` | sessions without I/O, and the timer wheel |
//! | [`store`] | where sessions are kept for when their clients come back |
//! | [`presence`] | who is present on which document, here and on other nodes |
//! | [`locks`] | advisory locks on documents |
//! | [`cluster`] | the connection to NATS, where there are other nodes |
//! | [`arrivals`] | where sessions were |
//! | [`grpc`] | sessions for other servers |
//!
//! The gateway knows none of this: it holds [`Sessions`](aetherflow_schema::sessions::Sessions),
//! [`Presence`](aetherflow_schema::presence::Presence) and [`DocumentLocks`](aetherflow_schema::locks::DocumentLocks).

mod alarm;
pub mod arrivals;
mod clock;
pub mod cluster;
mod core;
pub mod grpc;
pub mod locks;
pub mod presence;
pub mod service;
pub mod store;

pub use self::{
    clock::Clock,
    core::{
        effects::{SessionChange, SessionEvent},
        lifecycle::SessionPatch,
    },
    service::{SessionCompanion, SessionOptions, SessionService},
};
