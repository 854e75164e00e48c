//! Edits, and following, over one connection and the next.

use std::time::Instant;

use aetherflow_schema::native::{ClientFrame, Start, wire};
use automerge::{ROOT, ReadDoc};

use super::{
    super::{Input, Outcome},
    model::{Client, Server},
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
