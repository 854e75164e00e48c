//! Locks: asked for in turn, renewed, given back, lost.

mod left;

use std::time::{Duration, Instant};

use aetherflow_schema::{
    close::CloseCode,
    locks::Fencing,
    native::{
        ClientFrame,
        wire::{self, RejectCode},
    },
};

use super::{
    super::{Input, LockId, LockNews, Outcome, WantedLock},
    model::{Client, Server},
    steps::{SECOND, edit, exchange, id, online, redialed, say},
};
use crate::error::{LockError, LockLost};

const TTL: Duration = Duration::from_secs(30);

/// Somebody else's session.
const OTHER: u128 = 99;

fn want(now: Instant, client: &mut Client, lock: u64, wait: Duration) {
    let lock = LockId(lock);
    let wanted = WantedLock { lock, ttl: TTL, wait };
    client.tell(now, Input::Lock { document: id(), wanted });
}

fn leave(now: Instant, client: &mut Client, lock: u64) {
    let lock = LockId(lock);
    client.tell(now, Input::Unlock { document: id(), lock });
}

/// An edit that is made under the lock with this token.
fn edit_under(now: Instant, client: &mut Client, fencing: u64) {
    let input = client.edit_under(&id(), Fencing(fencing));
    client.tell(now, input);
}

/// What a guard was told, but for the time.
#[derive(Debug, PartialEq)]
enum Told {
    Granted(u64),
    Failed(LockError),
    Over(Result<(), LockLost>),
}

fn news(client: &mut Client) -> Vec<(u64, Told)> {
    let told = |news| match news {
        LockNews::Granted(fencing, _) => Told::Granted(fencing.0),
        LockNews::Renewed(_) => panic!("not kept"),
        LockNews::Failed(error) => Told::Failed(error),
        LockNews::Over(result) => Told::Over(result),
    };
    let news = std::mem::take(&mut client.lock_news);
    news.into_iter().map(|(lock, news)| (lock.0, told(news))).collect()
}

fn granted(fencing: u64) -> Told {
    Told::Granted(fencing)
}

/// A client that holds the lock, with the first token.
fn holder(now: Instant) -> (Server, Client) {
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    want(now, &mut client, 1, SECOND);
    exchange(now, &mut client, &mut server);
    (server, client)
}

/// Time passes, and everything that is due is done and answered.
fn pass(client: &mut Client, server: &mut Server, from: Instant, seconds: u32) -> Instant {
    let end = from + seconds * SECOND;
    let mut now = from;
    while let Some(next) = client.session.next_timeout().filter(|next| *next <= end) {
        now = next.max(now);
        client.tell(now, Input::Tick);
        exchange(now, client, server);
    }
    client.tell(end, Input::Tick);
    end
}

#[test]
fn a_lock_is_held_for_as_long_as_it_is_wanted_and_then_given_back() {
    let now = Instant::now();
    let (mut server, mut client) = holder(now);
    assert_eq!(news(&mut client), [(1, granted(1))]);
    let later = pass(&mut client, &mut server, now, 3_600);
    assert_eq!(news(&mut client), []);
    assert_eq!(server.locks[&id()].1, Fencing(1));
    leave(later, &mut client, 1);
    exchange(later, &mut client, &mut server);
    assert_eq!(news(&mut client), [(1, Told::Over(Ok(())))]);
    assert!(server.locks.is_empty());
    assert!(
        client.session.next_timeout().unwrap() > later + 10 * SECOND,
        "nothing is left to be done"
    );
}

#[test]
fn who_waits_gets_it_when_others_give_way_and_is_told_when_they_do_not() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    server.locks.insert(id(), (OTHER, Fencing(77)));
    want(now, &mut client, 1, 10 * SECOND);
    exchange(now, &mut client, &mut server);
    let later = pass(&mut client, &mut server, now, 9);
    assert_eq!(news(&mut client), []);
    server.locks.clear();
    let later = pass(&mut client, &mut server, later, 1);
    assert_eq!(
        news(&mut client),
        [(1, granted(1))],
        "asked for a last time when its time is over"
    );
    leave(later, &mut client, 1);
    exchange(later, &mut client, &mut server);
    news(&mut client);

    server.locks.insert(id(), (OTHER, Fencing(78)));
    for wait in [0, 10] {
        want(later, &mut client, 2, wait * SECOND);
        exchange(later, &mut client, &mut server);
        pass(&mut client, &mut server, later, wait);
        let news = news(&mut client);
        assert!(
            matches!(news[..], [(2, Told::Failed(LockError::Held(_)))]),
            "{wait}: {news:?}"
        );
    }
}

#[test]
fn the_guards_of_one_client_take_turns_and_each_turn_has_its_own_token() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    for lock in 1..=3 {
        want(now, &mut client, lock, 60 * SECOND);
    }
    want(now, &mut client, 4, Duration::ZERO);
    exchange(now, &mut client, &mut server);
    let told = news(&mut client);
    assert!(
        matches!(&told[..], [(4, Told::Failed(LockError::Held(_))), (1, first)] if *first == granted(1)),
        "{told:?}"
    );
    leave(now, &mut client, 2);
    leave(now, &mut client, 1);
    exchange(now, &mut client, &mut server);
    assert_eq!(news(&mut client), [(1, Told::Over(Ok(()))), (3, granted(2))]);
}

#[test]
fn a_lock_is_given_back_only_when_what_was_made_under_it_is_settled() {
    let now = Instant::now();
    let (mut server, mut client) = holder(now);
    edit(now, &mut client);
    edit_under(now, &mut client, 1);
    edit(now, &mut client);
    leave(now, &mut client, 1);
    let mut fencing = Vec::new();
    let mut released = false;
    for _ in 0..20 {
        client.send(now);
        for frame in &client.to_server {
            match frame {
                ClientFrame::Submit(submit) => {
                    assert!(!released, "{submit:?}");
                    fencing.push((submit.changes.len(), submit.fencing));
                }
                ClientFrame::ReleaseLock(_) => released = true,
                other => panic!("{other:?}"),
            }
        }
        while !client.to_server.is_empty() {
            client.serve(&mut server);
        }
        while !client.to_client.is_empty() {
            client.hear(now);
        }
    }
    // Only what was made under it names it.
    assert_eq!(fencing, [(1, None), (1, Some(Fencing(1))), (1, None)]);
    assert!(released && server.locks.is_empty());
    assert!(
        client
            .outcomes
            .iter()
            .all(|(_, _, outcome)| matches!(outcome, Outcome::Committed { .. }))
    );
    assert_eq!(client.outcomes.len(), 3);
}

#[test]
fn what_is_late_is_refused_and_what_was_stored_has_its_receipt() {
    let now = Instant::now();
    let (mut server, mut client) = holder(now);
    edit_under(now, &mut client, 1);
    client.send(now);
    client.serve(&mut server);
    // Stored, and the answer is lost; the next one never leaves.
    edit_under(now, &mut client, 1);
    client.disconnect(now, None);
    server.locks.insert(id(), (OTHER, Fencing(50)));
    let later = redialed(&mut client, now);
    exchange(later, &mut client, &mut server);
    assert_eq!(news(&mut client)[1..], [(1, Told::Over(Err(LockLost::NotHeld)))]);
    let outcomes: Vec<_> = client.outcomes.iter().map(|(_, _, outcome)| outcome).collect();
    assert!(matches!(outcomes[0], Outcome::Committed { .. }), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Refused(refusal) if refusal.code == RejectCode::StaleFencing));
    assert_eq!(outcomes.len(), 2);
    assert_eq!(server.log.len(), 1);
}

#[test]
fn a_lock_stays_over_a_connection_with_its_session_and_ends_without() {
    for resumed in [true, false] {
        let now = Instant::now();
        let (mut server, mut client) = holder(now);
        client.disconnect(now, None);
        if !resumed {
            client.server_session = 7;
        }
        let later = redialed(&mut client, now);
        exchange(later, &mut client, &mut server);
        let expected = match resumed {
            true => vec![(1, granted(1))],
            false => vec![(1, granted(1)), (1, Told::Over(Err(LockLost::Session)))],
        };
        assert_eq!(news(&mut client), expected);
    }
}

#[test]
fn a_connection_that_is_given_up_is_no_goodbye() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    let (lock, ttl, wait) = (LockId(1), 600 * SECOND, SECOND);
    let wanted = WantedLock { lock, ttl, wait };
    client.tell(now, Input::Lock { document: id(), wanted });
    exchange(now, &mut client, &mut server);
    edit(now, &mut client);
    client.send(now);
    for second in (10..70).step_by(10) {
        say(now + second * SECOND, &mut client, wire::Pong::default());
    }
    assert!(!client.connected, "the edit was not answered");
    let later = redialed(&mut client, now + 60 * SECOND);
    exchange(later, &mut client, &mut server);
    assert_eq!(news(&mut client), [(1, granted(1))]);
    assert_eq!(server.locks[&id()].1, Fencing(1));
    client.tell(later, Input::Finish);
    assert_eq!(client.hung_up, Some(CloseCode::Normal));
}

#[test]
fn without_a_server_a_lock_is_lost_when_its_time_is_over() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut client = online(now, &mut server);
    want(now, &mut client, 1, SECOND);
    client.send(now);
    // The answer takes its time, which does not count.
    client.serve(&mut server);
    let later = now + 5 * SECOND;
    client.hear(later);
    assert_eq!(news(&mut client), [(1, granted(1))]);
    client.disconnect(later, None);
    client.tell(now + TTL - Duration::from_millis(1), Input::Tick);
    assert_eq!(news(&mut client), []);
    client.tell(now + TTL, Input::Tick);
    assert_eq!(news(&mut client), [(1, Told::Over(Err(LockLost::Expired)))]);
    want(now + TTL, &mut client, 2, SECOND);
    client.tell(now + TTL + 9 * SECOND, Input::Tick);
    assert_eq!(news(&mut client), []);
    client.tell(now + TTL + 10 * SECOND, Input::Tick);
    assert_eq!(news(&mut client), [(2, Told::Failed(LockError::Late))]);
}

#[test]
fn a_server_without_locks_gives_none_and_gets_nothing_that_was_made_under_one() {
    let now = Instant::now();
    let (mut server, mut client) = holder(now);
    client.disconnect(now, None);
    client.capabilities = &[];
    edit_under(now, &mut client, 1);
    let later = redialed(&mut client, now);
    exchange(later, &mut client, &mut server);
    want(later, &mut client, 2, SECOND);
    let told = news(&mut client);
    let expected = [
        (1, granted(1)),
        (1, Told::Over(Err(LockLost::Session))),
        (2, Told::Failed(LockError::Unsupported)),
    ];
    assert_eq!(told, expected);
    assert!(
        matches!(&client.outcomes[..], [(_, _, Outcome::Refused(refusal))] if refusal.code == RejectCode::StaleFencing)
    );
    assert!(server.log.is_empty());
}
