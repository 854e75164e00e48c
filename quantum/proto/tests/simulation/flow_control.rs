//! A receiver that does not read stops the sender; one that reads lets it go on.

use quantum_proto::{ChannelId, Delivery, Priority};

use crate::{
    app::Kind,
    link::{LinkSpec, Loss},
    pair::{ACCEPTED, MS, SECOND, Setup},
    sweep::seeds,
};

const WINDOW: u32 = 64 << 10;
const BUFFER: usize = 32 << 10;
const KIND: Kind = Kind {
    channel: ChannelId(5),
    delivery: Delivery::Ordered,
    priority: Priority::Normal,
    len: 1000,
};

/// So much more than a message's bytes counts.
const COST: usize = 32;

#[test]
fn a_reader_that_stops_stops_the_sender_and_resumes_it() {
    seeds(8, |seed| {
        let link = LinkSpec::clean(MS * 20)
            .limited(20_000_000, 1.0)
            .losing(Loss::Bernoulli(0.02));
        let mut pair = Setup::new(seed, link)
            .transport(|transport| {
                transport.receive_window = WINDOW;
                // A window always holds the largest message.
                transport.max_message = 4096;
                transport.send_buffer = BUFFER;
            })
            .client(|app| app.bulk(KIND, SECOND * 8))
            .server(|app| app.deaf())
            .start();
        pair.run_for(SECOND * 5);
        let (taken, arrived) = (
            pair.client().sent.len(),
            pair.server_stats().message_bytes_received as usize,
        );
        assert!(pair.server().received.is_empty());
        assert!(
            taken * (KIND.len + COST) <= WINDOW as usize + BUFFER + 2 * KIND.len,
            "{taken} messages were taken"
        );
        assert!(
            taken * KIND.len >= WINDOW as usize * 8 / 10,
            "only {taken} messages were taken"
        );
        assert!(arrived <= WINDOW as usize);
        assert!(pair.client().blocked > 0 && pair.client_stats().packets_sent < 1000);
        // It reads again: as fast as a window each round trip, and to the end.
        pair.world.act(ACCEPTED, |_, _, app| app.reads = true);
        pair.run_to_end(SECOND * 10);
        let resumed = pair.server().received.len() - taken;
        assert!(
            resumed * KIND.len > WINDOW as usize * 20,
            "only {resumed} messages after it resumed"
        );
    });
}

#[test]
fn each_channel_has_a_window_of_its_own() {
    let window = WINDOW as usize / 4;
    let mut pair = Setup::new(1, LinkSpec::clean(MS * 20))
        .transport(|transport| {
            transport.channel_window = window as u32;
            transport.max_message = 4096;
        })
        .client(|app| {
            app.bulk(KIND, SECOND * 2).bulk(
                Kind {
                    channel: ChannelId(6),
                    ..KIND
                },
                SECOND * 2,
            )
        })
        .start();
    pair.run_for(SECOND * 2);
    // A window each round trip of 40 ms, on both.
    for channel in [ChannelId(5), ChannelId(6)] {
        let bytes: usize = pair
            .server()
            .received
            .iter()
            .filter(|r| r.channel == channel)
            .map(|r| r.len)
            .sum();
        assert!((window * 20..=window * 52).contains(&bytes), "{channel:?}: {bytes}");
    }
    pair.run_to_end(SECOND * 5);
}

#[test]
fn limits_of_the_peer_are_told_to_the_application() {
    let mut pair = Setup::new(1, LinkSpec::clean(MS * 20))
        .server_transport(|transport| {
            transport.max_message = 5000;
            transport.max_channels = 10;
        })
        .client(|app| app.one(KIND))
        .start();
    pair.run_to_end(SECOND);
    let client = pair.client;
    let mut send = |channel, len: usize| {
        pair.world.act(client, |_, conn, _| {
            conn.send(
                ChannelId(channel),
                Delivery::Ordered,
                Priority::Normal,
                vec![0; len].into(),
            )
        })
    };
    use quantum_proto::SendError;
    assert_eq!(send(9, 5001), Err(SendError::TooLarge { bytes: 5001, max: 5000 }));
    assert_eq!(send(10, 1), Err(SendError::NoSuchChannel { max: 10 }));
    assert_eq!(send(9, 5000), Ok(()));
}

#[test]
fn empty_messages_are_messages() {
    let link = LinkSpec::clean(MS * 20).losing(Loss::Bernoulli(0.1));
    let empty = |delivery, channel| Kind {
        delivery,
        channel: ChannelId(channel),
        len: 0,
        ..KIND
    };
    let mut pair = Setup::new(1, link)
        .client(|app| {
            app.rate(empty(Delivery::Ordered, 1), 50, SECOND)
                .rate(empty(Delivery::Unordered, 2), 50, SECOND)
        })
        .start();
    pair.run_to_end(SECOND * 5);
    assert_eq!(pair.server().received.len(), 100);
}
