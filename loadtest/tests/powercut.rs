//! Nothing that was acknowledged is lost by a power cut, and the checker that says so can fail.
//!
//! Needs root, a loop device and `AETHERFLOW_BIN`, and so runs only when asked for: `make test-powercut`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use aetherflow_loadtest::{
    crew::CrewOptions,
    powercut::{self, Outcome, Plan},
    seed,
};

fn plan(rounds: u32, fsync: bool) -> Plan {
    Plan {
        rounds,
        crew: CrewOptions {
            documents: 4,
            writers: 4,
            native: 1,
            pause: Duration::from_millis(12),
        },
        life: (Duration::from_millis(100), Duration::from_millis(1200)),
        seed: seed(),
        fsync,
    }
}

async fn run(plan: &Plan) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    println!("AETHERFLOW_SEED={}", plan.seed);
    let outcome = match powercut::run(plan, dir.path()).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let log = std::fs::read_to_string(dir.path().join("server.log")).unwrap_or_default();
            panic!("AETHERFLOW_SEED={}: {error}\nthe server's log:\n{log}", plan.seed);
        }
    };
    println!("{outcome:#?}");
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and a loop device: make test-powercut"]
async fn nothing_acknowledged_is_lost_in_twenty_power_cuts() {
    let plan = plan(20, true);
    let outcome = run(&plan).await;
    assert_eq!(outcome.violations, [], "AETHERFLOW_SEED={}", plan.seed);
    assert_eq!(outcome.rounds, 20);
    assert!(
        outcome.acknowledged > 500 && outcome.placed > 500,
        "too little was written to prove anything"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and a loop device: make test-powercut"]
async fn without_fsync_power_cuts_are_caught() {
    const ROUNDS: usize = 5;
    let mut caught = 0;
    for _ in 0..ROUNDS {
        let outcome = run(&plan(1, false)).await;
        caught += usize::from(!outcome.violations.is_empty());
    }
    println!("{caught} of {ROUNDS} power cuts without fsync were caught");
    assert!(caught > 0, "the drill finds nothing even where there must be something");
}
