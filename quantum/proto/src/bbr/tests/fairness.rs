//! Flows that share a bottleneck.

use super::*;

fn within(name: &str, share: f64, range: std::ops::RangeInclusive<f64>) {
    assert!(range.contains(&share), "{name}: share {share:.2}");
}

#[test]
fn two_flows_share_alike() {
    for n in [0, 1, 2, 5] {
        let (share, r) = share(link(n), Control::bbr(1), Control::bbr(2), 0.0, 2.0, 30.0);
        within(&format!("L{n}"), share, 0.4..=0.6);
        assert!(
            r.goodput.iter().sum::<f64>() >= 0.93 * (1.0 - loss(n)),
            "L{n}: {:?}",
            r.goodput
        );
        assert!(
            r.queue <= 0.5 && r.drops <= 10.0,
            "L{n}: queue {:.2}, drops {:.1}",
            r.queue,
            r.drops
        );
    }
}

#[test]
fn a_later_flow_gets_its_share() {
    for n in [0, 5] {
        let (share, _) = share(link(n), Control::bbr(1), Control::bbr(2), 2.0, 15.0, 40.0);
        within(&format!("L{n}"), share, 0.38..=0.62);
    }
}

#[test]
fn leaves_cubic_its_part_of_a_short_queue() {
    for delay in [0.0, 2.0] {
        let (share, _) = share(link(0), Control::bbr(1), Control::cubic(), delay, 5.0, 30.0);
        within("first", share, 0.35..=0.65);
    }
    let (share, _) = share(link(0), Control::cubic(), Control::bbr(1), 2.0, 5.0, 30.0);
    within("second", 1.0 - share, 0.35..=0.65);
}

#[test]
fn leaves_newreno_its_part_of_a_short_queue() {
    let (share, _) = share(link(0), Control::bbr(1), Control::reno(), 0.0, 5.0, 30.0);
    within("NewReno", share, 0.35..=0.65);
}

#[test]
fn is_not_starved_in_a_deep_queue() {
    for (name, rival) in [("CUBIC", Control::cubic as fn() -> Control), ("NewReno", Control::reno)] {
        for delay in [0.0, 2.0] {
            let (share, _) = share(link(5), Control::bbr(1), rival(), delay, 5.0, 25.0);
            within(name, share, 0.25..=0.75);
        }
    }
}

#[test]
fn drains_the_deep_queue_when_the_rival_has_gone() {
    let mut sim = Sim::new(link(5), 7);
    sim.add(Control::bbr(1), Duration::ZERO);
    sim.add(Control::cubic(), Duration::ZERO).stop_at(secs(12.0));
    sim.run(secs(11.0));
    assert!(sim.flows[0].bbr().rival.present());
    let r = measure(&mut sim, secs(19.0), secs(29.0));
    assert!(!sim.flows[0].bbr().rival.present());
    assert!(
        r.queue <= 0.25 && r.goodput[0] >= 0.95,
        "queue {:.2}, goodput {:.2}",
        r.queue,
        r.goodput[0]
    );
}

/// On a lossy link CUBIC can use little; that little it must have.
#[test]
fn leaves_cubic_what_it_can_use_of_a_lossy_link() {
    for n in [1, 2] {
        let (_, alone) = share(link(n), Control::cubic(), Control::cubic(), 0.0, 5.0, 25.0);
        let (_, beside) = share(link(n), Control::cubic(), Control::bbr(1), 0.0, 5.0, 25.0);
        assert!(
            beside.goodput[0] >= 0.7 * alone.goodput[0],
            "L{n}: {:.3} of {:.3}",
            beside.goodput[0],
            alone.goodput[0]
        );
    }
}
