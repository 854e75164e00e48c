//! Whole connections to which anything happens, in any order.
//!
//! Whatever happens: nothing panics, nothing turns in circles, what is kept is bounded, no end is blamed for what the network did, and
//! what is delivered was said, once and in order. When the network is sound again, everything that was said arrives. In some runs an end is
//! hostile itself; then only the first three hold.

use std::time::Duration;

use bytes::Bytes;
use quantum_proto::{ChannelId, ConnectionHandle, Delivery, Priority, Side, TransportConfig, fuzzing};

use crate::{
    run::seeds,
    source::Source,
    world::{CLIENT, CODE, Datagram, SERVER, World},
};

/// Limits of the transport.
const SMALLEST_MESSAGE: usize = 5_000;
const CHANNELS: u32 = 4;
const MS: Duration = Duration::from_millis(1);
/// Clients in one run.
const CLIENTS_MAX: usize = 3;
/// One way, when the network is sound.
const DELAY: Duration = Duration::from_millis(15);
/// How long everything may take then.
const PATIENCE: Duration = Duration::from_secs(120);

/// The entry: operations out of bytes.
pub(crate) fn operations(data: &[u8]) {
    let mut source = Source::new(data);
    let mut world = World::new(
        source.byte(),
        transport(&mut source),
        source.once_in(3),
        source.once_in(2),
    );
    let hostile = source.once_in(4);
    world.connect();
    while !source.is_empty() {
        match hostile && source.once_in(8) {
            true => with_line(&mut world, &mut source, lie),
            false => operation(&mut world, &mut source),
        }
    }
    come_to_rest(&mut world);
}

/// Small limits are met sooner.
fn transport(source: &mut Source<'_>) -> TransportConfig {
    let small = source.once_in(2);
    TransportConfig {
        max_message: if small { SMALLEST_MESSAGE as u32 } else { 100_000 },
        receive_window: if small { 8_000 } else { 300_000 },
        channel_window: if small { 7_000 } else { 200_000 },
        max_channels: CHANNELS,
        send_buffer: if small { 20_000 } else { 300_000 },
        datagram_queue: 8,
        protection: source.once_in(2),
        ..TransportConfig::default()
    }
}

fn operation(world: &mut World, source: &mut Source<'_>) {
    match source.below(32) {
        0..=5 => with_line(world, source, send),
        6..=7 => with_line(world, source, |world, _, end, handle| world.hear(end, handle)),
        8 => with_line(world, source, send_datagram),
        9..=14 => network(world, source),
        15..=19 => deliver_some(world, source),
        20..=22 => pass(world, source),
        23 => forge(world, source),
        24 => with_line(world, source, change_keys),
        25 => move_client(world, source),
        26 if source.once_in(2) => with_line(world, source, end),
        27 if world.pairs.len() < CLIENTS_MAX => world.connect(),
        _ => world.pass(MS),
    }
}

fn with_line(
    world: &mut World,
    source: &mut Source<'_>,
    act: fn(&mut World, &mut Source<'_>, usize, ConnectionHandle),
) {
    let handles = world.handles();
    if !handles.is_empty() {
        let (end, handle) = handles[source.below(handles.len())];
        act(world, source, end, handle);
        world.settle(end, handle);
    }
}

fn side_of(end: usize) -> Side {
    if end == SERVER { Side::Server } else { Side::Client }
}

fn send(world: &mut World, source: &mut Source<'_>, end: usize, handle: ConnectionHandle) {
    let channel = ChannelId(source.below(5) as u32);
    let delivery = if source.once_in(2) {
        Delivery::Ordered
    } else {
        Delivery::Unordered
    };
    let priority = [Priority::Interactive, Priority::Normal, Priority::Bulk][source.below(3)];
    let longest = [3, 200, 3_000, 120_000][source.below(4)];
    let len = source.below(longest);
    let replay_safe = source.once_in(4);
    let Some(line) = world.lines[end].get_mut(&handle) else {
        return;
    };
    let pair = &mut world.pairs[line.pair];
    let speech = if end == SERVER { &mut pair.down } else { &mut pair.up };
    // Before the peer's limits are known anything is taken, and what the peer does not take ends the connection.
    let fits = line.connected || (channel.0 < CHANNELS && len <= SMALLEST_MESSAGE);
    if line.zombie || !fits {
        return;
    }
    let data: Bytes = speech.next(side_of(end), (channel, delivery), len);
    let taken = match replay_safe {
        true => line.conn.send_replay_safe(channel, delivery, priority, data),
        false => line.conn.send(channel, delivery, priority, data),
    };
    if taken.is_ok() {
        speech.say((channel, delivery), len, replay_safe);
    }
}

fn send_datagram(world: &mut World, source: &mut Source<'_>, end: usize, handle: ConnectionHandle) {
    let len = source.below(1_300);
    let Some(line) = world.lines[end].get_mut(&handle) else {
        return;
    };
    let pair = &mut world.pairs[line.pair];
    let speech = if end == SERVER { &mut pair.down } else { &mut pair.up };
    if !line.zombie && line.conn.send_datagram(speech.next_datagram(side_of(end), len)).is_ok() {
        speech.say_datagram(len);
    }
}

/// Frames that are not what the peer may expect.
fn lie(world: &mut World, source: &mut Source<'_>, end: usize, handle: ConnectionHandle) {
    let mut frames = fuzzing::valid_frames(0, || source.word());
    if source.once_in(3) {
        source.mutate(&mut frames);
    }
    world.send_hostile(end, handle, &frames);
}

fn change_keys(world: &mut World, _: &mut Source<'_>, end: usize, handle: ConnectionHandle) {
    if let Some(line) = world.lines[end].get_mut(&handle) {
        line.conn.update_keys();
    }
}

fn end(world: &mut World, source: &mut Source<'_>, end: usize, handle: ConnectionHandle) {
    let now = world.now;
    if let Some(line) = world.lines[end].get_mut(&handle) {
        match source.once_in(2) {
            true => line.conn.close(now, CODE, "the fuzzer says so"),
            false => line.conn.finish(now),
        }
    }
}

/// Something happens to a datagram on its way.
fn network(world: &mut World, source: &mut Source<'_>) {
    if world.wire.is_empty() {
        return;
    }
    let at = source.below(world.wire.len());
    match source.below(8) {
        0..=2 => {
            let datagram = world.wire.remove(at).unwrap();
            world.arrive(datagram);
        }
        3 => drop(world.wire.remove(at)),
        4 => {
            let datagram = world.wire[at].clone();
            world.arrive(datagram);
        }
        5 => {
            let mut datagram = world.wire.remove(at).unwrap();
            source.mutate(&mut datagram.bytes);
            world.arrive(datagram);
        }
        6 => {
            let again = world.history[source.below(world.history.len())].clone();
            world.arrive(again);
        }
        _ => {
            // Two in one, and from somewhere else.
            let other = world.wire[source.below(world.wire.len())].bytes.clone();
            let mut datagram = world.wire[at].clone();
            datagram.bytes.extend_from_slice(&other);
            if source.once_in(2) {
                datagram.from.set_port(6666);
            }
            world.arrive(datagram);
        }
    }
}

/// The oldest datagrams arrive in order.
fn deliver_some(world: &mut World, source: &mut Source<'_>) {
    for _ in 0..1 + source.below(30) {
        let Some(datagram) = world.wire.pop_front() else { return };
        world.arrive(datagram);
    }
}

fn pass(world: &mut World, source: &mut Source<'_>) {
    let time = match source.below(16) {
        0..=6 => MS * source.below(30) as u32,
        7..=10 => MS * source.below(400) as u32,
        11..=13 => world.next_timer().map_or(MS, |(at, ..)| at.since(world.now)),
        14 => MS * source.below(8_000) as u32,
        _ => MS * source.below(40_000) as u32,
    };
    world.pass(time);
}

/// Bytes from nowhere: anything, or with a header that somebody has seen.
fn forge(world: &mut World, source: &mut Source<'_>) {
    let seen = (!world.history.is_empty()).then(|| world.history[source.below(world.history.len())].clone());
    let mut datagram = seen.unwrap_or(Datagram {
        from: world.addresses[CLIENT],
        to: world.addresses[SERVER],
        ecn: None,
        bytes: b"QUNT\x01".to_vec(),
    });
    if source.once_in(2) {
        let len = source.below(100);
        datagram.bytes.truncate(32);
        datagram.bytes.extend((0..len).map(|at| at as u8));
    }
    match datagram.bytes.get_mut(5) {
        // What proves nothing may say anything: versions, which a client that heard nothing may believe, left out.
        Some(flags) if source.once_in(2) => *flags = [0x04, 0x0e, 0x12, 0x1a, 0x11, 0x10, 0x22][source.below(7)],
        _ => source.mutate(&mut datagram.bytes),
    }
    world.arrive(datagram);
}

fn move_client(world: &mut World, source: &mut Source<'_>) {
    world.move_client(source.once_in(2));
    // It knows, or it is a NAT.
    if source.once_in(2) {
        for (end, handle) in world.handles().into_iter().filter(|(end, _)| *end == CLIENT) {
            let now = world.now;
            if let Some(line) = world.lines[end].get_mut(&handle) {
                line.conn.on_local_address_changed(now);
            }
            world.settle(end, handle);
        }
    }
}

/// The network is sound from now on: what was said arrives.
fn come_to_rest(world: &mut World) {
    let end = world.now + PATIENCE;
    while world.now < end {
        for (end, handle) in world.handles() {
            world.hear(end, handle);
        }
        if world.wire.is_empty() && expect(world).is_none() {
            return;
        }
        let under_way = std::mem::take(&mut world.wire);
        let time = match under_way.is_empty() {
            true => world
                .next_timer()
                .map_or(MS, |(at, ..)| at.since(world.now))
                .min(DELAY * 10),
            false => DELAY,
        };
        world.pass(time);
        under_way.into_iter().for_each(|datagram| world.arrive(datagram));
    }
    if let Some(missing) = expect(world) {
        panic!("not delivered in time: {missing}");
    }
}

/// What should still arrive; `None`: nothing.
fn expect(world: &World) -> Option<String> {
    for line in world.lines[CLIENT].values().filter(|line| line.closed.is_none()) {
        let server = world.lines[SERVER]
            .values()
            .find(|other| other.pair == line.pair && !other.zombie);
        let Some(server) = server.filter(|server| server.closed.is_none()) else {
            continue;
        };
        let pair = &world.pairs[line.pair];
        let (up, down) = (pair.up.missing(), pair.down.missing());
        if up + down > 0 && !pair.torn {
            let stats = (line.conn.stats(), server.conn.stats());
            return Some(format!("{up} up, {down} down\n{:?}\n{:?}", stats.0, stats.1));
        }
    }
    None
}

#[test]
fn any_operations() {
    seeds("any_operations", 60, 4_000, operations);
}
