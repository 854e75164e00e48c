//! For tuning: `cargo test -p quantum-proto bbr::tests::table -- --ignored --nocapture`.

use super::*;

fn print(name: &str, link_loss: f64, r: &Report) {
    let goodput: Vec<String> = r
        .goodput
        .iter()
        .map(|g| format!("{:.3}", g / (1.0 - link_loss)))
        .collect();
    println!(
        "{name:16} goodput/(1-p) {:20} overhead*(1-p) {:.3} queue {:.3} peak {:.2} drops/1000 {:.2} timeouts {}",
        goodput.join(" "),
        r.overhead * (1.0 - link_loss),
        r.queue,
        r.peak,
        r.drops,
        r.timeouts
    );
}

#[test]
#[ignore = "prints a table for tuning"]
fn table() {
    for n in 0..6 {
        for seed in 1..3 {
            print(&format!("L{n} seed {seed}"), loss(n), &alone(link(n), seed, 5.0, 30.0));
        }
        print(&format!("L{n} from 0"), loss(n), &alone(link(n), 1, 0.0, 30.0));
    }
    print(
        "shallow 0.1",
        0.0,
        &alone(Link::new(50, 40, 0.1, Loss::Bernoulli(0.0)), 1, 5.0, 30.0),
    );
    print(
        "shallow 0.1 3%",
        0.03,
        &alone(Link::new(50, 40, 0.1, Loss::Bernoulli(0.03)), 1, 5.0, 30.0),
    );
    print(
        "no loss 0.5",
        0.0,
        &alone(Link::new(50, 40, 0.5, Loss::Bernoulli(0.0)), 1, 5.0, 30.0),
    );
    let mut jittery = Link::new(30, 60, 1.0, Loss::Bernoulli(0.005));
    jittery.jitter = Duration::from_millis(10);
    print("L6", 0.005, &alone(jittery, 1, 5.0, 30.0));
    print(
        "20% 5/100",
        0.2,
        &alone(Link::new(5, 100, 1.0, Loss::Bernoulli(0.2)), 1, 5.0, 30.0),
    );
    print(
        "1 Mbit 50ms",
        0.0,
        &alone(Link::new(1, 50, 4.0, Loss::Bernoulli(0.0)), 1, 5.0, 30.0),
    );
}

#[test]
#[ignore = "prints a table for tuning"]
fn fairness() {
    for n in [0, 1, 2, 5] {
        for delay in [0.0, 2.0] {
            let (s, r) = share(link(n), Control::bbr(1), Control::cubic(), delay, 5.0, 20.0);
            print(&format!("L{n} cubic +{delay} {s:.2}"), loss(n), &r);
            let (s, r) = share(link(n), Control::cubic(), Control::bbr(1), delay, 5.0, 20.0);
            print(&format!("L{n} cubic -{delay} {:.2}", 1.0 - s), loss(n), &r);
            let (s, r) = share(link(n), Control::bbr(1), Control::reno(), delay, 5.0, 30.0);
            print(&format!("L{n} reno +{delay} {s:.2}"), loss(n), &r);
            let (s, r) = share(link(n), Control::bbr(1), Control::bbr(2), delay, 5.0, 30.0);
            print(&format!("L{n} bbr +{delay} {s:.2}"), loss(n), &r);
        }
        let (s, r) = share(link(n), Control::cubic(), Control::cubic(), 0.0, 5.0, 20.0);
        print(&format!("L{n} cubics {s:.2}"), loss(n), &r);
    }
}

/// The worst of many seeds.
#[test]
#[ignore = "prints a table for tuning"]
fn seeds() {
    for n in 0..6 {
        let reports: Vec<Report> = (1..11).map(|seed| alone(link(n), seed, 5.0, 30.0)).collect();
        let worst = |f: fn(&Report) -> f64| reports.iter().map(f).fold(f64::MIN, f64::max);
        println!(
            "L{n} goodput/(1-p) at least {:.3}, queue at most {:.3}, drops/1000 {:.2}, overhead*(1-p) {:.3}",
            -worst(|r| -r.goodput[0]) / (1.0 - loss(n)),
            worst(|r| r.queue),
            worst(|r| r.drops),
            worst(|r| r.overhead) * (1.0 - loss(n)),
        );
    }
}
