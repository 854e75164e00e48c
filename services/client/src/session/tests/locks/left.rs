//! Locks that nobody wants any more: whatever gets lost, they are given back, and whoever comes next has a token of its own.

use super::{super::model::Mood, *};

/// What is on its way to the server about locks.
fn asked_about_locks(client: &Client) -> Vec<&ClientFrame> {
    let about_locks = |frame: &&ClientFrame| matches!(frame, ClientFrame::AcquireLock(_) | ClientFrame::ReleaseLock(_));
    client.to_server.iter().filter(about_locks).collect()
}

#[test]
fn what_is_granted_to_nobody_is_given_back() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    want(now, &mut client, 1, SECOND);
    client.send(now);
    leave(now, &mut client, 1);
    client.close(now, &id());
    exchange(now, &mut client, &mut server);
    assert!(server.locks.is_empty());
    // Nor does that take it from who asked for it next.
    client.open(now, &id());
    exchange(now, &mut client, &mut server);
    want(now, &mut client, 2, SECOND);
    client.send(now);
    leave(now, &mut client, 2);
    want(now, &mut client, 3, SECOND);
    exchange(now, &mut client, &mut server);
    let told = news(&mut client);
    let (_, held) = server.locks[&id()];
    assert_eq!(told, [(3, granted(held.0))]);
}

#[test]
fn what_was_granted_unheard_to_nobody_is_given_back() {
    for cuts in 1..4 {
        let mut now = Instant::now();
        let mut server = Server::default();
        let mut client = online(now, &mut server);
        want(now, &mut client, 1, SECOND);
        client.send(now);
        client.serve(&mut server);
        leave(now, &mut client, 1);
        for _ in 0..cuts {
            // What it says when it comes back is not answered either.
            client.send(now);
            while !client.to_server.is_empty() {
                client.serve(&mut server);
            }
            client.disconnect(now, None);
            now = redialed(&mut client, now);
            client.connect(now);
            client.send(now);
            client.serve(&mut server);
            client.hear(now);
        }
        exchange(now, &mut client, &mut server);
        assert!(server.locks.is_empty());
        assert_eq!(news(&mut client), []);
    }
}

#[test]
fn who_waits_gets_a_token_of_its_own_when_the_one_before_was_lost() {
    for is_cut in [false, true] {
        let now = Instant::now();
        let (mut server, mut client) = holder(now);
        want(now, &mut client, 2, 3_600 * SECOND);
        // No renewal arrives in time.
        client.disconnect(now, None);
        let mut later = redialed(&mut client, now + TTL);
        assert_eq!(
            news(&mut client),
            [(1, granted(1)), (1, Told::Over(Err(LockLost::Expired)))]
        );
        client.connect(later);
        client.send(later);
        client.serve(&mut server);
        client.hear(later);
        client.send(later);
        let asked = asked_about_locks(&client);
        assert!(
            matches!(asked[..], [ClientFrame::ReleaseLock(_)]),
            "one after the other, since they may swap: {asked:?}"
        );
        if is_cut {
            client.disconnect(later, None);
            later = redialed(&mut client, later);
        }
        exchange(later, &mut client, &mut server);
        assert_eq!(news(&mut client), [(2, granted(2))]);
    }
}

#[test]
fn an_answer_that_comes_after_everybody_has_given_up_is_heard_all_the_same() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    want(now, &mut client, 1, SECOND);
    client.send(now);
    client.serve(&mut server);
    let late = now + 10 * SECOND;
    client.tell(late, Input::Tick);
    assert_eq!(news(&mut client), [(1, Told::Failed(LockError::Late))]);
    want(late, &mut client, 2, SECOND);
    client.send(late);
    assert_eq!(asked_about_locks(&client).len(), 0, "it may be the same lock");
    exchange(late, &mut client, &mut server);
    assert_eq!(news(&mut client), [(2, granted(2))]);
}

#[test]
fn what_is_lost_by_this_clock_first_is_given_back() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    want(now, &mut client, 1, SECOND);
    client.send(now);
    client.serve(&mut server);
    // The answer is older than what it grants.
    client.hear(now + TTL);
    let lost = (1, Told::Over(Err(LockLost::Expired)));
    assert_eq!(news(&mut client), [(1, granted(1)), lost]);
    exchange(now + TTL, &mut client, &mut server);
    assert!(server.locks.is_empty());
}

/// Who drops a guard at once does not lose what was made under it because the server has much to do.
#[test]
fn a_lock_that_is_given_back_is_renewed_until_what_was_made_under_it_is_settled() {
    let now = Instant::now();
    let (mut server, mut client) = holder(now);
    edit_under(now, &mut client, 1);
    leave(now, &mut client, 1);
    let (mut later, end) = (now, now + 10 * TTL);
    while let Some(next) = client.session.next_timeout().filter(|next| *next <= end) {
        later = next.max(later);
        client.mood = Mood::Overloaded;
        client.tell(later, Input::Tick);
        exchange(later, &mut client, &mut server);
    }
    assert_eq!(news(&mut client), [(1, granted(1))]);
    assert_eq!(server.locks[&id()].1, Fencing(1));
    client.mood = Mood::Fine;
    pass(&mut client, &mut server, later, 120);
    assert_eq!(news(&mut client), [(1, Told::Over(Ok(())))]);
    assert!(matches!(client.outcomes[..], [(_, _, Outcome::Committed { .. })]));
    assert!(server.locks.is_empty());
}

/// The server has granted it, and does not know that.
#[test]
fn what_may_have_been_granted_to_nobody_is_asked_for_once_more_to_be_given_back() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    want(now, &mut client, 1, SECOND);
    client.mood = Mood::Unknown;
    client.send(now);
    leave(now, &mut client, 1);
    exchange(now, &mut client, &mut server);
    assert_eq!(server.locks[&id()].1, Fencing(1));
    // Nor is it known at first that it is given back.
    client.mood = Mood::Unknown;
    pass(&mut client, &mut server, now, 10);
    assert!(server.locks.is_empty());
    assert_eq!(news(&mut client), []);
}
