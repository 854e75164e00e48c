//! Who sees and ends whose sessions, and whose presence ends with what.

use aetherflow_schema::id::DocumentId;
use serde_json::{Value, json};

use crate::{
    native::Client,
    server::{Server, claims, now_s, signed, token, within},
};

async fn sessions(server: &Server, path: &str, token: &str) -> Vec<Value> {
    let answer = server.ask("GET", path, Some(token), None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["sessions"].as_array().unwrap().clone()
}

/// The principals present on a document.
async fn present(server: &Server, document: &DocumentId) -> Vec<String> {
    let path = format!("/v1/documents/{document}/presence");
    let answer = server.ask("GET", &path, Some(&token("owner")), None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let present = answer.body["present"].as_array().unwrap();
    present
        .iter()
        .map(|one| one["principal"].as_str().unwrap().to_owned())
        .collect()
}

/// A key with this grant, once the server knows it.
async fn key(server: &Server, name: &str, grant: &str) -> String {
    let key = server.run(&["key", "create", "--name", name, "--grant", grant]);
    let known = async {
        while server.ask("GET", "/v1/access", Some(&key), None).await.status != 200 {
            // The server looks at the file of keys by itself, in a moment.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the key to be known", known).await;
    key
}

async fn until_nobody_is_present(server: &Server, document: &DocumentId) {
    let gone = async {
        while !present(server, document).await.is_empty() {
            // Between two looks; nothing else tells.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("everybody to be gone", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_see_their_own_sessions_and_servers_for_everything_all() {
    let server = Server::start().await;
    let mut ada = Client::hello(server.address, Some(&token("ada"))).await.unwrap();
    let _eve = Client::hello(server.address, Some(&token("eve"))).await.unwrap();
    let all = key(&server, "backend", "*=owner").await;
    let limited = key(&server, "reader", "*=viewer").await;
    let mut of = Vec::new();
    for name in ["ada", "eve"] {
        let own = sessions(&server, "/v1/sessions", &token(name)).await;
        assert_eq!((own.len(), &own[0]["principal"]), (1, &json!(name)));
        of.push(format!("/v1/sessions/{}", own[0]["session"].as_str().unwrap()));
    }
    assert_eq!(sessions(&server, "/v1/sessions", &limited).await, [] as [Value; 0]);
    let others = server
        .ask("GET", "/v1/sessions?principal=eve", Some(&token("ada")), None)
        .await;
    assert_eq!(others.status, 403);
    for method in ["GET", "DELETE"] {
        assert_eq!(server.ask(method, &of[1], Some(&token("ada")), None).await.status, 404);
        assert_eq!(server.ask(method, &of[1], None, None).await.status, 403);
    }
    assert_eq!(server.ask("GET", &of[0], Some(&token("ada")), None).await.status, 200);

    assert_eq!(sessions(&server, "/v1/sessions", &all).await.len(), 2);
    assert_eq!(sessions(&server, "/v1/sessions?principal=eve", &all).await.len(), 1);
    assert_eq!(server.ask("DELETE", &of[0], Some(&all), None).await.status, 204);
    assert_eq!(ada.hear().await.unwrap_err(), 4014);
    assert_eq!(sessions(&server, "/v1/sessions", &all).await.len(), 1);
    // One's own may be ended, too.
    assert_eq!(
        server.ask("DELETE", &of[1], Some(&token("eve")), None).await.status,
        204
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_ends_with_the_permission_the_key_and_the_token() {
    let server = Server::start().await;
    let document = server.document().await;

    // Of a session that is not connected.
    let mut editor = Client::hello(server.address, Some(&token("editor"))).await.unwrap();
    editor.presence(&document, b"here").await;
    drop(editor);
    assert_eq!(present(&server, &document).await, ["editor"]);
    let path = format!("/v1/documents/{document}/permissions/editor");
    let revoked = server.ask("DELETE", &path, Some(&token("owner")), None).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(present(&server, &document).await, [""; 0]);

    let key = key(&server, "backend", "*=viewer").await;
    let mut backend = Client::hello(server.address, Some(&key)).await.unwrap();
    backend.presence(&document, b"here").await;
    assert_eq!(present(&server, &document).await, ["server:backend"]);
    let id = key.split('_').nth(1).unwrap();
    server.run(&["key", "revoke", id]);
    until_nobody_is_present(&server, &document).await;

    let claims = claims("viewer", 6);
    let short = signed(&claims, 1);
    let mut viewer = Client::hello(server.address, Some(&short)).await.unwrap();
    viewer.presence(&document, b"here").await;
    drop(viewer);
    until_nobody_is_present(&server, &document).await;
    assert!(now_s() >= claims["exp"].as_u64().unwrap());
}
