//! No secret is printed: a server that logs everything there is to log is given marked secrets in every place where it takes
//! one, good and bad; then all that it has said is searched for them.

use std::{fmt::Write as _, fs, time::Duration};

use aetherflow_access::{key::Key, token::mint};
use aetherflow_schema::native::wire::server_frame::Kind;
use bytes::Bytes;
use serde_json::json;
use tokio::time::sleep;
use tokio_tungstenite::{connect_async, tungstenite::client::IntoClientRequest};

use crate::{
    http, native, repo,
    server::{Server, claims, within},
};

const SHARED: &str = "MARKED-SHARED-SECRET-0123456789abcdef";
const SIGNING: &str = "MARKED-SIGNING-KEY-fedcba9876543210";
const NONSENSE: &str = "MARKED-NO-TOKEN-AT-ALL-31415926535";

/// What must not be seen, and what it is.
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn keep(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 16, "{what} is too short to be searched for");
        self.0.push((what.to_owned(), secret.to_lowercase()));
    }

    /// In the forms in which bytes are printed.
    fn keep_bytes(&mut self, what: &str, secret: &[u8]) {
        let hex = secret.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.keep(what, &hex);
        let numbers = format!("{secret:?}");
        self.keep(what, numbers.trim_matches(['[', ']']));
        let escaped = format!("{:?}", Bytes::copy_from_slice(secret));
        self.keep(what, &escaped[2..escaped.len() - 1]);
    }

    /// The signature is what must not be known; the rest names its holder.
    fn keep_token(&mut self, what: &str, token: &str) {
        self.keep(what, token.rsplit_once('.').unwrap().1);
    }

    fn assert_unseen_in(&self, place: &str, text: &str) {
        let text = text.to_lowercase();
        for (what, secret) in &self.0 {
            if let Some(at) = text.find(secret) {
                let start = text.floor_char_boundary(at.saturating_sub(200));
                panic!("{what} is seen in {place}: {}", &text[start..at]);
            }
        }
    }
}

fn signed(name: &str, secret: &str) -> String {
    let key = Key::secret(secret.as_bytes(), None).unwrap();
    mint(&key, &serde_json::from_value(claims(name, 600)).unwrap()).unwrap()
}

/// Opens a WebSocket with the token as a subprotocol; whether that went well.
async fn with_subprotocol(server: &Server, path: &str, token: &str) -> bool {
    let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
    let protocol = format!("bearer.{token}").parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    within("an answer", connect_async(request)).await.is_ok()
}

/// Shows a token, or what is none, in every place for one. What the server answers is kept.
async fn show_everywhere(server: &Server, token: &str, good: bool, answers: &mut String) {
    let document = "2j9knpCseyhnK8izDmLpGP5WMdZQ";
    for (method, path, body) in [
        ("GET", format!("/v1/documents/{document}"), None),
        ("GET", format!("/v1/documents/{document}?token={token}"), None),
        ("GET", format!("/v1/documents?token={token}"), None),
        ("GET", format!("/v1/documents/{token}"), None),
        ("POST", "/v1/documents".to_owned(), Some(json!({"a": 1}))),
        ("GET", format!("/nowhere?token={token}"), None),
    ] {
        let answer = server.ask(method, &path, Some(token), body).await;
        assert!(good || answer.status != 201, "{path}: {}", answer.status);
        let _ = writeln!(answers, "{}", answer.text);
    }
    for path in ["/", "/v1/sync"] {
        assert_eq!(
            repo::open(server.address, path, Some(token)).await.is_ok(),
            good,
            "{path}"
        );
        assert_eq!(with_subprotocol(server, path, token).await, good, "{path}");
    }
    assert_eq!(native::Client::hello(server.address, Some(token)).await.is_ok(), good);
    let quantum = native::Client::hello_over_quantum(server.address, &server.data(), Some(token)).await;
    assert_eq!(quantum.is_ok(), good);
}

/// Leaves and comes back, with its resume token and with one that is not.
async fn resume(server: &Server, token: &str, secrets: &mut Secrets) {
    let mut resume_token = Bytes::new();
    for round in 0..3 {
        let mut client = native::Client::silent(server.address).await;
        client.say_hello_again(Some(token), resume_token.clone()).await;
        let Ok(Kind::Welcome(welcome)) = client.hear().await else {
            panic!("no welcome");
        };
        assert!(!welcome.resume_token.is_empty());
        // Its first half is the session's id, which is no secret.
        secrets.keep_bytes("a resume token", &welcome.resume_token[16..]);
        resume_token = welcome.resume_token;
        if round == 1 {
            let mut forged = resume_token.to_vec();
            forged[47] ^= 1;
            secrets.keep_bytes("a forged resume token", &forged[16..]);
            resume_token = forged.into();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_seen_in_what_the_server_says() {
    let keys = tempfile::tempdir().unwrap();
    let (shared, signing) = (keys.path().join("shared"), keys.path().join("signing"));
    fs::write(&shared, SHARED).unwrap();
    fs::write(&signing, SIGNING).unwrap();
    let variables = [
        ("AETHERFLOW_LOGS__FILTER", "trace"),
        ("AETHERFLOW_ACCESS__KEYS", shared.to_str().unwrap()),
        ("AETHERFLOW_ACCESS__SIGNING_KEY", signing.to_str().unwrap()),
        ("AETHERFLOW_ACCESS__ANONYMOUS", "false"),
    ];
    let server = Server::with(&variables).await;
    let mut secrets = Secrets(Vec::new());
    secrets.keep("the shared secret", SHARED);
    secrets.keep("the signing key", SIGNING);
    secrets.keep("what is no token", NONSENSE);
    secrets.keep_bytes("the shared secret", SHARED.as_bytes());
    secrets.keep_bytes("the signing key", SIGNING.as_bytes());

    let application = signed("ada", SHARED);
    let own = signed("grace", SIGNING);
    let forged = signed("eve", "MARKED-SOMEBODY-ELSES-KEY-2718281828");
    let api_key = server.run(&["key", "create", "--name", "importer", "--grant", "*=owner"]);
    let wrong_key = format!("{}{}", &api_key[..api_key.len() - 8], "01234567");
    secrets.keep_token("a token of the application's", &application);
    secrets.keep_token("a token of the server's", &own);
    secrets.keep_token("a forged token", &forged);
    for key in [&api_key, &wrong_key] {
        secrets.keep("an API key", key.rsplit_once('_').unwrap().1);
    }

    let mut answers = String::new();
    show_everywhere(&server, &application, true, &mut answers).await;
    let known = async {
        while server.ask("GET", "/v1/documents", Some(&api_key), None).await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within("the API key is known", known).await;
    show_everywhere(&server, &api_key, true, &mut answers).await;
    for bad in [&*forged, &wrong_key, NONSENSE] {
        show_everywhere(&server, bad, false, &mut answers).await;
    }
    resume(&server, &application, &mut secrets).await;
    let metrics = http::ask(
        server.admin,
        "GET",
        &format!("/metrics?token={application}"),
        None,
        None,
    )
    .await;
    assert_eq!(metrics.status, 200);

    let log = server.log();
    for said in ["DEBUG", "not authenticated", "welcome", "not resumed"] {
        assert!(log.contains(said), "everything is logged, and {said:?} is not");
    }
    secrets.assert_unseen_in("the log", &log);
    secrets.assert_unseen_in("the metrics", &metrics.text);
    secrets.assert_unseen_in("the configuration", &server.run_with(&variables, &["--dump-config"]));
    secrets.assert_unseen_in("the list of keys", &server.run(&["key", "list"]));
    let kept = fs::read_to_string(server.data().join("access/keys.json")).unwrap();
    secrets.assert_unseen_in("the file of keys", &kept);
    secrets.assert_unseen_in("an answer", &answers);
}
