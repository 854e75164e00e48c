//! Acknowledgements, honest and other ones.

use super::*;
use crate::frame::{Ack, Block};

#[test]
fn a_peer_that_acknowledges_what_it_never_got_is_found_out() {
    let mut pair = Pair::connected(TransportConfig::default());
    // The client says each time that it got what is only under way.
    let mut found = None;
    for _ in 0..2000 {
        send(pair.server(), Priority::Normal, 20_000);
        let expected = pair.client().receipts[Space::Application as usize].expected().0;
        let up = pair.take_turn(Side::Client);
        let down = pair.take_turn(Side::Server);
        let last = pair.server().recovery.next_number(Space::Application).0 - 1;
        if last > expected {
            let block = Block {
                first: PacketNumber(expected + 1),
                last: PacketNumber(last),
            };
            let ack = Ack {
                blocks: [block].into_iter().collect(),
                ..Ack::default()
            };
            let now = pair.now;
            let result = pair
                .server()
                .on_ack(now, Level::Application, PacketNumber(expected), Some(&ack));
            found = result.err();
        }
        pair.now += DELAY;
        pair.arrive(Side::Server, up);
        pair.arrive(Side::Client, down);
        while pair.client().recv().is_some() {}
        if found.is_some() {
            break;
        }
    }
    assert_eq!(found.expect("it is found out").code, CloseCode::PROTOCOL);
}
