//! Locks over the native protocol and over HTTP.

use aetherflow_schema::{
    id::DocumentId,
    native::wire::{self, RejectCode, server_frame::Kind},
    sessions::Sessions,
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    http_client::{Answer, request},
    native_client::{NativeClient, acquire, locks_of, release, submit, submit_under},
    server::{Server, document, until},
};

async fn granted(client: &mut NativeClient) -> wire::Lock {
    match client.hear().await {
        Kind::LockGranted(granted) => {
            assert_eq!(granted.ttl_ms, 60_000);
            granted.lock.unwrap()
        }
        other => panic!("{other:?}"),
    }
}

async fn listed(client: &mut NativeClient, of: Option<&DocumentId>) -> Vec<wire::Lock> {
    client.say(locks_of(99, of)).await;
    match client.hear().await {
        Kind::Locks(locks) => locks.locks,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn locks_are_for_clients_that_say_that_they_know_them() {
    let server = Server::start().await;
    let mut client = NativeClient::with_locks(&server, &Bytes::new()).await;
    assert_eq!(
        client.welcome.capabilities,
        ["locks"],
        "and not what the server does not know"
    );
    client.say(acquire(1, &document(1), None)).await;
    assert_eq!(granted(&mut client).await.session_id, client.welcome.session_id);
    let mut ignorant = NativeClient::welcomed(&server).await;
    assert_eq!(ignorant.welcome.capabilities, [""; 0]);
    ignorant.say(acquire(1, &document(1), None)).await;
    assert_eq!(ignorant.closed().await.0, 1008);
}

#[tokio::test]
async fn one_holds_a_lock_and_the_others_are_told_when_to_ask_again() {
    let server = Server::start().await;
    let id = document(1);
    let mut ada = NativeClient::with_locks(&server, &Bytes::new()).await;
    let mut bob = NativeClient::with_locks(&server, &Bytes::new()).await;
    ada.say(acquire(1, &id, None)).await;
    let lock = granted(&mut ada).await;
    bob.say(acquire(1, &id, None)).await;
    let reject = bob.hear_reject().await;
    assert_eq!((reject.code(), reject.retry_after_ms), (RejectCode::Locked, Some(1000)));
    assert_eq!(listed(&mut bob, Some(&id)).await, std::slice::from_ref(&lock));
    assert_eq!(listed(&mut bob, None).await, []);
    bob.say(release(2, &id, lock.fencing)).await;
    assert_eq!(
        bob.hear_reject().await.code(),
        RejectCode::StaleFencing,
        "it is not his"
    );
    ada.say(acquire(2, &id, Some(lock.fencing))).await;
    let renewed = granted(&mut ada).await;
    assert!(renewed.fencing == lock.fencing && renewed.until_ms >= lock.until_ms);
    ada.say(release(3, &id, lock.fencing)).await;
    assert!(matches!(ada.hear().await, Kind::LockReleased(released) if released.request_id == 3));
    ada.say(acquire(4, &id, Some(lock.fencing))).await;
    let late = ada.hear_reject().await;
    assert_eq!((late.code(), late.retry_after_ms), (RejectCode::StaleFencing, None));
    bob.say(acquire(3, &id, None)).await;
    assert!(granted(&mut bob).await.fencing > lock.fencing);
    assert_eq!(server.metric("native_rejects_total{code=\"LOCKED\"}"), 1);
}

#[tokio::test]
async fn an_edit_under_a_lock_that_is_gone_is_refused_and_others_are_not_asked() {
    let server = Server::start().await;
    server.ledger.commit(usize::MAX);
    let id = document(1);
    let mut ada = NativeClient::with_locks(&server, &Bytes::new()).await;
    ada.say(acquire(1, &id, None)).await;
    let fencing = granted(&mut ada).await.fencing;
    ada.say(submit_under(2, &id, fencing)).await;
    assert!(matches!(ada.hear().await, Kind::Receipt(_)));
    for wrong in [fencing - 1, fencing + 1] {
        ada.say(submit_under(3, &id, wrong)).await;
        let reject = ada.hear_reject().await;
        assert_eq!((reject.code(), reject.retry_after_ms), (RejectCode::StaleFencing, None));
    }
    let mut bob = NativeClient::welcomed(&server).await;
    bob.say(submit(1, &id, &["b"])).await;
    assert!(matches!(bob.hear().await, Kind::Receipt(_)), "a lock is advisory");
    ada.say(release(4, &id, fencing)).await;
    assert!(matches!(ada.hear().await, Kind::LockReleased(_)));
    ada.say(submit_under(5, &id, fencing)).await;
    assert_eq!(ada.hear_reject().await.code(), RejectCode::StaleFencing);
    assert_eq!(server.ledger.submitted(&id), ["a", "b"]);
}

#[tokio::test]
async fn a_lock_outlives_the_connection_of_a_session_that_is_resumed_and_ends_with_the_session() {
    let server = Server::start().await;
    let id = document(1);
    let mut first = NativeClient::with_locks(&server, &Bytes::new()).await;
    first.say(acquire(1, &id, None)).await;
    let lock = granted(&mut first).await;
    let token = first.welcome.resume_token.clone();
    drop(first);
    until("the connection to go", || server.metric("native_connections") == 0).await;
    let mut second = NativeClient::with_locks(&server, &token).await;
    assert!(second.welcome.resumed);
    assert_eq!(
        listed(&mut second, None).await,
        std::slice::from_ref(&lock),
        "it is told what it holds"
    );
    let mut other = NativeClient::with_locks(&server, &Bytes::new()).await;
    other.say(acquire(1, &id, None)).await;
    assert_eq!(other.hear_reject().await.code(), RejectCode::Locked);
    let session = aetherflow_schema::id::SessionId(uuid::Uuid::from_slice(&lock.session_id).unwrap());
    server.sessions.delete(session).await.unwrap();
    assert_eq!(second.closed().await.0, 4014);
    other.say(acquire(2, &id, None)).await;
    assert!(granted(&mut other).await.fencing > lock.fencing);
}

#[tokio::test]
async fn a_lock_is_for_those_who_may_write() {
    let server = Server::start().await;
    let id = document(1);
    let mut client = NativeClient::with_locks(&server, &Bytes::new()).await;
    server
        .policy
        .read_only
        .store(true, std::sync::atomic::Ordering::Relaxed);
    client.say(acquire(1, &id, None)).await;
    assert_eq!(client.hear_reject().await.code(), RejectCode::Forbidden);
    assert_eq!(
        listed(&mut client, Some(&id)).await,
        [],
        "who holds it may be seen by readers"
    );
    server.policy.closed.store(true, std::sync::atomic::Ordering::Relaxed);
    client.say(locks_of(2, Some(&id))).await;
    assert_eq!(client.hear_reject().await.code(), RejectCode::Forbidden);
}

async fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    request(server.address, method, path, headers, body).await
}

async fn take(server: &Server, id: &DocumentId, body: Value) -> Answer {
    let path = format!("/v1/documents/{id}/locks");
    ask(
        server,
        "POST",
        &path,
        &[("content-type", "application/json")],
        body.to_string().as_bytes(),
    )
    .await
}

#[tokio::test]
async fn locks_over_http_are_taken_shown_renewed_and_given_back() {
    let server = Server::start().await;
    let id = document(1);
    let path = format!("/v1/documents/{id}/locks");
    assert_eq!(ask(&server, "GET", &path, &[], b"").await.json()["locks"], json!([]));
    let taken = take(&server, &id, json!({"ttlMs": 60_000})).await;
    assert_eq!(taken.status, 201);
    let lock = taken.json();
    let own = format!("{path}/{}", lock["fencing"].as_str().unwrap());
    assert_eq!(taken.headers["location"], own);
    assert_eq!(
        ask(&server, "GET", &path, &[], b"").await.json()["locks"],
        json!([lock])
    );
    let second = take(&server, &id, json!({"ttlMs": 60_000})).await;
    assert_eq!(
        (second.status, second.problem()),
        (409, "locked".to_owned()),
        "each request is another session"
    );
    assert_eq!(second.headers["retry-after"], "1");
    let json_type = [("content-type", "application/json")];
    let renewed = ask(&server, "PUT", &own, &json_type, b"{\"ttlMs\": 120000}").await;
    assert!(renewed.json()["until"].as_u64() > lock["until"].as_u64());
    let of_nobody = format!("{path}/1");
    for method in ["PUT", "DELETE"] {
        let stale = ask(&server, method, &of_nobody, &json_type, b"{\"ttlMs\": 1}").await;
        assert_eq!((stale.status, stale.problem()), (412, "stale-fencing".to_owned()));
    }
    assert_eq!(ask(&server, "DELETE", &own, &[], b"").await.status, 204);
    assert_eq!(ask(&server, "DELETE", &own, &[], b"").await.status, 412);
    for (body, kind) in [
        (json!({"ttlMs": 0}), "ttl"),
        (json!({"ttlMs": 3_600_001}), "ttl"),
        (json!({"ttlMs": -1}), "json"),
        (json!({}), "json"),
        (json!({"ttlMs": 1, "x": 1}), "json"),
    ] {
        let refused = take(&server, &id, body).await;
        assert_eq!((refused.status, refused.problem()), (400, kind.to_owned()));
    }
    assert_eq!(
        ask(&server, "DELETE", &format!("{path}/x"), &[], b"").await.problem(),
        "fencing"
    );
}

#[tokio::test]
async fn an_import_says_under_which_lock_it_was_made() {
    let server = Server::start().await;
    let id = document(1);
    let lock = take(&server, &id, json!({"ttlMs": 60_000})).await.json();
    let fencing = lock["fencing"].as_str().unwrap();
    let import = format!("/v1/documents/{id}/import");
    let send = async |path: &str, tokens: &[&str]| {
        let mut headers = vec![("content-type", "application/octet-stream")];
        headers.extend(tokens.iter().map(|token| ("Aetherflow-Fencing", *token)));
        ask(&server, "POST", path, &headers, b"file").await
    };
    assert_eq!(send(&import, &[]).await.status, 200, "a lock is advisory");
    assert_eq!(send(&import, &[fencing]).await.status, 200);
    let stale = send(&import, &["1"]).await;
    assert_eq!((stale.status, stale.problem()), (412, "stale-fencing".to_owned()));
    for wrong in [&["x"][..], &["0"], &[fencing, fencing]] {
        let refused = send(&import, wrong).await;
        assert_eq!((refused.status, refused.problem()), (400, "fencing".to_owned()));
    }
    assert_eq!(
        send("/v1/documents/import", &[fencing]).await.problem(),
        "fencing",
        "it has no lock yet"
    );
}
