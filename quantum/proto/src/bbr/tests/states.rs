//! The states and the rounds in which they begin, against literal lists.

use super::*;

fn states(sim: &Sim) -> Vec<String> {
    sim.flows[0]
        .stats
        .states
        .iter()
        .map(|(state, round)| format!("{state} {round}"))
        .collect()
}

fn start(link: Link) -> Sim {
    let mut sim = Sim::new(link, 1);
    sim.add(Control::bbr(1), Duration::ZERO);
    sim
}

#[test]
fn startup_fills_the_path_and_drain_empties_it() {
    let mut sim = start(link(0));
    sim.run(secs(1.0));
    assert_eq!(states(&sim), ["Startup 1", "Drain 8", "ProbeBW_CRUISE 9"]);
}

#[test]
fn a_lap_of_probing() {
    let mut sim = start(link(0));
    sim.run(secs(4.0));
    assert_eq!(
        states(&sim)[4..],
        [
            "ProbeBW_UP 72",
            "ProbeBW_DOWN 74",
            "ProbeBW_CRUISE 77",
            "ProbeBW_REFILL 137",
            "ProbeBW_UP 138",
            "ProbeBW_DOWN 140",
            "ProbeBW_CRUISE 143"
        ]
    );
}

/// On a long path it is the clock, not the number of rounds, that starts a probe.
#[test]
fn a_lap_on_a_long_path() {
    let mut sim = start(link(3));
    sim.run(secs(12.0));
    assert_eq!(
        states(&sim),
        [
            "Startup 1",
            "Drain 7",
            "ProbeBW_DOWN 8",
            "ProbeBW_CRUISE 8",
            "ProbeBW_REFILL 20",
            "ProbeBW_UP 21",
            "ProbeBW_DOWN 26",
            "ProbeBW_CRUISE 29",
            "ProbeBW_REFILL 38",
            "ProbeBW_UP 39",
            "ProbeBW_DOWN 41",
            "ProbeBW_CRUISE 44",
            "ProbeBW_REFILL 52"
        ]
    );
}

#[test]
fn probe_rtt_after_the_path_became_longer() {
    let mut sim = start(link(0));
    sim.change_rtt(secs(2.0), 30);
    sim.run(secs(9.0));
    assert_eq!(
        states(&sim),
        [
            "Startup 1",
            "Drain 8",
            "ProbeBW_CRUISE 9",
            "ProbeBW_REFILL 71",
            "ProbeBW_UP 72",
            "ProbeBW_DOWN 74",
            "ProbeBW_CRUISE 77",
            "ProbeBW_REFILL 137",
            "ProbeBW_UP 138",
            "ProbeBW_DOWN 139",
            "ProbeBW_REFILL 201",
            "ProbeBW_UP 202",
            "ProbeBW_DOWN 203",
            "ProbeRTT 255",
            "ProbeBW_CRUISE 262"
        ]
    );
}

#[test]
fn a_deep_queue_of_others_is_tried_at_once() {
    let mut sim = start(link(5));
    sim.add(Control::cubic(), Duration::ZERO);
    sim.run(secs(3.0));
    assert_eq!(
        states(&sim),
        [
            "Startup 1",
            "Drain 8",
            "ProbeBW_DOWN 12",
            "ProbeRTT 19",
            "ProbeBW_CRUISE 23"
        ]
    );
}

#[test]
fn startup_lasts_while_the_application_limits() {
    let mut sim = start(link(0));
    sim.flows[0].app = App::Rate(500_000);
    sim.run(secs(12.0));
    assert_eq!(states(&sim), ["Startup 1"]);
}
