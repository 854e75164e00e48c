//! One thing at a time.

use std::time::{Duration, Instant};

use aetherflow_schema::{
    close::CloseCode,
    id::DocumentId,
    native::{ClientFrame, RequestId, Start, encode, wire},
};
use automerge::{ROOT, ReadDoc};
use bytes::Bytes;

use super::{
    super::{Event, Input, LinkStatus, Outcome},
    model::{Client, Server},
};

const SECOND: Duration = Duration::from_secs(1);

fn id() -> DocumentId {
    DocumentId::from_bytes(&[1; 16]).unwrap()
}

/// Everything that is under way arrives.
fn exchange(now: Instant, client: &mut Client, server: &mut Server) {
    for _ in 0..20 {
        client.connect(now);
        client.send(now);
        while !client.to_server.is_empty() {
            client.serve(server);
        }
        client.tell_news(server);
        while !client.to_client.is_empty() {
            client.hear(now);
        }
    }
}

fn online(now: Instant, server: &mut Server) -> Client {
    let mut client = Client::new(1, now);
    client.open(now, &id());
    exchange(now, &mut client, server);
    assert!(matches!(client.status, Some(LinkStatus::Online { .. })));
    client
}

fn edit(now: Instant, client: &mut Client) {
    let (_, input) = client.edit(&id());
    client.tell(now, input);
}

fn say(now: Instant, client: &mut Client, frame: impl Into<wire::ServerFrame>) {
    client.to_client.push_back(encode(&frame.into()));
    client.hear(now);
}

/// When the next attempt to connect is made.
fn redialed(client: &mut Client, mut now: Instant) -> Instant {
    while !client.dialing {
        now = client.session.next_timeout().expect("it comes back").max(now);
        client.tell(now, Input::Tick);
    }
    now
}

#[test]
fn nothing_is_said_before_the_welcome_and_then_what_was_waiting() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = Client::new(1, now);
    client.open(now, &id());
    edit(now, &mut client);
    client.connect(now);
    client.send(now);
    assert!(matches!(client.to_server.make_contiguous(), [ClientFrame::Hello(hello)] if hello.token == "token"));
    exchange(now, &mut client, &mut server);
    assert!(matches!(client.outcomes[..], [(_, _, Outcome::Committed { .. })]));
    assert_eq!(server.log.len(), 1);
}

#[test]
fn a_lost_receipt_is_asked_for_again_and_the_change_stored_once() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    edit(now, &mut client);
    client.send(now);
    client.serve(&mut server);
    assert_eq!(server.log.len(), 1);
    client.disconnect(now, None);
    assert!(client.outcomes.is_empty());
    let later = redialed(&mut client, now);
    exchange(later, &mut client, &mut server);
    assert!(matches!(client.outcomes[..], [(_, _, Outcome::Committed { .. })]));
    assert_eq!(server.log.len(), 1);
}

#[test]
fn it_resumes_from_its_cursor() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    edit(now, &mut client);
    exchange(now, &mut client, &mut server);
    client.disconnect(now, None);
    let later = redialed(&mut client, now);
    client.connect(later);
    client.send(later);
    let says_who_it_was =
        |frame: &ClientFrame| matches!(frame, ClientFrame::Hello(hello) if hello.resume_token == "to go on");
    assert!(client.to_server.iter().any(says_who_it_was));
    client.serve(&mut server);
    client.hear(later);
    client.send(later);
    let subscribe = client.to_server.iter().find_map(|frame| match frame {
        ClientFrame::Subscribe(subscribe) => Some(subscribe.start.clone()),
        _ => None,
    });
    assert_eq!(subscribe, Some(Start::After(client.cursors[&id()])));
}

#[test]
fn a_server_that_went_back_in_time_gets_what_it_has_lost() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    for _ in 0..5 {
        edit(now, &mut client);
        exchange(now, &mut client, &mut server);
    }
    let mut restored = Server::default();
    let mut other = online(now, &mut restored);
    edit(now, &mut other);
    exchange(now, &mut other, &mut restored);
    client.disconnect(now, None);
    let later = redialed(&mut client, now);
    exchange(later, &mut client, &mut restored);
    let document = restored.document(&id());
    assert_eq!(document.keys(ROOT).count(), 5, "one of each has the same name");
    assert_eq!(document.get_heads(), client.replicas[&id()].document().get_heads());
    assert_eq!(client.session.unsettled(), 0);
}

#[test]
fn attempts_get_rarer_and_a_good_connection_starts_afresh() {
    let mut now = Instant::now();
    let mut client = Client::new(1, now);
    client.tell(now, Input::Tick);
    let mut delays = Vec::new();
    for _ in 0..12 {
        client.disconnect(now, None);
        let next = redialed(&mut client, now);
        delays.push((next - now).as_secs_f64());
        now = next;
    }
    assert!(
        (0.125..=0.25).contains(&delays[0]) && (15.0..=30.0).contains(&delays[11]),
        "{delays:?}"
    );
    exchange(now, &mut client, &mut Server::default());
    now += 10 * SECOND;
    client.disconnect(now, None);
    assert!(redialed(&mut client, now) - now < SECOND);
}

#[test]
fn close_codes_say_whether_to_come_back() {
    for code in CloseCode::ALL {
        let now = Instant::now();
        let mut client = online(now, &mut Server::default());
        client.disconnect(now, Some(code.code()));
        let comes_back = client.session.next_timeout().is_some();
        let expected = code.retry() == aetherflow_schema::close::Retry::AfterDelay;
        assert_eq!(comes_back, expected, "{code}");
        client.tell(now, Input::Token("fresh".to_owned()));
        assert!(redialed(&mut client, now) - now < SECOND);
    }
}

#[test]
fn who_is_sent_away_waits_for_answers_and_comes_back_when_told() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    edit(now, &mut client);
    client.send(now);
    let go_away = wire::GoAway {
        code: 1001,
        reconnect_after_ms: 7_000,
        closes_in_ms: 5_000,
        reason: String::new(),
    };
    say(now, &mut client, go_away);
    edit(now, &mut client);
    client.send(now);
    assert_eq!(client.to_server.len(), 1, "nothing more is sent");
    assert!(client.connected);
    client.serve(&mut server);
    client.hear(now);
    assert_eq!(client.outcomes.len(), 1);
    assert!(!client.connected, "nothing more is to come");
    assert!(redialed(&mut client, now) >= now + 7 * SECOND);
}

#[test]
fn a_server_that_is_silent_is_asked_and_given_up() {
    let now = Instant::now();
    let mut client = online(now, &mut Server::default());
    let later = client.session.next_timeout().unwrap();
    assert_eq!(later, now + 15 * SECOND);
    client.tell(later, Input::Tick);
    client.send(later);
    assert!(matches!(client.to_server.make_contiguous(), [ClientFrame::Ping(_)]));
    let end = client.session.next_timeout().unwrap();
    assert_eq!(end, later + 10 * SECOND);
    client.tell(end, Input::Tick);
    assert!(!client.connected);
    redialed(&mut client, end);
}

#[test]
fn a_server_that_owes_an_answer_is_asked_sooner() {
    let now = Instant::now();
    let mut client = online(now, &mut Server::default());
    edit(now + 7 * SECOND, &mut client);
    client.tell(now + 7 * SECOND, Input::Tick);
    client.send(now + 7 * SECOND);
    assert!(matches!(client.to_server.make_contiguous(), [ClientFrame::Submit(_)]));
    assert_eq!(client.session.next_timeout(), Some(now + 10 * SECOND));
    client.tell(now + 10 * SECOND, Input::Tick);
    client.send(now + 10 * SECOND);
    assert!(matches!(client.to_server.make_contiguous(), [_, ClientFrame::Ping(_)]));
}

#[test]
fn a_server_that_does_not_welcome_or_answer_is_given_up() {
    let now = Instant::now();
    let mut client = Client::new(1, now);
    client.tell(now, Input::Tick);
    client.connect(now);
    client.send(now);
    client.tell(now + 10 * SECOND, Input::Tick);
    assert!(!client.connected);

    let mut client = online(now, &mut Server::default());
    edit(now, &mut client);
    client.send(now);
    for second in (10..70).step_by(10) {
        let nonce = 0;
        say(
            now + second * SECOND,
            &mut client,
            wire::Pong {
                nonce,
                server_time_ms: 0,
            },
        );
    }
    assert!(!client.connected, "pongs are not enough");
}

#[test]
fn an_expired_token_stops_everything_until_there_is_another() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    edit(now, &mut client);
    client.send(now);
    let Some(ClientFrame::Submit(submit)) = client.to_server.pop_front() else {
        panic!("no submit");
    };
    let reject = wire::Reject {
        request_id: submit.request.0,
        code: wire::RejectCode::Unauthenticated.into(),
        ..wire::Reject::default()
    };
    say(now, &mut client, reject);
    client.send(now);
    assert!(client.to_server.is_empty() && client.outcomes.is_empty());
    assert!(matches!(client.status, Some(LinkStatus::Stopped { .. })));
    client.tell(now, Input::Token("fresh".to_owned()));
    exchange(now, &mut client, &mut server);
    assert!(matches!(client.outcomes[..], [(_, _, Outcome::Committed { .. })]));
}

/// The application renews a token just as the server closes the connection for the old one.
#[test]
fn a_token_that_the_server_has_not_seen_is_tried_before_giving_up() {
    let now = Instant::now();
    for greeting in [true, false] {
        let mut server = Server::default();
        let mut client = match greeting {
            true => Client::new(1, now),
            false => online(now, &mut server),
        };
        if greeting {
            client.open(now, &id());
            client.connect(now);
            client.send(now);
        }
        client.tell(now, Input::Token("fresh".to_owned()));
        client.disconnect(now, Some(CloseCode::TokenExpired.code()));
        let later = redialed(&mut client, now);
        client.connect(later);
        client.send(later);
        assert!(matches!(client.to_server.back(), Some(ClientFrame::Hello(hello)) if hello.token == "fresh"));
        client.disconnect(later, Some(CloseCode::Unauthorized.code()));
        assert!(
            matches!(client.status, Some(LinkStatus::Stopped { .. })),
            "it is no better"
        );
        assert_eq!(client.session.next_timeout(), None);
    }
}

/// Whatever is under way is rejected together when a server has too much to do: that is one failure, and one delay.
#[test]
fn rejects_of_what_was_sent_together_make_one_delay() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    let mut requests = Vec::new();
    for _ in 0..6 {
        edit(now, &mut client);
        client.send(now);
        while let Some(frame) = client.to_server.pop_front() {
            let ClientFrame::Submit(submit) = frame else { continue };
            requests.push(submit.request.0);
        }
    }
    assert!(requests.len() > 3, "{requests:?}");
    for request_id in requests {
        let reject = wire::Reject {
            request_id,
            code: wire::RejectCode::Overloaded.into(),
            retry_after_ms: Some(1000),
            ..wire::Reject::default()
        };
        say(now, &mut client, reject);
    }
    client.tell(now + 2 * SECOND, Input::Tick);
    client.send(now + 2 * SECOND);
    let submits = client
        .to_server
        .iter()
        .filter(|frame| matches!(frame, ClientFrame::Submit(_)));
    assert!(submits.count() > 0, "it holds back for longer than it was asked to");
}

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

#[test]
fn nonsense_from_the_server_ends_the_connection_and_no_more() {
    let now = Instant::now();
    let mut client = online(now, &mut Server::default());
    client.tell(now, Input::Frame(Bytes::from_static(b"\xff\xff\xff")));
    assert!(!client.connected);
    redialed(&mut client, now);
    let mut client = online(now, &mut Server::default());
    let receipt = wire::Receipt {
        request_id: RequestId(77).0,
        offsets: vec![1, 2],
        tier: 9,
    };
    say(now, &mut client, receipt);
    assert!(client.connected, "an answer to nothing is passed over");
}
