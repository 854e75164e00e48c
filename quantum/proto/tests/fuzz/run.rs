//! Which seeds, and for how long.

#![allow(
    clippy::disallowed_methods,
    reason = "the time of the machine decides how long is fuzzed, nothing else"
)]

use std::time::{Duration, Instant};

use rand::{RngCore, SeedableRng, rngs::StdRng};

/// Says which seed failed.
struct Watch {
    name: &'static str,
    seed: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: failed with FUZZ_SEED={}", self.name, self.seed);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number: {value}")),
    )
}

/// Calls `entry` with the bytes of seeds 0, 1, ...: `runs` of them, or as many as there is time for.
pub(crate) fn seeds(name: &'static str, runs: u64, bytes: usize, entry: fn(&[u8])) {
    let run = |seed: u64| {
        let _watch = Watch { name, seed };
        let mut rng = StdRng::seed_from_u64(seed);
        let mut data = vec![0; (rng.next_u64() % bytes as u64 + 1) as usize];
        rng.fill_bytes(&mut data);
        entry(&data);
    };
    if let Some(seed) = number("FUZZ_SEED") {
        return run(seed);
    }
    match number("FUZZ_SECONDS") {
        None => (0..runs).for_each(run),
        Some(seconds) => {
            let end = Instant::now() + Duration::from_secs(seconds);
            let done = (0..).take_while(|_| Instant::now() < end).map(run).count();
            eprintln!("{name}: {done} runs");
        }
    }
}
