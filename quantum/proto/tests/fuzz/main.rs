//! Fuzzing: bytes that are anything, and connections to which anything happens.
//!
//! | module | what |
//! |---|---|
//! | `codec`, `connection` | the entry functions, `fn(&[u8])`, for a fuzzer to call as well; and tests that call them with seeds |
//! | `run` | seeds, and how long |
//! | `source` | choices out of bytes |
//! | `world` | two endpoints and the network between them |
//!
//! `cargo test` runs each for a moment, always with the same seeds. `FUZZ_SECONDS=600` runs each test for that long with further
//! ones; a failure names its seed, and `FUZZ_SEED=n` runs that one alone.

// All of this is test code: clippy sees only what stands in `#[test]` functions as such.
#![allow(clippy::unwrap_used)]

mod codec;
mod connection;
mod model;
mod run;
mod source;
#[allow(dead_code, reason = "the simulation's, which needs more of it")]
#[path = "../simulation/tls.rs"]
mod tls;
mod world;
