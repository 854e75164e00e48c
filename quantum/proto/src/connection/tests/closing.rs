//! The end.

use super::*;
use crate::{frame::Frame, pmtu::Pmtu};

/// A server that has heard of a client only what began the connection.
fn half_open() -> Pair {
    let mut pair = Pair::new(TransportConfig::default());
    pair.run(1);
    pair
}

#[test]
fn close_stays_within_what_an_unproven_address_may_be_sent() {
    for left in (0..1500).step_by(10) {
        let mut pair = half_open();
        let now = pair.now;
        let server = pair.server();
        let mut out = Vec::new();
        while server.poll_transmit(now, 1, &mut out).is_some() {}
        assert!(server.keys.can_seal(Level::Initial) && server.keys.can_seal(Level::Handshake));
        let allowance = server.paths.current().allowance();
        assert!(allowance <= 3 * usize::from(Pmtu::BASE));
        server.paths.current_mut().on_received(2000);
        let surplus = server.paths.current().allowance() - left;
        server.paths.current_mut().on_sent(surplus);
        assert_eq!(server.paths.current().allowance(), left);
        server.close(now, CloseCode::INTERNAL, &"x".repeat(300));
        out.clear();
        let sent = server
            .poll_transmit(now, 1, &mut out)
            .map_or(0, |transmit| transmit.bytes);
        assert_eq!(sent, out.len());
        assert!(sent <= left, "{sent} bytes, {left} were allowed");
        assert!(sent > 0 || left < 400, "CLOSE fits into {left} bytes");
    }
}

#[test]
fn nothing_behind_close_counts_whether_it_came_or_was_repaired() {
    for repaired in [false, true] {
        let mut pair = Pair::connected(TransportConfig::default());
        let now = pair.now;
        let mut payload = Vec::new();
        let close = Frame::Close {
            code: CloseCode::application(7),
            reason: String::new(),
        };
        // HANDSHAKE_DONE from a client would be a violation.
        for frame in [Frame::Ping, close, Frame::PathChallenge([7; 8]), Frame::HandshakeDone] {
            frame.encode(PacketNumber::ZERO, &mut payload);
        }
        if repaired {
            let number = pair.server().receipts[Space::Application as usize].expected();
            pair.server().take_repaired(now, number, payload.into()).unwrap();
            let (next, ping) = (number.next(), Bytes::from_static(&[1]));
            pair.server().take_repaired(now, next, ping).unwrap();
            assert_eq!(pair.server().stats.repaired, 1, "what follows is not looked at");
        } else {
            let mut out = Vec::new();
            pair.client().send_hostile(now, &payload, &mut out);
            pair.arrive(Side::Server, vec![(None, out)]);
        }
        let server = pair.server();
        assert!(matches!(server.state, State::Draining), "{:?}", server.state);
        assert!(server.outgoing.responses.is_empty());
        let over: Vec<Event> = std::iter::from_fn(|| server.poll_event())
            .filter(|event| matches!(event, Event::Closed(_)))
            .collect();
        assert_eq!(over.len(), 1, "{over:?}");
        assert!(
            matches!(&over[0], Event::Closed(ConnectionError::ClosedByPeer(_))),
            "{over:?}"
        );
    }
}
