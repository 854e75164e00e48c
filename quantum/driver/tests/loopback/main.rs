//! Whole endpoints over the loopback interface, with real sockets, time and threads.
//!
//! Nothing here measures: each test is bounded in time only so that it fails rather than hangs.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod cancelling;
mod crowd;
mod flow;
mod identity;
mod lifecycle;
mod messages;
mod moving;
mod observing;
mod pair;
mod resuming;
