//! Connecting, noticing that a connection is dead, and coming back.

use std::time::Instant;

use aetherflow_schema::{
    close::CloseCode,
    native::{ClientFrame, RequestId, wire},
};
use bytes::Bytes;

use super::{
    super::{Input, LinkStatus, Outcome},
    model::{Client, Server},
    steps::{SECOND, edit, exchange, id, online, redialed, say},
};

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
    assert_eq!(client.hung_up, Some(CloseCode::GoingAway), "it means to go on");
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
