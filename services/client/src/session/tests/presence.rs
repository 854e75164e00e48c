//! Who is present.

use std::time::Instant;

use aetherflow_schema::native::{ClientFrame, encode, wire};
use bytes::Bytes;

use super::{
    super::{Event, Input},
    model::{Client, Server},
    steps::{SECOND, exchange, id, online, redialed, say},
};

#[test]
fn a_server_that_refuses_a_subscription_is_not_told_of_presence() {
    let now = Instant::now();
    let mut client = Client::new(1, now);
    client.open(now, &id());
    client.connect(now);
    client.send(now);
    client.serve(&mut Server::default());
    client.hear(now);
    client.send(now);
    let Some(ClientFrame::Subscribe(subscribe)) = client.to_server.pop_front() else {
        panic!("no subscription");
    };
    let reject = wire::Reject {
        request_id: subscribe.request.0,
        code: wire::RejectCode::TooManySubscriptions.into(),
        ..wire::Reject::default()
    };
    say(now, &mut client, reject);
    let mine = Some((Bytes::from_static(b"here"), 20 * SECOND));
    client.tell(now, Input::Presence { document: id(), mine });
    client.send(now);
    assert!(client.to_server.is_empty(), "{:?}", client.to_server);
}

#[test]
fn presence_is_repeated_withdrawn_and_said_again_after_a_reconnect() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    let mine = Some((Bytes::from_static(b"here"), 20 * SECOND));
    let document = id();
    client.tell(
        now,
        Input::Presence {
            document: document.clone(),
            mine,
        },
    );
    exchange(now, &mut client, &mut server);
    let seen = |server: &mut Server| server.present.remove(&(1, id())).map(|presence| presence.ttl_ms);
    assert_eq!(seen(&mut server), Some(20_000));
    exchange(now + 9 * SECOND, &mut client, &mut server);
    assert_eq!(seen(&mut server), None);
    client.tell(now + 10 * SECOND, Input::Tick);
    exchange(now + 10 * SECOND, &mut client, &mut server);
    assert_eq!(seen(&mut server), Some(20_000));
    client.disconnect(now + 10 * SECOND, None);
    let later = redialed(&mut client, now + 10 * SECOND);
    exchange(later, &mut client, &mut server);
    assert_eq!(seen(&mut server), Some(20_000));
    client.tell(later, Input::Presence { document, mine: None });
    exchange(later, &mut client, &mut server);
    assert_eq!(seen(&mut server), Some(0));
}

#[test]
fn others_are_forgotten_when_nothing_is_heard_of_them() {
    let now = Instant::now();
    let mut client = online(now, &mut Server::default());
    let event = wire::PresenceEvent {
        document: Bytes::copy_from_slice(id().as_bytes()),
        session_id: vec![9; 16].into(),
        change: wire::PresenceChange::Joined.into(),
        ttl_ms: 5_000,
        ..wire::PresenceEvent::default()
    };
    let mut present = Vec::new();
    let mut tell = |at, input| {
        client.session.handle(at, input);
        while let Some(event) = client.session.poll_event() {
            if let Event::Presence { present: seen, .. } = event {
                present.push(seen.is_some());
            }
        }
    };
    tell(now, Input::Frame(encode(&wire::ServerFrame::from(event.clone()))));
    let own = wire::PresenceEvent {
        session_id: Bytes::copy_from_slice(uuid::Uuid::from_u128(1).as_bytes()),
        ..event
    };
    tell(now, Input::Frame(encode(&wire::ServerFrame::from(own))));
    tell(now + 4 * SECOND, Input::Tick);
    tell(now + 5 * SECOND, Input::Tick);
    assert_eq!(present, [true, false]);
}

#[test]
fn who_has_left_while_one_was_away_is_forgotten_soon_after_coming_back() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    let joined = |session| wire::PresenceEvent {
        document: Bytes::copy_from_slice(id().as_bytes()),
        session_id: vec![session; 16].into(),
        change: wire::PresenceChange::Joined.into(),
        ttl_ms: 3_600_000,
        ..wire::PresenceEvent::default()
    };
    say(now, &mut client, joined(8));
    say(now, &mut client, joined(9));
    client.disconnect(now, None);
    let back = redialed(&mut client, now);
    exchange(back, &mut client, &mut server);
    say(back, &mut client, joined(9));
    let mut left = Vec::new();
    client.session.handle(back + 5 * SECOND, Input::Tick);
    while let Some(event) = client.session.poll_event() {
        if let Event::Presence { session, present, .. } = event {
            assert_eq!(present, None);
            left.push(session.0.into_bytes()[0]);
        }
    }
    assert_eq!(left, [8]);
}
