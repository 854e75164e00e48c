//! Nothing that was acknowledged is lost by kill -9, and the checker that says so can fail. Half of the writers speak the
//! native protocol, and go on from their offsets.
//!
//! Needs `AETHERFLOW_BIN`. `AETHERFLOW_SEED` repeats a run, as far as the system's scheduler allows.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use aetherflow_loadtest::{
    audit::Violation,
    crew::CrewOptions,
    seed,
    torture::{self, Outcome, Plan, Sabotage},
};

fn plan(rounds: u32) -> Plan {
    Plan {
        rounds,
        crew: CrewOptions {
            documents: 4,
            writers: 4,
            native: 2,
            pause: Duration::from_millis(12),
        },
        life: (Duration::from_millis(100), Duration::from_millis(1200)),
        seed: seed(),
        sabotage: None,
    }
}

async fn run(plan: &Plan) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    println!("AETHERFLOW_SEED={}", plan.seed);
    let outcome = match torture::run(plan, dir.path()).await {
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
async fn nothing_acknowledged_is_lost_in_twenty_kills() {
    let plan = plan(20);
    let outcome = run(&plan).await;
    assert_eq!(outcome.violations, [], "AETHERFLOW_SEED={}", plan.seed);
    assert_eq!(outcome.rounds, 20);
    assert!(
        outcome.acknowledged > 500 && outcome.placed > 500,
        "too little was written to prove anything"
    );
}

/// The server acknowledges before it syncs, and the end of its log is lost: the audit or the server itself must say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_catches_a_server_that_acknowledges_too_early() {
    let mut plan = plan(5);
    plan.sabotage = Some(Sabotage {
        age: Duration::from_millis(100),
        witness: false,
    });
    let outcome = run(&plan).await;
    assert!(outcome.cut_bytes > 0, "nothing was cut");
    assert!(
        !outcome.violations.is_empty(),
        "AETHERFLOW_SEED={}: not caught",
        plan.seed
    );
}

/// The same, and the server has lost its own evidence: only what the clients recorded can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_catches_a_loss_that_the_server_cannot_know_of() {
    let mut plan = plan(5);
    plan.sabotage = Some(Sabotage {
        age: Duration::from_millis(100),
        witness: true,
    });
    let outcome = run(&plan).await;
    assert!(outcome.cut_bytes > 0, "nothing was cut");
    let found_by_clients =
        |violation: &Violation| matches!(violation, Violation::Lost { .. } | Violation::Unreadable { .. });
    assert!(
        outcome.violations.iter().any(found_by_clients),
        "AETHERFLOW_SEED={}: not caught",
        plan.seed
    );
}
