use std::net::SocketAddr;

use aetherflow_schema::history::Via;
use uuid::Builder;

use super::*;

fn options(dir: &tempfile::TempDir) -> ArrivalOptions {
    ArrivalOptions {
        dir: dir.path().join("arrivals"),
        keep: Duration::from_secs(86_400),
        per_day: 1_000,
    }
}

/// A session that was made at this time.
fn session(at_ms: u64, n: u8) -> SessionId {
    SessionId(Builder::from_unix_timestamp_millis(at_ms, &[n; 10]).into_uuid())
}

fn arrival(session: SessionId, at_ms: u64, port: u16) -> Arrival {
    Arrival {
        session,
        at_ms,
        address: SocketAddr::from(([192, 0, 2, 7], port)),
        via: Via::NativeQuantum,
        client: "laptop".to_owned(),
        agent: String::new(),
    }
}

/// The ports from which sessions came at these times, once all is written.
async fn ports(dir: &tempfile::TempDir, asked: Vec<(SessionId, u64)>) -> Vec<Option<u16>> {
    let book = ArrivalBook::read_only(options(dir).dir).unwrap();
    let found = book.find(asked).await.unwrap();
    found.into_iter().map(|arrival| Some(arrival?.address.port())).collect()
}

#[tokio::test]
async fn where_a_session_was_is_known_for_each_time_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let now = now_ms();
    let (one, other) = (session(now, 1), session(now, 2));
    let book = ArrivalBook::open(options(&dir)).unwrap();
    for (at_ms, port) in [(now, 1), (now + 100, 2), (now + 200, 3)] {
        book.note(arrival(one, at_ms, port));
    }
    drop(book);
    let asked = [now + 50, now + 100, now + 199, now + 9_999, now - 5];
    let mut asked: Vec<_> = asked.into_iter().map(|at_ms| (one, at_ms)).collect();
    asked.push((other, now));
    let expected = [Some(1), Some(2), Some(2), Some(3), Some(1), None];
    assert_eq!(ports(&dir, asked.clone()).await, expected);
    let book = ArrivalBook::open(options(&dir)).unwrap();
    let found = book.find(asked).await.unwrap();
    assert_eq!(found[0], Some(arrival(one, now, 1)));
}

#[tokio::test]
async fn what_is_too_old_is_removed_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let now = now_ms();
    let ages = [0, DAY_MS - 60_000, DAY_MS + 60_000, 40 * DAY_MS];
    let sessions = ages.map(|age| session(now - age, 1));
    let keep_all = ArrivalOptions {
        keep: Duration::from_secs(86_400 * 365),
        ..options(&dir)
    };
    let book = ArrivalBook::open(keep_all).unwrap();
    sessions.iter().for_each(|of| book.note(arrival(*of, now, 1)));
    drop(book);
    let asked = || sessions.iter().map(|of| (*of, now)).collect();
    assert_eq!(ports(&dir, asked()).await, [Some(1); 4]);
    drop(ArrivalBook::open(options(&dir)).unwrap());
    assert_eq!(ports(&dir, asked()).await, [Some(1), Some(1), None, None]);
}

#[tokio::test]
async fn a_day_has_so_many_rows_and_the_others_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let now = now_ms();
    let few = ArrivalOptions {
        per_day: 3,
        ..options(&dir)
    };
    let book = ArrivalBook::open(few).unwrap();
    let sessions: Vec<_> = (0..10).map(|n| session(now, n)).collect();
    sessions.iter().for_each(|of| book.note(arrival(*of, now, 1)));
    let figures = book.figures.clone();
    drop(book);
    assert_eq!((figures.written.load(Relaxed), figures.dropped.load(Relaxed)), (3, 7));
    let found = ports(&dir, sessions.iter().map(|of| (*of, now)).collect()).await;
    assert_eq!(found.iter().flatten().count(), 3);
}
