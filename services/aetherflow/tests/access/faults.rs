//! Every fault that a token can have, in every protocol.

use serde_json::{Value, json};
use tonic::Code;

use crate::{
    grpc::{self, Call},
    native, repo,
    server::{Server, claims, signed, token},
    table::{OPERATIONS, by_http},
};

/// Tokens that are no good, and the code that closes a native connection for them.
fn faults() -> Vec<(&'static str, String, u16)> {
    let good = claims("owner", 600);
    let with = |change: fn(&mut Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        signed(&claims, 1)
    };
    let (owner, viewer) = (token("owner"), token("viewer"));
    let part = |token: &str, n: usize| token.split('.').nth(n).unwrap().to_owned();
    vec![
        ("expired", signed(&claims("owner", -10), 1), 4011),
        ("of another key", signed(&good, 9), 4009),
        (
            "for another audience",
            with(|claims| claims["aud"] = "other".into()),
            4009,
        ),
        ("for no audience", with(|claims| claims["aud"] = Value::Null), 4009),
        ("not good yet", with(|claims| claims["nbf"] = u64::MAX.into()), 4009),
        (
            "a server's name",
            with(|claims| claims["sub"] = "server:backend".into()),
            4009,
        ),
        ("a link's name", with(|claims| claims["sub"] = "link:x".into()), 4009),
        ("not signed", format!("eyJhbGciOiJub25lIn0.{}.", part(&owner, 1)), 4009),
        (
            "somebody else's claims",
            format!("{}.{}.{}", part(&viewer, 0), part(&owner, 1), part(&viewer, 2)),
            4009,
        ),
        (
            "a key that is none",
            format!("afk_{}_{}", "0".repeat(16), "0".repeat(64)),
            4009,
        ),
        ("no token", "x".to_owned(), 4009),
        ("far too long", "a".repeat(8193), 4009),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_a_token_that_is_no_good_may_do_nothing_at_all() {
    let server = Server::start().await;
    let document = server.document().await;
    // Even what everybody may read.
    let public = format!("/v1/documents/{document}/permissions/public");
    let granted = server
        .ask("PUT", &public, Some(&token("owner")), Some(json!({"role": "editor"})))
        .await;
    assert_eq!(granted.status, 200);
    let before = server.changes(&document).await;
    for (fault, token, code) in faults() {
        for operation in OPERATIONS {
            if let Some(answer) = by_http(&server, Some(&token), operation, &document).await {
                assert_eq!(answer.status, 401, "HTTP: {fault} {operation:?}");
                assert!(answer.head.contains("www-authenticate: bearer") && answer.head.contains("retry-after:"));
                let kind = answer.body["type"].as_str().unwrap();
                assert!(kind.starts_with("urn:aetherflow:problem:token-"), "{kind}");
            }
        }
        let joined = repo::Client::join(server.address, Some(&token), "x", &document).await;
        assert_eq!(joined.err(), Some(401), "automerge-repo: {fault}");
        let sessions = grpc::Client::new(&server, Some(&token)).await;
        for call in [Call::List, Call::Statistics] {
            let status = sessions.refused(call).await;
            let (found, reason) = grpc::reason(&status);
            assert_eq!(found, Code::Unauthenticated, "gRPC: {fault}: {status:?}");
            let expected = match code {
                4011 => reason == "token-expired",
                _ => reason.starts_with("token-"),
            };
            assert!(expected, "gRPC: {fault}: {reason}");
        }
        let upgraded = repo::open(server.address, "/v1/sync", Some(&token)).await;
        assert_eq!(upgraded.err(), Some(401), "native, at the upgrade: {fault}");
        if token.len() <= 8192 {
            let hello = native::Client::hello(server.address, Some(&token)).await;
            assert_eq!(hello.err(), Some(code), "native: {fault}");
            let hello = native::Client::hello_over_quantum(server.address, &server.data(), Some(&token)).await;
            assert_eq!(hello.err(), Some(code), "native over Quantum: {fault}");
        }
    }
    grpc::healthy(&server).await;
    assert_eq!(server.changes(&document).await, before);
    assert!(server.data().join("log").exists());
}
