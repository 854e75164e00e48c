//! Whole connections over simulated networks, in virtual time.
//!
//! | module | what |
//! |---|---|
//! | `link` | one direction of a network: delay, jitter, loss, rate, queue |
//! | `world`, `queue` | what happens, one event after the other |
//! | `host` | an end that keeps the crate's calling contract |
//! | `trace` | what went over the wire, as a digest |
//! | `flow` | NewReno and CUBIC flows through the same bottleneck |
//! | `app`, `body`, `journal` | what the ends say to each other, and whether all of it arrived |
//! | `pair`, `sweep` | a client and a server; many seeds on all cores |
//! | `wire`, `tls` | packets made by hand; certificates |
//!
//! Everything is drawn from one seed. A failure names it; `SIM_SEED=n` runs that seed alone. The keys of TLS come from the system,
//! so ciphertext differs from run to run; sizes, times and clear headers do not, which `determinism` proves.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod app;
mod body;
mod flow;
mod host;
mod journal;
mod link;
mod pair;
mod queue;
mod sweep;
mod tls;
mod trace;
mod wire;
mod world;

mod link_tests;

mod attacks;
mod determinism;
mod fairness;
mod floods;
mod flow_control;
mod goals;
mod handshake;
mod last_flight;
mod latency;
mod lifecycle;
mod migration;
mod mtu;
mod reliability;
mod throughput;
