//! Limits: the peer's credit and windows, and the send buffer.

use super::*;
use crate::channel::ID_WINDOW;

#[test]
fn credit_is_taken_for_whole_messages_once() {
    let mut outbox = limited(10_000, 1132);
    send(&mut outbox, 0, ANY, 1100);
    send(&mut outbox, 0, ANY, 0);
    send(&mut outbox, 1, ANY, 500);
    let first = next(&mut outbox, 700).unwrap();
    assert_eq!(
        what(&mut outbox, 700),
        Some((1, 0, 0, 500)),
        "another channel is not blocked"
    );
    assert_eq!(what(&mut outbox, 700), Some((0, 0, 700, 1100)));
    assert_eq!((what(&mut outbox, 700), outbox.most_urgent(false)), (None, None));
    outbox.on_lost(first);
    assert_eq!(what(&mut outbox, 700), Some((0, 0, 0, 700)), "repeating costs nothing");
    outbox.on_max_channel_data(ChannelId(0), 1163);
    outbox.on_max_channel_data(ChannelId(7), 1 << 20);
    assert_eq!(what(&mut outbox, 700), None);
    outbox.on_max_channel_data(ChannelId(0), 1164);
    assert_eq!(what(&mut outbox, 700), Some((0, 1, 0, 0)));
}

#[test]
fn the_connections_credit_is_given_in_line_but_to_interactive_messages_first() {
    let mut outbox = limited(1000, 1000);
    send(&mut outbox, 0, Priority::Normal, 500);
    assert_eq!(what(&mut outbox, 2000), Some((0, 0, 0, 500)));
    send(&mut outbox, 1, Priority::Bulk, 900);
    send(&mut outbox, 2, Priority::Normal, 10);
    assert_eq!(
        what(&mut outbox, 2000),
        None,
        "the large message is not starved by those behind it"
    );
    send(&mut outbox, 3, Priority::Interactive, 68);
    assert_eq!(what(&mut outbox, 2000), Some((3, 0, 0, 68)));
    send(&mut outbox, 3, Priority::Interactive, 400);
    assert_eq!((what(&mut outbox, 2000), outbox.most_urgent(false)), (None, None));
    outbox.on_max_data(1000 + 31 + 900 + 64);
    assert_eq!(what(&mut outbox, 2000), Some((3, 1, 0, 400)));
    assert_eq!((what(&mut outbox, 2000), outbox.most_urgent(false)), (None, None));
    outbox.on_max_data(532 + 100 + 432 + 932);
    assert_eq!(what(&mut outbox, 2000), Some((1, 0, 0, 900)));
    outbox.on_max_data(532 + 100 + 432 + 932 + 42);
    assert_eq!(what(&mut outbox, 2000), Some((2, 0, 0, 10)));
}

#[test]
fn a_message_that_is_begun_is_not_held_back_by_those_without_credit() {
    for (begun, other) in [
        (Priority::Bulk, Priority::Normal),
        (Priority::Normal, Priority::Normal),
        (Priority::Normal, Priority::Bulk),
    ] {
        let mut outbox = limited(1000, 1000);
        send(&mut outbox, 0, begun, 900);
        assert_eq!(what(&mut outbox, 300), Some((0, 0, 0, 300)));
        send(&mut outbox, 1, other, 500);
        assert_eq!(what(&mut outbox, 300), Some((0, 0, 300, 600)));
        assert_eq!(what(&mut outbox, 300), Some((0, 0, 600, 900)));
        assert_eq!(what(&mut outbox, 300), None);
    }
}

#[test]
fn ids_stay_within_the_receivers_window() {
    let mut outbox = Outbox::new(8 << 20);
    outbox.set_limits(1 << 40, 1 << 40, 1, 100).unwrap();
    for _ in 0..=ID_WINDOW {
        send(&mut outbox, 0, ANY, 0);
    }
    send_ordered(&mut outbox, 0, ANY, 0);
    let first = next(&mut outbox, 0).unwrap();
    assert_eq!(next(&mut outbox, 0).unwrap().delivery, Delivery::Ordered);
    for id in 1..ID_WINDOW {
        let chunk = next(&mut outbox, 0).unwrap();
        assert_eq!(chunk.id.0, id);
        outbox.on_acked(chunk);
    }
    assert_eq!((next(&mut outbox, 0), outbox.most_urgent(false)), (None, None));
    outbox.on_acked(first);
    assert_eq!(next(&mut outbox, 0).unwrap().id.0, ID_WINDOW);
}

#[test]
fn nothing_is_sent_before_the_limits_are_known() {
    let mut outbox = Outbox::new(BUFFER);
    send(&mut outbox, 7, ANY, 10);
    send(&mut outbox, 0, ANY, 0);
    assert_eq!((next(&mut outbox, 100), outbox.most_urgent(false)), (None, None));
    outbox.set_limits(1000, 1000, 8, 10).unwrap();
    let sent = [next(&mut outbox, 100).unwrap(), next(&mut outbox, 100).unwrap()];
    let data = |bytes: usize| Bytes::from(vec![0; bytes]);
    let refused = outbox.send(ChannelId(8), Delivery::Ordered, ANY, false, data(1));
    assert_eq!(refused, Err(SendError::NoSuchChannel { max: 8 }));
    let refused = outbox.send(ChannelId(7), Delivery::Ordered, ANY, false, data(11));
    assert_eq!(refused, Err(SendError::TooLarge { bytes: 11, max: 10 }));
    // An earlier connection's limits were used; those of this one must be as good.
    assert_eq!(
        outbox.set_limits(73, 1000, 8, 10).unwrap_err().code,
        CloseCode::PARAMETERS
    );
    assert_eq!(
        outbox.set_limits(74, 41, 8, 10).unwrap_err().code,
        CloseCode::PARAMETERS
    );
    assert_eq!(outbox.set_limits(74, 42, 7, 10).unwrap_err().code, CloseCode::LIMIT);
    assert_eq!(outbox.set_limits(74, 42, 8, 9).unwrap_err().code, CloseCode::LIMIT);
    outbox.set_limits(74, 42, 8, 10).unwrap();
    sent.into_iter().for_each(|chunk| outbox.on_acked(chunk));
    assert!(outbox.is_idle());
}

#[test]
fn a_message_that_the_windows_never_let_through_is_refused() {
    let mut outbox = limited(1000, 500);
    let refused = outbox.send(ChannelId(0), Delivery::Ordered, ANY, false, bytes(469));
    assert_eq!(refused, Err(SendError::TooLarge { bytes: 469, max: 468 }));
    send(&mut outbox, 0, ANY, 468);
    assert_eq!(what(&mut outbox, 1000), Some((0, 0, 0, 468)));
}

#[test]
fn a_full_buffer_blocks_until_there_is_room_again() {
    let mut outbox = Outbox::new(1000);
    outbox.set_limits(1 << 30, 1 << 30, 8, 1 << 20).unwrap();
    send(&mut outbox, 0, ANY, 5000);
    let large = next(&mut outbox, 5000).unwrap();
    let blocked = |outbox: &mut Outbox, len| {
        outbox.send(ChannelId(0), Delivery::Unordered, ANY, false, bytes(len)) == Err(SendError::Blocked)
    };
    assert!(blocked(&mut outbox, 0), "even a large message fills the buffer");
    assert!(!outbox.take_writable());
    outbox.on_acked(large);
    assert!(outbox.take_writable());
    assert!(!outbox.take_writable(), "it is told once");

    for _ in 0..10 {
        send(&mut outbox, 0, ANY, 68);
    }
    let chunks: Vec<_> = std::iter::from_fn(|| next(&mut outbox, 100)).collect();
    assert_eq!(chunks.len(), 10);
    assert!(blocked(&mut outbox, 0));
    assert!(blocked(&mut outbox, 400));
    assert!(blocked(&mut outbox, 0));
    for (number, chunk) in chunks.iter().enumerate() {
        outbox.on_acked(*chunk);
        assert_eq!(
            outbox.take_writable(),
            number == 4,
            "room for what was refused comes with the fifth of 100 each"
        );
    }
    assert!(outbox.is_idle());
}

#[test]
fn what_is_done_but_not_the_oldest_still_counts_a_little() {
    let mut outbox = Outbox::new(1000);
    outbox.set_limits(1 << 30, 1 << 30, 8, 1 << 20).unwrap();
    send(&mut outbox, 0, ANY, 100);
    let stuck = next(&mut outbox, 100).unwrap();
    let mut done = 0;
    while outbox
        .send(ChannelId(0), Delivery::Unordered, ANY, false, bytes(100))
        .is_ok()
    {
        let chunk = next(&mut outbox, 100).unwrap();
        outbox.on_acked(chunk);
        done += 1;
    }
    assert_eq!(
        done,
        (1000 - 132 - 132) / 32 + 1,
        "the bytes are released, the memory of the rest is bounded"
    );
    assert_eq!(
        outbox.channels[0].streams[Delivery::Unordered as usize].iter().count(),
        done + 1
    );
    outbox.on_acked(stuck);
    assert!(outbox.is_idle() && outbox.take_writable());
    assert_eq!(
        outbox.channels[0].streams[Delivery::Unordered as usize].iter().count(),
        0
    );
}

#[test]
fn a_message_larger_than_the_buffer_is_not_starved_by_small_ones() {
    let mut outbox = outbox();
    let offer = |outbox: &mut Outbox, len| outbox.send(ChannelId(0), Delivery::Unordered, ANY, false, bytes(len));
    // There is always a small one in flight.
    offer(&mut outbox, 100).unwrap();
    let mut in_flight = next(&mut outbox, 1000).unwrap();
    assert_eq!(offer(&mut outbox, 2 * BUFFER), Err(SendError::Blocked));
    for _ in 0..3 {
        if offer(&mut outbox, 100).is_ok() {
            let another = next(&mut outbox, 1000).unwrap();
            outbox.on_acked(std::mem::replace(&mut in_flight, another));
        }
        assert!(!outbox.take_writable(), "there is no room for it");
    }
    outbox.on_acked(in_flight);
    assert!(outbox.take_writable(), "whoever waits tries again");
    offer(&mut outbox, 2 * BUFFER).unwrap();
    assert_eq!(offer(&mut outbox, 100), Err(SendError::Blocked));
}
