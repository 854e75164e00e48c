//! Fuzzing: every reader of bytes from outside, fed the golden vectors with damage, and bytes that are anything.
//!
//! | module | what |
//! |---|---|
//! | `protocols` | what clients, servers and other nodes send |
//! | `records` | what the log and the stores give back |
//! | `texts` | ids, roles, grantees: what stands in URLs, tokens and files |
//! | `golden` | the golden vectors |
//!
//! `run` and `source` are those of `quantum/proto/tests/fuzz`: seeds, and choices out of bytes. `cargo test` runs each for a
//! moment, always with the same seeds; `FUZZ_SECONDS=600` runs each test for that long with further ones; a failure names
//! its seed, and `FUZZ_SEED=n` runs that one alone.
//!
//! Everywhere the same holds: nothing panics; what is read can be written, and is read again as the same; and reading
//! takes no more memory than a small multiple of the bytes.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod golden;
mod protocols;
mod records;
#[path = "../../../quantum/proto/tests/fuzz/run.rs"]
mod run;
#[allow(dead_code, reason = "quantum's, which needs more of it")]
#[path = "../../../quantum/proto/tests/fuzz/source.rs"]
mod source;
mod texts;

/// Reads, and checks that this takes at most `factor` times the bytes, and then some.
fn within<T>(bytes: usize, factor: usize, read: impl FnOnce() -> T) -> T {
    let mut result = None;
    let taken = allocation_counter::measure(|| result = Some(read()));
    let most = factor * bytes + 4096;
    assert!(
        taken.bytes_max <= most as u64,
        "{} bytes for {bytes}, and {most} are allowed",
        taken.bytes_max
    );
    result.unwrap()
}

#[test]
#[should_panic(expected = "8192 are allowed")]
fn what_takes_too_much_memory_is_noticed() {
    within(1, 4096, || vec![0_u8; 10_000]);
}
