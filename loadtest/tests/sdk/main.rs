//! The Rust client, through the real server, over both transports.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

mod edits;
mod large;
mod locks;
mod offline;
mod presence;
mod setup;
mod tap;
mod transports;
