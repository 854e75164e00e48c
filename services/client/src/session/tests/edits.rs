//! Edits, and following, over one connection and the next.

use std::time::Instant;

use aetherflow_schema::{
    id::Offset,
    native::{ClientFrame, Start, wire},
};
use automerge::{ROOT, ReadDoc};

use super::{
    super::{Input, Outcome},
    model::{Client, Mood, Server},
    steps::{SECOND, edit, exchange, id, online, redialed, say},
};

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

/// Three edits that are submitted together, and a fourth.
fn four(now: Instant, client: &mut Client) {
    (0..4).for_each(|_| edit(now, client));
    client.send(now);
}

#[test]
fn what_a_restored_server_has_lost_and_refuses_has_no_receipt() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    four(now, &mut client);
    // The first three are not stored, and the fourth one waits for them, though it is heard of.
    client.mood = Mood::Overloaded;
    exchange(now, &mut client, &mut server);
    assert_eq!((server.log.len(), client.applied[&id()].len()), (1, 1));
    assert!(client.outcomes.is_empty());
    client.disconnect(now, None);
    server.roll_back(0);
    let later = redialed(&mut client, now + 10 * SECOND);
    client.connect(later);
    client.send(later);
    client.serve(&mut server);
    client.hear(later);
    client.send(later);
    while let Some(frame) = client.to_server.front() {
        if matches!(frame, ClientFrame::Submit(submit) if submit.changes.len() == 1) {
            client.mood = Mood::Forbidden;
        }
        client.serve(&mut server);
    }
    exchange(later, &mut client, &mut server);
    let outcomes: Vec<_> = client.outcomes.iter().map(|(_, _, outcome)| outcome).collect();
    assert!(
        matches!(
            outcomes[..],
            [
                Outcome::Committed { .. },
                Outcome::Committed { .. },
                Outcome::Committed { .. },
                Outcome::Refused(_)
            ]
        ),
        "{outcomes:?}"
    );
    let stored = server.document(&id()).get_heads();
    assert_eq!(client.replicas[&id()].document().get_heads(), stored);
}

/// Stored, the answer lost, and then the right to write.
#[test]
fn what_is_refused_of_a_closed_document_is_looked_for_in_its_history() {
    for is_stored in [true, false] {
        let mut now = Instant::now();
        let mut server = Server::default();
        let mut client = online(now, &mut server);
        edit(now, &mut client);
        exchange(now, &mut client, &mut server);
        client.outcomes.clear();
        edit(now, &mut client);
        client.send(now);
        if is_stored {
            client.serve(&mut server);
        }
        client.disconnect(now, None);
        client.close(now, &id());
        now = redialed(&mut client, now);
        client.connect(now);
        client.send(now);
        client.serve(&mut server);
        client.hear(now);
        client.send(now);
        client.mood = Mood::Forbidden;
        client.serve(&mut server);
        client.hear(now);
        // It does not want to say so at first.
        client.mood = Mood::Overloaded;
        client.send(now);
        assert!(matches!(client.to_server.make_contiguous(), [ClientFrame::Fetch(_)]));
        exchange(now, &mut client, &mut server);
        assert!(client.outcomes.is_empty());
        now = client.session.next_timeout().unwrap();
        client.tell(now, Input::Tick);
        exchange(now, &mut client, &mut server);
        let outcomes: Vec<_> = client.outcomes.iter().map(|(_, _, outcome)| outcome).collect();
        match is_stored {
            true => assert!(
                matches!(outcomes[..], [Outcome::Committed { offset: Offset(2), .. }]),
                "{outcomes:?}"
            ),
            false => assert!(matches!(outcomes[..], [Outcome::Refused(_)]), "{outcomes:?}"),
        }
        assert_eq!(client.session.unsettled(), 0);
    }
}

/// A part of the history that does not come is like any other answer that does not.
#[test]
fn a_history_that_stops_coming_ends_the_connection() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    edit(now, &mut client);
    client.send(now);
    client.close(now, &id());
    client.disconnect(now, None);
    let later = redialed(&mut client, now);
    client.connect(later);
    client.send(later);
    client.serve(&mut server);
    client.hear(later);
    client.send(later);
    client.mood = Mood::Forbidden;
    client.serve(&mut server);
    client.hear(later);
    client.send(later);
    for second in (10..70).step_by(10) {
        assert!(client.connected);
        say(later + second * SECOND, &mut client, wire::Pong::default());
    }
    assert!(!client.connected);
    let later = redialed(&mut client, later + 60 * SECOND);
    exchange(later, &mut client, &mut server);
    assert!(matches!(client.outcomes[..], [(_, _, Outcome::Committed { .. })]));
}
