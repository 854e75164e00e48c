//! One flow alone.

use super::*;
use crate::time::Time;

/// The steady state on a link of the bench: goodput, queue, drops, bytes sent per byte delivered.
fn check(n: usize) {
    for seed in 1..3 {
        let r = alone(link(n), seed, 5.0, 30.0);
        let through = 1.0 - loss(n);
        assert!(
            r.goodput[0] >= 0.97 * through,
            "L{n}: goodput {:.3} of {through}",
            r.goodput[0]
        );
        assert!(r.queue <= 0.25, "L{n}: mean queue {:.2} BDP", r.queue);
        assert!(r.drops <= 10.0, "L{n}: {:.1} drops in 1000", r.drops);
        assert!(r.overhead <= 1.08 / through, "L{n}: overhead {:.3}", r.overhead);
        assert!(r.peak < 1.0, "L{n}: queue up to {:.2} BDP", r.peak);
        assert_eq!(r.timeouts, 0);
    }
}

#[test]
fn l0_clean() {
    check(0);
}

#[test]
fn l1_one_percent() {
    check(1);
}

#[test]
fn l2_three_percent() {
    check(2);
}

#[test]
fn l3_ten_percent() {
    check(3);
}

#[test]
fn l4_bursts() {
    check(4);
}

#[test]
fn l5_deep_queue() {
    check(5);
}

/// A host that has other things to do: most of what the pacer could not send in its turn goes out afterwards.
#[test]
fn a_busy_host_costs_little() {
    for (n, length, every, least) in [
        (0, 1.5, 12.0, 0.94),
        (1, 1.5, 12.0, 0.96),
        (1, 3.0, 47.0, 0.95),
        (5, 1.5, 12.0, 0.94),
    ] {
        let mut sim = Sim::new(link(n), 1);
        sim.add(Control::bbr(1), Duration::ZERO);
        sim.stall(secs(length / 1e3), secs(every / 1e3));
        let r = measure(&mut sim, secs(5.0), secs(30.0));
        assert!(
            r.goodput[0] >= least * (1.0 - loss(n)),
            "L{n}, {length} of {every} ms: goodput {:.3}",
            r.goodput[0]
        );
        assert!(r.queue <= 0.25, "L{n}: mean queue {:.2} BDP", r.queue);
        assert!(r.drops <= 10.0, "L{n}: {:.1} drops in 1000", r.drops);
    }
}

#[test]
fn ninety_percent_after_ten_round_trips() {
    let mut sim = Sim::new(Link::new(50, 40, 1.0, Loss::Bernoulli(0.0)), 1);
    sim.add(Control::bbr(1), Duration::ZERO);
    let early = measure(&mut sim, secs(0.4), secs(1.2));
    assert!(early.goodput[0] >= 0.9, "{:.3}", early.goodput[0]);
    let later = measure(&mut sim, secs(1.2), secs(10.0));
    assert!(later.goodput[0] >= 0.95, "{:.3}", later.goodput[0]);
}

#[test]
fn random_loss_costs_no_rate() {
    for loss in [0.01, 0.05, 0.2] {
        let r = alone(Link::new(50, 40, 1.0, Loss::Bernoulli(loss)), 3, 4.0, 15.0);
        assert!(r.goodput[0] >= 0.95 * (1.0 - loss), "{loss}: {:.3}", r.goodput[0]);
    }
}

/// Drops of a queue too short to show in the round trip must not pass for the path's own loss.
#[test]
fn a_short_queue_is_not_taken_for_noise() {
    for loss in [0.0, 0.03] {
        let r = alone(Link::new(50, 40, 0.1, Loss::Bernoulli(loss)), 1, 5.0, 25.0);
        assert!(r.drops <= 10.0, "{:.1} drops in 1000", r.drops);
        assert!(r.goodput[0] >= 0.95 * (1.0 - loss), "{:.3}", r.goodput[0]);
    }
}

#[test]
fn small_and_slow_links_are_used() {
    let r = alone(Link::new(1, 50, 4.0, Loss::Bernoulli(0.0)), 1, 5.0, 25.0);
    assert!(r.goodput[0] >= 0.95 && r.drops == 0.0);
    let r = alone(Link::new(2, 600, 1.0, Loss::Bernoulli(0.02)), 1, 15.0, 60.0);
    assert!(r.goodput[0] >= 0.9 * 0.98, "{:.3}", r.goodput[0]);
}

#[test]
fn follows_the_rate_of_the_link() {
    for queue in [1.0, 10.0] {
        let mut sim = Sim::new(Link::new(50, 40, queue, Loss::Bernoulli(0.0)), 1);
        sim.add(Control::bbr(1), Duration::ZERO);
        sim.change_rate(secs(6.0), 25);
        sim.change_rate(secs(16.001), 100);
        sim.run(secs(6.0));
        let slow = measure(&mut sim, secs(11.0), secs(16.0));
        assert!(
            slow.goodput[0] >= 0.95 && slow.queue < 0.5,
            "{:.3}, queue {:.2}",
            slow.goodput[0],
            slow.queue
        );
        let fast = measure(&mut sim, secs(21.0), secs(26.0));
        assert!(fast.goodput[0] >= 0.95, "{:.3}", fast.goodput[0]);
    }
}

#[test]
fn follows_a_longer_route() {
    let mut sim = Sim::new(Link::new(50, 40, 2.0, Loss::Bernoulli(0.0)), 1);
    sim.add(Control::bbr(1), Duration::ZERO);
    sim.change_rtt(secs(3.0), 80);
    let r = measure(&mut sim, secs(16.0), secs(26.0));
    assert!(r.goodput[0] >= 0.95, "{:.3}", r.goodput[0]);
    assert!(r.queue <= 0.25, "{:.2}", r.queue);
}

#[test]
fn recovers_from_an_outage() {
    for length in [0.3, 3.0] {
        let mut link = Link::new(50, 40, 1.0, Loss::Bernoulli(0.01));
        link.outage = Some((Time::ZERO + secs(5.0), Time::ZERO + secs(5.0 + length)));
        let mut sim = Sim::new(link, 1);
        sim.add(Control::bbr(1), Duration::ZERO);
        sim.run(secs(5.0));
        // A timer that was doubled a few times may wait as long again.
        let r = measure(&mut sim, secs(7.0 + 2.0 * length), secs(20.0));
        assert!(r.goodput[0] >= 0.93, "{length}: {:.3}", r.goodput[0]);
    }
}

/// The estimate outlives a time of little to send, and ProbeRTT does not hold up a flow that has it.
#[test]
fn an_idle_application_keeps_the_estimate() {
    let mut sim = Sim::new(Link::new(50, 40, 1.0, Loss::Bernoulli(0.0)), 1);
    sim.add(Control::bbr(1), Duration::ZERO);
    sim.run(secs(5.0));
    let before = sim.flows[0].bbr().max_bandwidth.max();
    sim.flows[0].limit(Time::ZERO + secs(5.0), App::Rate(100_000));
    sim.reset();
    sim.run(secs(35.0));
    let after = sim.flows[0].bbr().max_bandwidth.max();
    assert!(after as f64 >= 0.95 * before as f64, "{before} -> {after}");
    assert!(sim.flows[0].stats.states.iter().all(|(state, _)| *state != "ProbeRTT"));
    sim.flows[0].limit(Time::ZERO + secs(35.0), App::Bulk);
    let r = measure(&mut sim, secs(35.2), secs(36.0));
    assert!(r.goodput[0] >= 0.9, "{:.3}", r.goodput[0]);
}

/// Packets that overtake each other are reported lost by the hundred, and arrive: neither rate nor queue may suffer.
#[test]
fn reordering_costs_no_rate() {
    let mut link = Link::new(30, 60, 1.0, Loss::Bernoulli(0.005));
    link.jitter = Duration::from_millis(10);
    let r = alone(link, 1, 5.0, 25.0);
    assert!(r.goodput[0] >= 0.96, "{:.3}", r.goodput[0]);
    assert!(
        r.queue <= 0.25 && r.drops <= 10.0,
        "queue {:.2}, drops {:.1}",
        r.queue,
        r.drops
    );
}
