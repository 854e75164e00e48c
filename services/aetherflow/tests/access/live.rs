//! What is taken back, or ends, on connections that are open.

use std::time::Instant;

use aetherflow_schema::{
    id::{DocumentId, Offset},
    native::{
        ClientFrame, Fetch, RequestId,
        wire::{RejectCode, server_frame::Kind},
    },
};
use serde_json::json;

use crate::{
    grpc, native, repo,
    repo::Said,
    server::{Server, claims, signed, token},
};

/// Waits until a connection is cut off from its document: how many messages with content came before.
async fn cut_off(client: &mut repo::Client) -> usize {
    let mut content = 0;
    loop {
        match client.hear().await {
            Said::Refused(_) => return content,
            Said::Sync => content += 1,
            _ => {}
        }
    }
}

/// Who made the entries of a document from this offset on.
async fn authors(server: &Server, document: &DocumentId, from: u64) -> Vec<String> {
    let mut owner = native::Client::hello(server.address, Some(&token("owner")))
        .await
        .unwrap();
    let fetch = Fetch {
        request: RequestId(1),
        document: document.clone(),
        from: Offset(from),
        until: None,
    };
    owner.say(ClientFrame::Fetch(fetch)).await;
    let mut authors = Vec::new();
    loop {
        match owner.hear().await.unwrap() {
            Kind::Ops(ops) => {
                authors.extend(ops.entries.into_iter().map(|entry| entry.principal));
                if ops.last {
                    return authors;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_has_an_offset_and_cuts_what_is_open() {
    let server = Server::start().await;
    let document = server.document().await;
    let editor = token("editor");
    let mut by_repo = repo::Client::join(server.address, Some(&editor), "laptop", &document)
        .await
        .unwrap();
    assert!(by_repo.reads().await);
    by_repo.set(2);
    assert!(by_repo.writes().await);
    let over_websocket = native::Client::hello(server.address, Some(&editor)).await.unwrap();
    let over_quantum = native::Client::hello_over_quantum(server.address, &server.data(), Some(&editor)).await;
    let mut by_native = [over_websocket, over_quantum.unwrap()];
    for client in &mut by_native {
        assert!(client.writes(&document).await);
        client.subscribe(&document).await;
        while !matches!(client.hear().await.unwrap(), Kind::Snapshot(_)) {}
    }
    let mut viewer = repo::Client::join(server.address, Some(&token("viewer")), "phone", &document)
        .await
        .unwrap();
    assert!(viewer.reads().await);

    let path = format!("/v1/documents/{document}/permissions/editor");
    let began = Instant::now();
    let revoked = server.ask("DELETE", &path, Some(&token("owner")), None).await;
    assert_eq!(
        (revoked.status, &revoked.body["role"]),
        (200, &serde_json::Value::Null),
        "{}",
        revoked.body
    );
    let offset = revoked.body["offset"].as_u64().unwrap();

    // What was queued before may come first.
    cut_off(&mut by_repo).await;
    for client in &mut by_native {
        // The others' edits were on their way.
        let rejected = loop {
            match client.hear_of_the_document().await {
                Kind::Ops(_) => {}
                other => break other,
            }
        };
        match rejected {
            Kind::Reject(reject) => assert_eq!((reject.request_id, reject.code()), (3, RejectCode::Forbidden)),
            other => panic!("{other:?}"),
        }
    }
    println!("all three were cut off after {:?}", began.elapsed());
    let mut owner = repo::Client::join(server.address, Some(&token("owner")), "desk", &document)
        .await
        .unwrap();
    assert!(owner.reads().await);
    owner.set(3);
    assert!(owner.writes().await);
    while viewer.number() != Some(3) {
        assert_eq!(viewer.hear().await, Said::Sync);
        viewer.sync(false).await;
    }
    by_repo.set(4);
    by_repo.sync(false).await;
    assert_eq!(cut_off(&mut by_repo).await, 0, "nothing of what came later");
    for client in &mut by_native {
        assert!(!client.writes(&document).await && !client.reads(&document).await);
    }
    assert_eq!(
        server
            .ask("GET", &format!("/v1/documents/{document}"), Some(&editor), None)
            .await
            .status,
        403
    );
    let later = authors(&server, &document, offset).await;
    assert!(
        !later.is_empty() && later.iter().all(|author| author == "owner"),
        "{later:?}"
    );

    // Given back, it works again on the same connection.
    let given = server
        .ask("PUT", &path, Some(&token("owner")), Some(json!({"role": "editor"})))
        .await;
    assert_eq!(given.status, 200);
    for client in &mut by_native {
        assert!(client.writes(&document).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token_unless_a_fresh_one_is_shown() {
    let server = Server::start().await;
    let document = server.document().await;
    let short = signed(&claims("owner", 2), 1);
    let mut by_repo = repo::Client::join(server.address, Some(&short), "laptop", &document)
        .await
        .unwrap();
    let mut ends = native::Client::hello(server.address, Some(&short)).await.unwrap();
    let mut refreshed = native::Client::hello(server.address, Some(&short)).await.unwrap();
    refreshed.say_hello(Some(&token("owner"))).await;
    assert!(matches!(refreshed.hear().await, Ok(Kind::Welcome(_))));

    let code = loop {
        if let Said::Closed(code) = by_repo.hear().await {
            break code;
        }
    };
    assert_eq!(code, 4011);
    assert_eq!(ends.hear().await.err(), Some(4011));
    assert!(refreshed.writes(&document).await, "it goes on");
    let again = repo::Client::join(server.address, Some(&short), "laptop", &document).await;
    assert_eq!(again.err(), Some(401), "refused before it costs anything");

    refreshed.say_hello(Some(&token("editor"))).await;
    assert_eq!(refreshed.hear().await.err(), Some(4009), "a connection stays who it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_api_key_go_its_connections() {
    let server = Server::start().await;
    let document = server.document().await;
    let key = server.run(&["key", "create", "--name", "backend", "--grant", "*=owner"]);
    // The server looks at the file of keys by itself, in a moment.
    let mut by_native = loop {
        if let Ok(client) = native::Client::hello(server.address, Some(&key)).await {
            break client;
        }
    };
    let mut by_repo = repo::Client::join(server.address, Some(&key), "backend", &document)
        .await
        .unwrap();
    assert!(by_repo.reads().await && by_native.reads(&document).await);
    let mut watch = grpc::Client::new(&server, Some(&key)).await.watch().await;
    server.run(&["key", "revoke", key.split('_').nth(1).unwrap()]);
    let code = loop {
        if let Said::Closed(code) = by_repo.hear().await {
            break code;
        }
    };
    assert_eq!((code, by_native.hear().await.err()), (4009, Some(4009)));
    assert_eq!(
        grpc::end_of(&mut watch).await,
        (tonic::Code::Unauthenticated, "token-revoked".to_owned())
    );
    assert_eq!(
        native::Client::hello(server.address, Some(&key)).await.err(),
        Some(4009)
    );
    assert!(server.run(&["key", "list"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_with_the_key_that_it_showed_last() {
    let server = Server::start().await;
    let document = server.document().await;
    let make = || server.run(&["key", "create", "--name", "backend", "--grant", "*=owner"]);
    let revoke = |key: &str| server.run(&["key", "revoke", key.split('_').nth(1).unwrap()]);
    let (first, second) = (make(), make());
    // The server looks at the file of keys by itself, in a moment.
    while native::Client::hello(server.address, Some(&second)).await.is_err() {}
    let mut client = native::Client::hello(server.address, Some(&first)).await.unwrap();
    client.say_hello(Some(&second)).await;
    assert!(matches!(client.hear().await, Ok(Kind::Welcome(_))));
    revoke(&first);
    while native::Client::hello(server.address, Some(&first)).await.is_ok() {}
    assert!(client.writes(&document).await, "it goes on with the second");
    revoke(&second);
    assert_eq!(client.hear().await.err(), Some(4009));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_under_the_peer_id_of_somebody_else() {
    let server = Server::start().await;
    let document = server.document().await;
    let mut owner = repo::Client::join(server.address, Some(&token("owner")), "laptop", &document)
        .await
        .unwrap();
    let other = repo::Client::join(server.address, Some(&token("editor")), "laptop", &document).await;
    assert_eq!(other.err(), Some(4010));
    assert!(owner.reads().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_too_much_is_told_when_to_come_back_and_loses_nothing_on_a_connection() {
    let rates = [("AETHERFLOW_ACCESS__RATES__OPERATIONS_PER_PRINCIPAL", "10")];
    let server = Server::with(&rates).await;
    let document = server.document().await;
    let path = format!("/v1/documents/{document}");
    let mut refused = None;
    for _ in 0..1000 {
        let answer = server.ask("GET", &path, Some(&token("viewer")), None).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(
        (refused.status, &refused.body["type"]),
        (429, &json!("urn:aetherflow:problem:rate-limited"))
    );
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    let other = server.ask("GET", &path, Some(&token("owner")), None).await;
    assert_eq!(other.status, 200, "others are not concerned");
    let mut by_native = native::Client::hello(server.address, Some(&token("editor")))
        .await
        .unwrap();
    for _ in 0..25 {
        assert!(by_native.writes(&document).await);
    }
}
