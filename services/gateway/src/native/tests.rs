use std::time::Duration;

use aetherflow_schema::{
    access::{Author, Principal},
    close::CloseCode,
    id::{DocumentId, SessionId},
    native::{ClientFrame, Fetch, Hello, Presence, RequestId, Start, Submit, Subscribe, wire::RejectCode},
    sessions::ResumeToken,
};
use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::session::{Action, Session, SessionLimits, Terms, go_away};
use crate::{close::Close, metrics::native::Heard};

fn document(n: u8) -> DocumentId {
    DocumentId::from_bytes(&[n; 16]).unwrap()
}

fn fresh() -> Session {
    Session::new(SessionLimits {
        frame_bytes: 10_000,
        change_bytes: 100,
        subscriptions: 2,
    })
}

fn hello() -> ClientFrame {
    ClientFrame::Hello(Hello {
        token: String::new(),
        client_id: "laptop".into(),
        resume_token: Bytes::new(),
        capabilities: vec!["time-travel".into()],
        frame_bytes: None,
    })
}

fn introduced() -> Session {
    let mut session = fresh();
    assert!(matches!(say(&mut session, hello()), Action::Welcome { client, .. } if client == "laptop"));
    session
}

fn say(session: &mut Session, frame: ClientFrame) -> Action {
    session.handle(frame.encode()).1
}

fn submit(request: u64, bytes: usize) -> ClientFrame {
    ClientFrame::Submit(Submit {
        request: RequestId(request),
        document: document(1),
        changes: vec![Bytes::from(vec![1; bytes])],
        fencing: None,
    })
}

fn subscribe(n: u8) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe {
        request: RequestId(n.into()),
        document: document(n),
        start: Start::Snapshot,
    })
}

fn fetch(request: u64) -> ClientFrame {
    ClientFrame::Fetch(Fetch {
        request: RequestId(request),
        document: document(1),
        from: aetherflow_schema::id::Offset(1),
        until: None,
    })
}

fn presence(n: u8, ttl_ms: u32) -> ClientFrame {
    ClientFrame::Presence(Presence {
        document: document(n),
        state: Bytes::from_static(b"here"),
        ttl_ms,
    })
}

fn closed(action: &Action) -> CloseCode {
    match action {
        Action::Close(close) => close.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_has_an_effect_before_a_hello_and_a_later_one_is_answered_again() {
    for frame in [
        submit(1, 1),
        subscribe(1),
        fetch(1),
        presence(1, 1),
        ClientFrame::Ping(1),
    ] {
        let mut session = fresh();
        assert_eq!(closed(&say(&mut session, frame)), CloseCode::PolicyViolation);
        assert!(!session.is_introduced());
    }
    let mut session = introduced();
    assert!(session.is_introduced());
    assert!(matches!(say(&mut session, hello()), Action::Welcome { .. }));
    assert_eq!(say(&mut session, ClientFrame::Ping(7)), Action::Pong(7));
}

#[test]
fn a_welcome_says_who_the_client_is_and_what_it_may() {
    let author = Author {
        principal: Principal::named("ada").unwrap(),
        session: SessionId(Uuid::from_u128(5)),
    };
    let token = ResumeToken::new(author.session, [3; 32]);
    let terms = Terms {
        token: Some(token.clone()),
        resume_window: Duration::from_secs(9),
        resumed: true,
    };
    let welcome = fresh().welcome(77, &author, &terms);
    assert_eq!(welcome.resume_token, token.to_bytes());
    let limits = welcome.limits.unwrap();
    assert_eq!(
        (limits.frame_bytes, limits.change_bytes, limits.subscriptions),
        (10_000, 100, 2)
    );
    assert_eq!((&*welcome.principal, welcome.server_time_ms), ("ada", 77));
    assert_eq!(welcome.session_id, Uuid::from_u128(5).as_bytes().as_slice());
    assert!(welcome.resumed && welcome.capabilities.is_empty() && limits.resume_window_ms == 9_000);
}

#[test]
fn a_request_id_stands_for_one_unanswered_request() {
    let mut session = introduced();
    assert!(matches!(say(&mut session, submit(1, 1)), Action::Submit(_)));
    assert!(matches!(say(&mut session, fetch(2)), Action::Fetch(_)));
    session.answered(RequestId(1));
    assert!(matches!(say(&mut session, submit(1, 1)), Action::Submit(_)));
    assert_eq!(closed(&say(&mut session, submit(2, 1))), CloseCode::PolicyViolation);
}

#[test]
fn a_change_that_is_too_long_is_rejected_and_its_request_over() {
    let mut session = introduced();
    for _ in 0..2 {
        let Action::Reject(_, reject) = say(&mut session, submit(1, 101)) else {
            panic!("not rejected");
        };
        assert_eq!((reject.request_id, reject.code()), (1, RejectCode::TooLarge));
        assert_eq!(reject.retry_after_ms, None);
    }
    assert!(matches!(say(&mut session, submit(1, 100)), Action::Submit(_)));
}

#[test]
fn there_are_only_so_many_subscriptions_and_the_same_one_again_counts_once() {
    let mut session = introduced();
    for n in [1, 2, 1] {
        assert!(matches!(say(&mut session, subscribe(n)), Action::Subscribe(_)));
    }
    assert!(session.is_full());
    let Action::Reject(about, reject) = say(&mut session, subscribe(3)) else {
        panic!("not rejected");
    };
    assert_eq!((about, reject.code()), (document(3), RejectCode::TooManySubscriptions));
    session.unsubscribed(&document(1));
    assert!(matches!(say(&mut session, subscribe(3)), Action::Subscribe(_)));
}

#[test]
fn presence_without_time_is_taken_back() {
    let mut session = introduced();
    assert!(matches!(say(&mut session, presence(1, 100)), Action::Present(told) if told.ttl_ms == 100));
    assert_eq!(say(&mut session, presence(1, 0)), Action::Absent(document(1)));
}

#[test]
fn who_is_sent_away_comes_back_at_a_time_of_its_own() {
    let close = Close::plain(CloseCode::GoingAway);
    let told = |random| go_away(&close, random, 5_000, Duration::from_secs(10));
    let frame = told(7);
    assert_eq!((frame.code, frame.closes_in_ms), (1001, 10_000));
    assert!((0..20_000).map(|n| told(n).reconnect_after_ms).all(|ms| ms <= 5_000));
    assert_ne!(told(1).reconnect_after_ms, told(2).reconnect_after_ms);
    assert_eq!(go_away(&close, u64::MAX, 0, Duration::MAX).closes_in_ms, u32::MAX);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..10)) {
        let mut session = introduced();
        for frame in frames {
            let (kind, action) = session.handle(frame.into());
            prop_assert!(kind != Heard::Malformed || closed(&action) == CloseCode::MalformedMessage);
        }
    }
}
