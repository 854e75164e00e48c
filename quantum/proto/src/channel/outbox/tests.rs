use super::{message::MIN_FRAGMENT, schedule::PATIENCE, *};
use crate::types::MessageId;

mod limits;

const BUFFER: usize = 1 << 20;
const ANY: Priority = Priority::Bulk;

/// With limits that are not in the way.
fn outbox() -> Outbox {
    limited(1 << 30, 1 << 30)
}

fn limited(max_data: u64, max_channel_data: u64) -> Outbox {
    let mut outbox = Outbox::new(BUFFER);
    outbox.set_limits(max_data, max_channel_data, 8, 1 << 24).unwrap();
    outbox
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|at| at as u8).collect()
}

fn send(outbox: &mut Outbox, channel: u32, priority: Priority, len: usize) {
    outbox
        .send(ChannelId(channel), Delivery::Unordered, priority, false, bytes(len))
        .unwrap();
}

fn send_ordered(outbox: &mut Outbox, channel: u32, priority: Priority, len: usize) {
    outbox
        .send(ChannelId(channel), Delivery::Ordered, priority, false, bytes(len))
        .unwrap();
}

/// The next chunk; its bytes are checked.
fn next(outbox: &mut Outbox, budget: usize) -> Option<Chunk> {
    let urgent = outbox.most_urgent(false);
    let (chunk, data) = outbox.next(ANY, |_, _, _| budget, false)?;
    assert!(urgent.is_some(), "what is sent was announced");
    let range = chunk.range();
    assert_eq!(data, bytes(range.end as usize)[range.start as usize..]);
    assert!(data.len() <= budget);
    Some(chunk)
}

/// Channel, id and range of the next chunk.
fn what(outbox: &mut Outbox, budget: usize) -> Option<(u32, u64, u32, u32)> {
    next(outbox, budget).map(|chunk| (chunk.channel.0, chunk.id.0, chunk.offset, chunk.offset + chunk.len))
}

#[test]
fn a_message_is_cut_only_when_it_must_be() {
    let mut outbox = outbox();
    send(&mut outbox, 0, ANY, 1000);
    send(&mut outbox, 0, ANY, 0);
    let first = next(&mut outbox, 600).unwrap();
    assert_eq!((first.offset, first.len, first.fin), (0, 600, false));
    assert_eq!(
        next(&mut outbox, MIN_FRAGMENT - 1),
        None,
        "a fragment would be too small"
    );
    let second = next(&mut outbox, 400).unwrap();
    assert_eq!((second.offset, second.len, second.fin), (600, 400, true));
    let empty = next(&mut outbox, 0).unwrap();
    assert_eq!((empty.id, empty.len, empty.fin), (MessageId(1), 0, true));
    assert_eq!(next(&mut outbox, 1000), None);
    assert_eq!(outbox.most_urgent(false), None);
    for chunk in [empty, first, second] {
        assert!(!outbox.is_idle());
        outbox.on_acked(chunk);
    }
    assert!(outbox.is_idle());
}

#[test]
fn urgent_messages_go_first_and_nobody_is_starved() {
    let mut outbox = outbox();
    for _ in 0..100 {
        send(&mut outbox, 0, Priority::Bulk, 100);
        send(&mut outbox, 1, Priority::Normal, 100);
        send(&mut outbox, 2, Priority::Interactive, 100);
    }
    assert_eq!(outbox.most_urgent(false), Some(Priority::Interactive));
    let order: Vec<u32> = (0..51).map(|_| what(&mut outbox, 1000).unwrap().0).collect();
    let mut expected = vec![2; usize::from(PATIENCE)];
    expected.extend([1, 0]);
    assert_eq!(order[..17], expected);
    assert_eq!(order.iter().filter(|&&channel| channel == 1).count(), 3);
    assert_eq!(order.iter().filter(|&&channel| channel == 0).count(), 3);
    for _ in 0..100 {
        let (chunk, _) = outbox.next(Priority::Normal, |_, _, _| 1000, false).unwrap();
        assert_ne!(chunk.channel.0, 0, "only what is urgent enough was asked for");
    }
}

#[test]
fn channels_of_one_priority_take_turns() {
    let mut outbox = outbox();
    send(&mut outbox, 0, ANY, 3000);
    send(&mut outbox, 1, ANY, 100);
    send(&mut outbox, 2, ANY, 1000);
    send_ordered(&mut outbox, 2, ANY, 100);
    let order: Vec<u32> = std::iter::from_fn(|| what(&mut outbox, 1000))
        .map(|chunk| chunk.0)
        .collect();
    assert_eq!(order, [0, 1, 2, 2, 0, 0]);
}

#[test]
fn ordered_messages_are_begun_in_order() {
    let mut outbox = outbox();
    send_ordered(&mut outbox, 0, Priority::Bulk, 150);
    send_ordered(&mut outbox, 0, Priority::Interactive, 10);
    send(&mut outbox, 0, Priority::Normal, 20);
    assert_eq!(outbox.most_urgent(false), Some(Priority::Normal));
    assert_eq!(what(&mut outbox, 100), Some((0, 0, 0, 20)));
    assert_eq!(what(&mut outbox, 100), Some((0, 0, 0, 100)));
    assert_eq!(what(&mut outbox, 100), Some((0, 0, 100, 150)));
    assert_eq!(outbox.most_urgent(false), Some(Priority::Interactive));
    assert_eq!(what(&mut outbox, 100), Some((0, 1, 0, 10)));
}

#[test]
fn lost_bytes_go_first_and_may_be_cut_again() {
    let mut outbox = outbox();
    send(&mut outbox, 0, ANY, 900);
    send(&mut outbox, 1, ANY, 0);
    let chunk = next(&mut outbox, 800).unwrap();
    let empty = next(&mut outbox, 800).unwrap();
    outbox.on_lost(chunk);
    outbox.on_lost(empty);
    outbox.on_lost(empty);
    assert_eq!(next(&mut outbox, 63), None);
    assert_eq!(what(&mut outbox, 300), Some((0, 0, 0, 300)));
    assert_eq!(what(&mut outbox, 300), Some((1, 0, 0, 0)));
    assert_eq!(what(&mut outbox, 300), Some((0, 0, 300, 600)));
    assert_eq!(what(&mut outbox, 300), Some((0, 0, 600, 800)));
    assert_eq!(what(&mut outbox, 300), Some((0, 0, 800, 900)));
    assert_eq!(what(&mut outbox, 300), None);
}

#[test]
fn what_was_acknowledged_does_not_go_again() {
    let mut outbox = outbox();
    send(&mut outbox, 0, ANY, 1000);
    let whole = next(&mut outbox, 1000).unwrap();
    let piece = |from: u32, to: u32| Chunk {
        offset: from,
        len: to - from,
        fin: to == 1000,
        ..whole
    };
    outbox.on_lost(whole);
    assert_eq!(what(&mut outbox, 300), Some((0, 0, 0, 300)));
    outbox.on_acked(piece(400, 500));
    outbox.on_acked(piece(400, 500));
    outbox.on_lost(piece(350, 550));
    outbox.on_lost(whole);
    let again: Vec<_> = std::iter::from_fn(|| what(&mut outbox, 1000))
        .map(|chunk| (chunk.2, chunk.3))
        .collect();
    assert_eq!(again, [(0, 400), (500, 1000)]);
    assert_eq!(outbox.unacked(piece(410, 450)), None);
    assert_eq!(outbox.unacked(piece(410, 501)), Some(bytes(501).slice(410..)));
    outbox.on_lost(piece(0, 400));
    outbox.on_acked(whole);
    assert!(outbox.is_idle());
    assert_eq!(outbox.most_urgent(false), None);
    outbox.on_lost(whole);
    outbox.on_acked(piece(0, 400));
    assert_eq!(outbox.unacked(whole), None);
    assert!(outbox.is_idle());
    assert_eq!(what(&mut outbox, 1000), None);
}

#[test]
fn early_packets_take_only_what_is_safe_to_replay() {
    let mut outbox = outbox();
    let mut safe = |channel, safe, len| {
        outbox
            .send(ChannelId(channel), Delivery::Ordered, ANY, safe, bytes(len))
            .unwrap()
    };
    safe(0, false, 10);
    safe(0, true, 11);
    safe(1, true, 12);
    safe(1, false, 13);
    assert_eq!(outbox.most_urgent(true), Some(ANY));
    let (chunk, _) = outbox.next(ANY, |_, _, _| 1000, true).unwrap();
    assert_eq!((chunk.channel.0, chunk.len), (1, 12));
    assert_eq!(
        outbox.most_urgent(true),
        None,
        "what is not safe holds back its channel"
    );
    assert!(outbox.next(ANY, |_, _, _| 1000, true).is_none());
    let later: Vec<_> = std::iter::from_fn(|| what(&mut outbox, 1000))
        .map(|chunk| chunk.3)
        .collect();
    assert_eq!(later, [10, 13, 11]);
    outbox.on_lost(chunk);
    assert_eq!(outbox.next(ANY, |_, _, _| 1000, true).map(|next| next.0), Some(chunk));
}
