//! The end.

use super::*;
use crate::pmtu::Pmtu;

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
        let sent = server.poll_transmit(now, 1, &mut out).map_or(0, |transmit| transmit.bytes);
        assert_eq!(sent, out.len());
        assert!(sent <= left, "{sent} bytes, {left} were allowed");
        assert!(sent > 0 || left < 400, "CLOSE fits into {left} bytes");
    }
}
