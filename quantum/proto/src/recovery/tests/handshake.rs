//! Several spaces, unconfirmed handshakes, and a server that may not send.

use super::*;

fn unconfirmed() -> Recovery {
    let mut recovery = Recovery::new(ms(100));
    recovery.set_max_ack_delay(ms(5));
    recovery
}

fn send(recovery: &mut Recovery, space: Space, now: u64) {
    let number = recovery.next_number(space).0;
    recovery.on_sent(space, packet(number, now * 1_000_000));
}

fn timer(recovery: &Recovery) -> Option<u64> {
    recovery.timeout().map(|at| at.as_nanos() / 1_000_000)
}

fn expire(recovery: &mut Recovery, now: u64) -> Outcome {
    let mut outcome = Outcome::default();
    recovery.on_timeout(at(now), &mut outcome);
    outcome
}

fn acknowledge(recovery: &mut Recovery, space: Space, now: u64, below: u64) -> Outcome {
    let mut outcome = Outcome::default();
    recovery
        .on_ack(at(now), space, n(below), Some(&ack(&[])), &mut outcome)
        .expect("an honest acknowledgement");
    outcome
}

#[test]
fn the_space_that_waits_longest_is_probed() {
    let mut recovery = unconfirmed();
    send(&mut recovery, Space::Handshake, 0);
    send(&mut recovery, Space::Initial, 10);
    // No delay is promised in these spaces: 100 + 4 * 50 ms.
    assert_eq!(timer(&recovery), Some(300));
    assert_eq!(expire(&mut recovery, 300).probe, Some((Space::Handshake, 2)));
    send(&mut recovery, Space::Handshake, 300);
    assert_eq!(timer(&recovery), Some(610));
    assert_eq!(expire(&mut recovery, 610).probe, Some((Space::Initial, 1)));
}

#[test]
fn application_packets_wait_for_the_handshake() {
    let mut recovery = unconfirmed();
    send(&mut recovery, Space::Application, 0);
    assert_eq!(timer(&recovery), None);
    recovery.on_confirmed();
    assert_eq!(timer(&recovery), Some(305));
    assert_eq!(expire(&mut recovery, 305).probe, Some((Space::Application, 2)));
}

#[test]
fn a_timeout_takes_the_packets_of_all_spaces() {
    let mut recovery = unconfirmed();
    for space in Space::ALL {
        send(&mut recovery, space, 0);
    }
    expire(&mut recovery, 300);
    expire(&mut recovery, 600);
    let outcome = expire(&mut recovery, 2_000);
    assert_eq!(
        (outcome.timeout, outcome.lost.len(), recovery.bytes_in_flight()),
        (true, 3, 0)
    );
}

#[test]
fn a_blocked_server_waits_and_then_catches_up() {
    let mut recovery = unconfirmed();
    send(&mut recovery, Space::Initial, 0);
    recovery.set_blocked(true);
    assert_eq!(timer(&recovery), None);
    assert_eq!(expire(&mut recovery, 5_000).probe, None);
    recovery.set_blocked(false);
    assert_eq!(timer(&recovery), Some(300));
    assert_eq!(expire(&mut recovery, 5_000).probe, Some((Space::Initial, 2)));
}

#[test]
fn a_client_keeps_talking_until_the_server_has_heard_enough() {
    let mut recovery = unconfirmed();
    recovery.set_guard(at(0), Space::Initial);
    send(&mut recovery, Space::Initial, 0);
    // An acknowledgement in the initial space does not end it: 20 ms measured, 10 ms of variation.
    acknowledge(&mut recovery, Space::Initial, 20, 1);
    assert_eq!(recovery.bytes_in_flight(), 0);
    assert_eq!(timer(&recovery), Some(20 + 60));
    assert_eq!(expire(&mut recovery, 80).probe, Some((Space::Initial, 2)));
    // Nor does it calm the timer.
    send(&mut recovery, Space::Initial, 80);
    acknowledge(&mut recovery, Space::Initial, 100, 2);
    assert!(timer(&recovery) > Some(100 + 60 + 10));

    recovery.drop_space(Space::Initial);
    assert_eq!(expire(&mut recovery, 1_000).probe, Some((Space::Handshake, 2)));
    // With nothing in flight there is nothing to lose: it goes on probing.
    for step in 1..8u64 {
        let outcome = expire(&mut recovery, 1_000 + step * 20_000);
        assert_eq!(
            (outcome.probe, outcome.timeout),
            (Some((Space::Handshake, 1)), false),
            "{step}"
        );
    }
    send(&mut recovery, Space::Handshake, 200_000);
    acknowledge(&mut recovery, Space::Handshake, 200_020, 1);
    assert_eq!(timer(&recovery), None);
}

#[test]
fn confirmation_ends_the_guard() {
    let mut recovery = unconfirmed();
    recovery.set_guard(at(0), Space::Handshake);
    assert_eq!(timer(&recovery), Some(300));
    recovery.on_confirmed();
    assert_eq!(timer(&recovery), None);
}

#[test]
fn dropped_spaces_are_forgotten() {
    let mut recovery = unconfirmed();
    send(&mut recovery, Space::Initial, 0);
    send(&mut recovery, Space::Handshake, 10);
    expire(&mut recovery, 300);
    recovery.drop_space(Space::Initial);
    assert_eq!(
        (recovery.bytes_in_flight(), recovery.floor(Space::Initial)),
        (1_000, n(1))
    );
    // The timer begins anew too.
    assert_eq!(timer(&recovery), Some(310));
    assert!(acknowledge(&mut recovery, Space::Initial, 100, 1).acked.is_empty());
}

#[test]
fn refused_early_packets_come_back() {
    let mut recovery = unconfirmed();
    (0..3).for_each(|now| send(&mut recovery, Space::Application, now));
    assert_eq!(numbers(&recovery.take_in_flight(Space::Application)), [0, 1, 2]);
    assert_eq!(
        (recovery.bytes_in_flight(), recovery.floor(Space::Application)),
        (0, n(3))
    );
    assert_eq!(recovery.next_number(Space::Application), n(3));
    recovery.on_confirmed();
    send(&mut recovery, Space::Application, 50);
    let outcome = acknowledge(&mut recovery, Space::Application, 150, 4);
    assert_eq!((numbers(&outcome.acked), outcome.spurious), (vec![3], 0));
}

#[test]
fn another_path_has_its_own_round_trip() {
    let mut bench = Bench::settled();
    bench.send(0);
    bench.recovery.reset_rtt(ms(100));
    bench.send(10);
    assert_eq!(bench.ack(500, 1, &[]).rtt, None);
    assert!(!bench.recovery.rtt().sampled);
    assert_eq!(bench.ack(510, 2, &[]).rtt, Some(ms(500)));
}
