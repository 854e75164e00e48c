//! Many seeds on all cores.

use std::{
    any::Any,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Failures that are shown.
const SHOWN: usize = 5;

/// Runs `test` with each seed. `SIM_SEED=n` runs that one alone, `SIM_SEEDS=n` so many.
pub(crate) fn seeds(count: u64, test: impl Fn(u64) + Sync) {
    let variable = |name| {
        env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().expect("a seed is a number"))
    };
    if let Some(seed) = variable("SIM_SEED") {
        return test(seed);
    }
    let count = variable("SIM_SEEDS").unwrap_or(count);
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(2, |cores| cores.get());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
                        failures
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((seed, words(&*panic)));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    let shown: Vec<String> = failures
        .iter()
        .take(SHOWN)
        .map(|(seed, words)| format!("SIM_SEED={seed}: {words}"))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {count} seeds failed: {seeds:?}\n{}",
        seeds.len(),
        shown.join("\n\n")
    );
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
        .to_owned()
}

#[test]
fn a_failing_seed_is_named() {
    // With one seed chosen from outside there is no sweep.
    if env::var_os("SIM_SEED").is_some() || env::var_os("SIM_SEEDS").is_some() {
        return;
    }
    let ran = AtomicU64::new(0);
    seeds(100, |seed| assert!(ran.fetch_add(1, Ordering::Relaxed) < 100, "{seed}"));
    assert_eq!(ran.into_inner(), 100);
    let panic = catch_unwind(|| seeds(10, |seed| assert_ne!(seed, 7, "unlucky"))).unwrap_err();
    let words = words(&*panic);
    assert!(
        words.contains("1 of 10 seeds failed: [7]") && words.contains("SIM_SEED=7"),
        "{words}"
    );
}
