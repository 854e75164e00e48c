//! What an acknowledgement costs. Run by hand: `cargo test -p quantum-proto --release -- --ignored --nocapture timing`.

#![allow(clippy::disallowed_methods, reason = "it measures the machine")]

use std::{collections::VecDeque, hint::black_box};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::receipt::Receipts;

/// 100 Mbit/s, 100 ms, ACKs for every second packet with 8 blocks; `loss` of the packets.
fn cost(loss: f64, mixed: bool) {
    const INTERVAL: u64 = 120_000;
    let (mut rng, mut recovery) = (StdRng::seed_from_u64(1), Recovery::new(ms(100)));
    recovery.on_confirmed();
    let mut receipts = Receipts::new(ms(5));
    let mut under_way: VecDeque<(Time, PacketNumber, Option<Ack>)> = VecDeque::new();
    let mut arriving: VecDeque<(Time, u64, bool, Option<PacketNumber>)> = VecDeque::new();
    let (mut spent, mut acks, mut most, mut outcome) = (Duration::ZERO, 0u32, 0, Outcome::default());
    let mut received = Duration::ZERO;
    for step in 0..200_000u64 {
        let now = Time::from_nanos(step * INTERVAL);
        let number = recovery.next_number(Space::Application);
        let floor = recovery
            .wants_floor(Space::Application)
            .then(|| recovery.floor(Space::Application));
        let mut packet = packet(number.0, now.as_nanos());
        packet.asks_for_ack = !mixed || step % 3 > 0;
        let asks = packet.asks_for_ack;
        packet.frames = floor.iter().map(|_| SentFrame::Floor).collect();
        recovery.on_sent(Space::Application, packet);
        if !rng.random_bool(loss) {
            arriving.push_back((now + ms(50), number.0, asks, floor));
        }
        while let Some((_, number, asks, floor)) = arriving.pop_front_if(|(at, ..)| *at <= now) {
            let began = std::time::Instant::now();
            receipts.on_packet(now, n(number), asks, false, None);
            floor.into_iter().for_each(|floor| receipts.on_floor(floor));
            if receipts.due().is_some_and(|due| due <= now)
                && let Some(below) = receipts.acknowledgement()
            {
                under_way.push_back((now + ms(50), below, Some(receipts.ack(now))));
                receipts.on_ack_sent();
            }
            received += began.elapsed();
        }
        while let Some((_, below, frame)) = under_way.pop_front_if(|(at, ..)| *at <= now) {
            most = most.max(recovery.next_number(Space::Application).0 - recovery.floor(Space::Application).0);
            outcome.clear();
            let began = std::time::Instant::now();
            recovery
                .on_ack(now, Space::Application, below, frame.as_ref(), &mut outcome)
                .expect("honest");
            spent += began.elapsed();
            black_box(&outcome);
            acks += 1;
        }
    }
    println!(
        "loss {loss}, mixed {mixed}: {:?} for an ACK ({acks} of them, {most} records), {:?} for a receipt",
        spent / acks,
        received / 200_000
    );
}

#[test]
#[ignore = "prints timings"]
fn timing() {
    println!("a record has {} bytes", size_of::<SentPacket>());
    for loss in [0.0, 0.01, 0.1] {
        cost(loss, false);
        cost(loss, true);
    }
}
