//! BBR on simulated links: what it reaches, what it costs, and whom it leaves how much.

mod fairness;
mod links;
mod model;
mod states;

use std::time::Duration;

use super::sim::{App, Control, Link, Loss, Sim};

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

/// The links of the bench, by number.
fn link(n: usize) -> Link {
    let none = Loss::Bernoulli(0.0);
    match n {
        0 => Link::new(100, 20, 1.0, none),
        1 => Link::new(50, 40, 1.0, Loss::Bernoulli(0.01)),
        2 => Link::new(20, 100, 1.0, Loss::Bernoulli(0.03)),
        3 => Link::new(10, 200, 1.0, Loss::Bernoulli(0.1)),
        4 => Link::new(20, 80, 1.0, Loss::Bursts(0.02, 4.0)),
        5 => Link::new(100, 20, 10.0, none),
        _ => panic!("no link {n}"),
    }
}

fn loss(n: usize) -> f64 {
    [0.0, 0.01, 0.03, 0.1, 0.02, 0.0][n]
}

/// What flows did on a link after a warm-up.
struct Report {
    /// Of the link's rate, per flow.
    goodput: Vec<f64>,
    /// Bytes sent per byte delivered.
    overhead: f64,
    /// In BDP.
    queue: f64,
    peak: f64,
    /// Tail drops per 1000 packets.
    drops: f64,
    timeouts: u64,
}

fn measure(sim: &mut Sim, from: Duration, to: Duration) -> Report {
    sim.run(from);
    sim.reset();
    sim.run(to);
    let capacity = sim.link.rate() * (to - from).as_secs_f64();
    let sum = |f: fn(&super::sim::Flow) -> u64| sim.flows.iter().map(f).sum::<u64>() as f64;
    Report {
        goodput: sim
            .flows
            .iter()
            .map(|flow| flow.stats.delivered as f64 / capacity)
            .collect(),
        overhead: sum(|f| f.stats.sent) / sum(|f| f.stats.delivered),
        queue: sim.link.mean_queue() / sim.link.bdp(),
        peak: sim.link.peak / sim.link.bdp(),
        drops: 1000.0 * sim.link.drops as f64 / sim.link.packets as f64,
        timeouts: sim.flows.iter().map(|flow| flow.stats.timeouts).sum(),
    }
}

fn alone(link: Link, seed: u64, from: f64, to: f64) -> Report {
    let mut sim = Sim::new(link, seed);
    sim.add(Control::bbr(seed), Duration::ZERO);
    measure(&mut sim, secs(from), secs(to))
}

/// The share of the first flow in what both delivered.
fn share(link: Link, first: Control, second: Control, delay: f64, from: f64, to: f64) -> (f64, Report) {
    let mut sim = Sim::new(link, 7);
    sim.add(first, Duration::ZERO);
    sim.add(second, secs(delay));
    let report = measure(&mut sim, secs(from), secs(to));
    (report.goodput[0] / (report.goodput[0] + report.goodput[1]), report)
}
