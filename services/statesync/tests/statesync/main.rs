//! Documents over a log, spoken to by peers of the sync protocol and by clients that know entries.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod common;
mod deep;
mod entries;
mod fence;
mod files;
mod follow;
mod hostile;
mod lost;
mod rest;
mod rights;
mod set_aside;
mod snapshots;
mod sync;
mod together;
