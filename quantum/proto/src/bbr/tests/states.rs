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
    assert_eq!(states(&sim), ["Startup 1", "Drain 6", "ProbeBW_CRUISE 7"]);
}

#[test]
fn a_lap_of_probing() {
    let mut sim = start(link(0));
    sim.run(secs(4.0));
    assert_eq!(
        states(&sim)[4..],
        [
            "ProbeBW_UP 70",
            "ProbeBW_DOWN 72",
            "ProbeBW_CRUISE 75",
            "ProbeBW_REFILL 135",
            "ProbeBW_UP 136",
            "ProbeBW_DOWN 138",
            "ProbeBW_CRUISE 141"
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
            "Drain 5",
            "ProbeBW_CRUISE 6",
            "ProbeBW_REFILL 17",
            "ProbeBW_UP 18",
            "ProbeBW_DOWN 20",
            "ProbeBW_CRUISE 24",
            "ProbeBW_REFILL 32",
            "ProbeBW_UP 33",
            "ProbeBW_DOWN 35",
            "ProbeBW_CRUISE 39",
            "ProbeBW_REFILL 46",
            "ProbeBW_UP 47",
            "ProbeBW_DOWN 49"
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
            "Drain 6",
            "ProbeBW_CRUISE 7",
            "ProbeBW_REFILL 69",
            "ProbeBW_UP 70",
            "ProbeBW_DOWN 72",
            "ProbeBW_CRUISE 75",
            "ProbeBW_REFILL 135",
            "ProbeBW_UP 136",
            "ProbeBW_DOWN 137",
            "ProbeBW_CRUISE 151",
            "ProbeBW_REFILL 199",
            "ProbeBW_UP 200",
            "ProbeBW_DOWN 201",
            "ProbeBW_CRUISE 216",
            "ProbeRTT 257",
            "ProbeBW_CRUISE 264"
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
            "Drain 4",
            "ProbeBW_CRUISE 4",
            "ProbeRTT 13",
            "ProbeBW_CRUISE 17"
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
