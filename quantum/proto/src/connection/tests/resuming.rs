//! What is remembered of an earlier connection.

use super::*;

#[test]
fn the_reset_token_of_the_earlier_connection_ends_nothing() {
    let mut pair = Pair::connected(TransportConfig::default());
    let server = pair.ends[1].reset_token(pair.client.1.ids.first());
    assert!(pair.client().ids.is_reset(&server));
    pair.come_back(|_| {});
    assert!(pair.client().keys.can_seal(Level::Early), "it resumes");
    assert!(!pair.client().ids.is_reset(&server));
    pair.run(200);
    assert_eq!(pair.client().early_accepted(), Some(true));
    assert!(!pair.client().ids.is_reset(&server));
    let own = pair.ends[1].reset_token(pair.client.1.ids.first());
    assert!(pair.client().ids.is_reset(&own));
}

#[test]
fn the_largest_datagram_is_the_one_that_the_server_takes_now() {
    let mut pair = Pair::connected(TransportConfig::default());
    assert_eq!(pair.client().stats().mtu, TransportConfig::default().max_udp_payload);
    pair.come_back(|transport| transport.max_udp_payload = 1300);
    pair.run(400);
    assert_eq!(pair.client().early_accepted(), Some(true), "it resumed");
    assert_eq!(pair.client().stats().mtu, 1300);
}
