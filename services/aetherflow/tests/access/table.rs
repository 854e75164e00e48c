//! Every protocol, role and operation against the one table.

use aetherflow_schema::{
    access::{Operation, Role},
    id::DocumentId,
    native::wire::server_frame::Kind,
};
use automerge::{AutoCommit, ROOT, transaction::Transactable};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::{
    grpc::{self, Call},
    http, native, repo,
    repo::Said,
    server::{Server, claims, signed, token, within},
};

/// What can be asked for over sockets. There is no call to delete a document yet.
pub(crate) const OPERATIONS: [Operation; 5] = [
    Operation::Create,
    Operation::Read,
    Operation::Write,
    Operation::Presence,
    Operation::Administer,
];

/// Somebody who asks.
struct Subject {
    name: &'static str,
    token: Option<String>,
    role: Option<Role>,
    may_create: bool,
}

impl Subject {
    fn expected(&self, operation: Operation) -> bool {
        match operation {
            Operation::Create => self.may_create,
            operation => self.role.is_some_and(|role| role.allows(operation)),
        }
    }
}

async fn subjects(server: &Server, document: &DocumentId) -> Vec<Subject> {
    let path = format!("/v1/documents/{document}/links");
    let body = json!({"role": "viewer", "expiresIn": 600});
    let link = server.ask("POST", &path, Some(&token("owner")), Some(body)).await;
    assert_eq!(link.status, 201, "{}", link.body);
    let link = link.body["token"].as_str().unwrap().to_owned();
    let key = server.run(&["key", "create", "--name", "backend", "--grant", "*=owner"]);
    let minted = server.run(&[
        "token",
        "mint",
        "--subject",
        "minted",
        "--grant",
        &format!("{document}=editor"),
    ]);
    // The server looks at the file of keys by itself.
    let read = format!("/v1/documents/{document}");
    within("the new key counts", async {
        while server.ask("GET", &read, Some(&key), None).await.status != 200 {}
    })
    .await;
    let named = |name: &'static str, role, may_create| Subject {
        name,
        token: Some(token(name)),
        role,
        may_create,
    };
    let with = |name, token: Option<String>, role, may_create| Subject {
        name,
        token,
        role,
        may_create,
    };
    vec![
        named("owner", Some(Role::Owner), true),
        named("editor", Some(Role::Editor), true),
        named("viewer", Some(Role::Viewer), true),
        named("stranger", None, true),
        with("nobody", None, None, false),
        with("link", Some(link), Some(Role::Viewer), false),
        with("server", Some(key), Some(Role::Owner), true),
        with("minted", Some(minted), Some(Role::Editor), false),
    ]
}

/// Automerge makes no change of a value that is there already.
fn rand_number() -> i64 {
    i64::from(Uuid::new_v4().as_fields().0)
}

fn new_id() -> DocumentId {
    DocumentId::from_uuid(Uuid::new_v4())
}

fn file() -> Vec<u8> {
    let mut doc = AutoCommit::new();
    doc.put(ROOT, "imported", 1).unwrap();
    doc.save()
}

/// The status of the answer, for what HTTP can do.
pub(crate) async fn by_http(
    server: &Server,
    token: Option<&str>,
    operation: Operation,
    document: &DocumentId,
) -> Option<http::Answer> {
    let path = format!("/v1/documents/{document}");
    Some(match operation {
        Operation::Create => server.ask("POST", "/v1/documents", token, Some(json!({}))).await,
        Operation::Read => server.ask("GET", &path, token, None).await,
        Operation::Write => {
            within(
                "an import",
                http::send(server.address, &format!("{path}/import"), token, &file()),
            )
            .await
        }
        Operation::Administer => {
            let path = format!("{path}/permissions/somebody");
            server.ask("PUT", &path, token, Some(json!({"role": "viewer"}))).await
        }
        Operation::Presence | Operation::Delete => return None,
    })
}

async fn by_repo(server: &Server, subject: &Subject, operation: Operation, document: &DocumentId) -> Option<bool> {
    let token = subject.token.as_deref();
    let join = |document: DocumentId| async move {
        let name = format!("{} {operation:?}", subject.name);
        repo::Client::join(server.address, token, &name, &document)
            .await
            .unwrap()
    };
    Some(match operation {
        Operation::Create => {
            let mut client = join(new_id()).await;
            client.set(1);
            client.writes().await
        }
        Operation::Read => join(document.clone()).await.reads().await,
        Operation::Write => {
            let mut client = join(document.clone()).await;
            // Whoever may not read it edits all the same, and hides it in its first message.
            client.reads().await;
            client.set(rand_number());
            client.writes().await
        }
        Operation::Presence => {
            let owner = crate::server::token("owner");
            let owners = async |name: &str| {
                let mut client = repo::Client::join(server.address, Some(&owner), name, document)
                    .await
                    .unwrap();
                assert!(client.reads().await);
                client
            };
            let (mut observer, mut marker) = (owners("observer").await, owners("marker").await);
            let mut client = join(document.clone()).await;
            client.ephemeral(1).await;
            // Frames are acted on in order, so when this is answered that was.
            client.reads().await;
            marker.ephemeral(2).await;
            let mut heard = false;
            loop {
                match observer.hear().await {
                    Said::Ephemeral(1) => heard = true,
                    Said::Ephemeral(_) => break heard,
                    _ => {}
                }
            }
        }
        Operation::Administer | Operation::Delete => return None,
    })
}

async fn by_native(
    server: &Server,
    quantum: bool,
    subject: &Subject,
    operation: Operation,
    document: &DocumentId,
) -> Option<bool> {
    let token = subject.token.as_deref();
    let client = match quantum {
        true => native::Client::hello_over_quantum(server.address, &server.data(), token).await,
        false => native::Client::hello(server.address, token).await,
    };
    let mut client = client.unwrap();
    Some(match operation {
        Operation::Create => client.writes(&new_id()).await,
        Operation::Read => client.reads(document).await,
        Operation::Write => client.writes(document).await,
        Operation::Presence => {
            let owner = crate::server::token("owner");
            let mut observer = native::Client::hello(server.address, Some(&owner)).await.unwrap();
            observer.subscribe(document).await;
            // Those who were asked about before may be here still: presence is the session's.
            let own = [&b"subject"[..], new_id().as_bytes()].concat();
            let mark = [&b"marker"[..], new_id().as_bytes()].concat();
            client.presence(document, &own).await;
            let mut marker = native::Client::hello(server.address, Some(&owner)).await.unwrap();
            marker.presence(document, &mark).await;
            let mut heard = false;
            loop {
                match observer.hear().await.unwrap() {
                    Kind::PresenceEvent(event) if event.state == own => heard = true,
                    Kind::PresenceEvent(event) if event.state == mark => break heard,
                    _ => {}
                }
            }
        }
        Operation::Administer | Operation::Delete => return None,
    })
}

fn assert_no_secrets(server: &Server) {
    for secret in [token("owner").rsplit('.').next().unwrap(), "afk_"] {
        assert!(!server.log().contains(secret), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_allowed_that_the_table_does_not_allow() {
    let server = Server::start().await;
    let document = server.document().await;
    let mut cells = 0;
    for subject in subjects(&server, &document).await {
        for operation in OPERATIONS {
            let expected = subject.expected(operation);
            let before = server.changes(&document).await;
            let answer = by_http(&server, subject.token.as_deref(), operation, &document).await;
            let found = [
                (
                    "HTTP",
                    answer.map(|answer| {
                        assert!(
                            matches!(answer.status, 200 | 201 | 403),
                            "{}: {}",
                            answer.status,
                            answer.body
                        );
                        answer.status != 403
                    }),
                ),
                (
                    "automerge-repo",
                    Box::pin(by_repo(&server, &subject, operation, &document)).await,
                ),
                (
                    "native",
                    Box::pin(by_native(&server, false, &subject, operation, &document)).await,
                ),
                (
                    "native over Quantum",
                    Box::pin(by_native(&server, true, &subject, operation, &document)).await,
                ),
            ];
            for (protocol, found) in found {
                if let Some(found) = found {
                    assert_eq!(found, expected, "{protocol}: {} {operation:?}", subject.name);
                    cells += 1;
                }
            }
            let added = server.changes(&document).await - before;
            let writes = if operation == Operation::Write && expected {
                4
            } else {
                0
            };
            assert_eq!(added, writes, "{} {operation:?}: what is in the log", subject.name);
        }
    }
    assert_eq!(cells, 8 * (4 + 4 + 4 + 4));
    assert_no_secrets(&server);
}

/// What may be called over gRPC: everything by those who own everything, their own sessions by those who have a name.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_seen_and_ended_by_their_owners_and_by_those_who_own_everything() {
    let server = Server::start().await;
    let document = server.document().await;
    let mut cells = 0;
    let mut everything = claims("operator", 600);
    everything["aetherflow"] = json!({"grants": {"*": "owner"}});
    let mut subjects = subjects(&server, &document).await;
    subjects.push(Subject {
        name: "operator",
        token: Some(signed(&everything, 1)),
        role: None,
        may_create: true,
    });
    for subject in &subjects {
        let mut client = grpc::Client::new(&server, subject.token.as_deref()).await;
        let sessions = client.sessions(&server, &token("other")).await;
        let principal = match subject.name {
            "server" => "server:backend",
            name => name,
        };
        for call in Call::ALL {
            let expected = match subject.name {
                "server" | "operator" => true,
                "nobody" | "link" => false,
                _ => call.is_about_oneself(),
            };
            let answer = client.call(call, principal, "other", &sessions).await;
            let hidden =
                matches!(call, Call::GetAnothers | Call::DeleteAnothers) && !matches!(subject.name, "nobody" | "link");
            match answer {
                Ok(()) => assert!(expected, "{} {call:?}", subject.name),
                Err(status) if hidden => {
                    assert!(
                        !expected && status.code() == Code::NotFound,
                        "{} {call:?}: {status:?}",
                        subject.name
                    );
                }
                Err(status) => {
                    let denied = (Code::PermissionDenied, "not-allowed".to_owned());
                    assert!(
                        !expected && grpc::reason(&status) == denied,
                        "{} {call:?}: {status:?}",
                        subject.name
                    );
                }
            }
            cells += 1;
        }
    }
    assert_eq!(cells, 9 * 12);
    assert_no_secrets(&server);
}
