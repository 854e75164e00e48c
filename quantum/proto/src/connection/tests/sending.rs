//! What goes out.

use smallvec::SmallVec;

use super::*;
use crate::{
    channel::Chunk,
    connection::{contents::Contents, packet::Builder},
    frame::Parity,
    pmtu::Pmtu,
    recovery::{SentFrame, SentPacket},
};

/// The headers' lengths of all packets, which must fill the bytes.
fn packets(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let header = crate::header::Header::decode(bytes).expect("a packet");
        bytes = &bytes[crate::header::HEADER_LEN + usize::from(header.payload_len)..];
        count += 1;
    }
    count
}

#[test]
fn a_key_that_is_used_up_closes_and_lets_nothing_out_that_is_not_sealed() {
    for left in 0..4 {
        let mut pair = Pair::connected(TransportConfig::default());
        let mut now = pair.now;
        let conn = pair.client();
        let number = conn.recovery.next_number(Space::Application);
        conn.keys.use_up(number, left);
        send(conn, Priority::Normal, 100_000);
        let mut out = b"others".to_vec();
        // The pacer does not let all of them go at once.
        for _ in 0..100 {
            while let Some(transmit) = conn.poll_transmit(now, 10, &mut out) {
                assert_eq!(transmit.bytes, out.len() - 6, "{left} left");
                packets(&out[6..]);
                out.truncate(6);
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(out, b"others", "{left} left");
        let over = std::iter::from_fn(|| conn.poll_event()).find_map(|event| match event {
            Event::Closed(ConnectionError::Transport(error)) => Some(error.code),
            _ => None,
        });
        assert_eq!(over, Some(CloseCode::KEYS), "{left} left");
    }
}

#[test]
fn a_probe_of_the_packet_size_that_cannot_be_sealed_closes_too() {
    let mut pair = Pair::connected(TransportConfig::default());
    let now = pair.now;
    let conn = pair.client();
    let number = conn.recovery.next_number(Space::Application);
    conn.keys.use_up(number, 0);
    conn.pmtu.reset();
    let mut out = Vec::new();
    let sent = conn.poll_transmit(now, 10, &mut out);
    assert_eq!((sent, out.len()), (None, 0), "the key of CLOSE is used up as well");
    assert!(matches!(conn.state, State::Closing(_)));
}

#[test]
fn messages_do_not_wait_for_a_parity_that_fits_no_more() {
    // The path took more when its block was made.
    for (len, fits) in [(1000, true), (1400, false)] {
        let mut pair = Pair::connected(TransportConfig::default());
        let now = pair.now;
        let conn = pair.client();
        send(conn, Priority::Normal, 500);
        let parity = Parity {
            sources: [PacketNumber(1), PacketNumber(2)].into_iter().collect(),
            index: 0,
            symbol: vec![7; len].into(),
        };
        let mut out = Vec::new();
        let number = conn.next_application_number();
        let mut packet = Builder::new(&mut out, Level::Application, number, None, Pmtu::BASE.into());
        let contents = Contents {
            early: false,
            urgency: Some(Priority::Normal),
            messages: Some(Priority::Bulk),
            datagrams: false,
            parity: Some(parity),
            repeats: Default::default(),
            rescue: false,
        };
        conn.put_contents(now, &mut packet, contents);
        let messages = packet.frames.iter().any(|frame| matches!(frame, SentFrame::Message(_)));
        assert_eq!((messages, packet.is_empty()), (!fits, false), "{len}");
        assert_eq!(conn.stats.parity_sent, u64::from(fits));
    }
}

/// The client of a pair has an interactive message so long in flight, and a rescue of it has begun. `hears`: there is something to acknowledge.
fn rescuing(len: usize, hears: bool) -> (Pair, SmallVec<[Chunk; 4]>) {
    let mut pair = Pair::connected(TransportConfig::default());
    let conn = pair.client();
    send(conn, Priority::Interactive, len);
    pair.take_turn(Side::Client);
    if hears {
        send(pair.server(), Priority::Normal, 10);
        let down = pair.take_turn(Side::Server);
        pair.arrive(Side::Client, down);
    }
    let now = pair.now;
    let conn = pair.client();
    let frames = conn
        .recovery
        .in_flight(Space::Application)
        .flat_map(|packet| &packet.frames);
    let chunks: SmallVec<[Chunk; 4]> = frames
        .filter_map(|frame| match frame {
            SentFrame::Message(chunk) => Some(*chunk),
            _ => None,
        })
        .collect();
    assert_eq!(chunks.iter().map(|chunk| chunk.len as usize).sum::<usize>(), len);
    conn.begin_rescue(now);
    assert!(conn.protection.rescue.due().is_some());
    (pair, chunks)
}

/// Copies in the packet that was sent last.
fn repeats(conn: &Connection) -> Vec<Chunk> {
    let last = conn.recovery.in_flight(Space::Application).last();
    let frames = last.into_iter().flat_map(|packet| &packet.frames);
    frames
        .filter_map(|frame| match frame {
            SentFrame::Repeat(chunk) => Some(*chunk),
            _ => None,
        })
        .collect()
}

#[test]
fn a_rescue_of_what_was_acknowledged_holds_nothing_up() {
    let (mut pair, chunks) = rescuing(200, false);
    let conn = pair.client();
    chunks.iter().for_each(|chunk| conn.outbox.on_acked(*chunk));
    send(conn, Priority::Normal, 500);
    let due = conn.protection.rescue.due().unwrap();
    let mut out = Vec::new();
    let sent = conn.poll_transmit(due, 1, &mut out).map(|sent| sent.bytes);
    assert!(sent.is_some_and(|bytes| bytes > 500), "{sent:?}");
    assert_eq!((repeats(conn), conn.protection.rescue.due()), (Vec::new(), None));
}

#[test]
fn a_copy_that_does_not_fit_beside_others_waits_for_the_next_packet() {
    for probe in [false, true] {
        let (mut pair, chunks) = rescuing(3_000, !probe);
        assert!(chunks.len() > 2 && usize::from(pair.client().pmtu.current()) > usize::from(Pmtu::BASE));
        let conn = pair.client();
        conn.outgoing.probe(Space::Application, u8::from(probe));
        let mut now = conn.protection.rescue.due().unwrap();
        let mut out = Vec::new();
        let bytes = conn
            .poll_transmit(now, 1, &mut out)
            .expect("the acknowledgement or a PING")
            .bytes;
        assert!(
            bytes < 400 && repeats(conn).iter().all(|chunk| Some(chunk) == chunks.last()),
            "{bytes}, {probe}"
        );
        let mut copied = Vec::new();
        while let Some(due) = conn.protection.rescue.due() {
            now = now.max(due);
            assert!(conn.poll_transmit(now, 1, &mut out).is_some(), "{probe}");
            copied.extend(repeats(conn));
        }
        assert_eq!(copied, chunks.to_vec(), "{probe}");
    }
}

#[test]
fn what_fits_no_packet_any_more_is_not_copied_and_holds_nothing_up() {
    let (mut pair, chunks) = rescuing(3_000, false);
    let conn = pair.client();
    let room = crate::connection::packet::room(Pmtu::BASE.into());
    assert!(chunks[0].len as usize > room);
    conn.pmtu.reset();
    let (mut now, mut out, mut copied) = (pair.now, Vec::new(), Vec::new());
    let conn = pair.client();
    while let Some(due) = conn.protection.rescue.due() {
        now = now.max(due);
        // A probe of the packet size may come first.
        while conn.poll_transmit(now, 1, &mut out).is_some() {
            copied.extend(repeats(conn));
        }
    }
    assert_eq!(copied, chunks[2..]);
}

#[test]
fn copies_wait_while_one_and_a_half_windows_are_in_flight() {
    let (mut pair, _) = rescuing(200, false);
    let now = pair.now;
    let conn = pair.client();
    let due = conn.protection.rescue.due().unwrap();
    let (window, number) = (conn.bbr.window(), conn.recovery.next_number(Space::Application));
    let filling = SentPacket {
        number,
        size: 1_200,
        sent_at: now,
        ..conn.recovery.in_flight(Space::Application).last().unwrap().clone()
    };
    while conn.recovery.bytes_in_flight() < window * 3 / 2 {
        let number = conn.recovery.next_number(Space::Application);
        conn.recovery.on_sent(
            Space::Application,
            SentPacket {
                number,
                ..filling.clone()
            },
        );
    }
    assert_eq!(conn.poll_transmit(due, 1, &mut Vec::new()), None);
    assert!(conn.protection.rescue.due().is_some_and(|next| next > due));
}

#[test]
fn copies_that_would_come_too_late_are_given_up() {
    for (late, goes) in [(Duration::from_millis(1), true), (Duration::from_millis(20), false)] {
        let (mut pair, _) = rescuing(200, false);
        let conn = pair.client();
        let due = conn.protection.rescue.due().unwrap();
        let sent = conn.poll_transmit(due + late, 1, &mut Vec::new());
        assert_eq!(
            (sent.is_some(), repeats(conn).len()),
            (goes, usize::from(goes)),
            "{late:?}"
        );
        assert_eq!(conn.protection.rescue.due(), None);
    }
}

#[test]
fn a_rescue_ends_with_its_path() {
    let (mut pair, _) = rescuing(200, false);
    let now = pair.now;
    let conn = pair.client();
    conn.on_local_address_changed(now);
    assert_eq!(conn.protection.rescue.due(), None);
}
