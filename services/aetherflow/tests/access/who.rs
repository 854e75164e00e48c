//! Who wrote what, when, and from where: over HTTP for each who may ask, and from the command line of a running server and of
//! one that was killed.

use serde_json::Value;

use crate::{
    http::Answer,
    native, repo,
    server::{Server, now_s, token, within},
};

/// Asks, again until where everything came from is written down: edits do not wait for that.
async fn ask(server: &Server, path: &str, token: &str) -> Answer {
    let asking = async {
        loop {
            let answer = server.ask("GET", path, Some(token), None).await;
            let known = |entry: &Value| entry["via"].is_string();
            let entries = answer.body["entries"].as_array();
            if entries.is_none_or(|entries| entries.iter().all(known)) {
                return answer;
            }
        }
    };
    within("where it came from", asking).await
}

fn vias(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let entries = answer.body["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["via"].as_str().unwrap()).collect()
}

/// The editor has written to the document over both protocols, the owner made it.
async fn edited(server: &Server) -> String {
    let document = server.document().await;
    let editor = token("editor");
    let mut by_native = native::Client::hello(server.address, Some(&editor)).await.unwrap();
    assert!(by_native.writes(&document).await);
    let mut by_repo = repo::Client::join(server.address, Some(&editor), "laptop", &document)
        .await
        .unwrap();
    assert!(by_repo.reads().await);
    by_repo.set(2);
    assert!(by_repo.writes().await);
    document.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_ask_about_themselves_owners_about_their_documents_and_servers_about_all() {
    let server = Server::start().await;
    let document = Box::pin(edited(&server)).await;
    let about = |name: &str| format!("/v1/principals/{name}/entries");
    let of_document = |name: &str| format!("/v1/principals/{name}/entries?document={document}");

    let own = ask(&server, &about("editor"), &token("editor")).await;
    assert_eq!(vias(&own), ["native-websocket", "automerge-repo"]);
    for entry in own.body["entries"].as_array().unwrap() {
        assert_eq!(
            (&entry["documentId"], &entry["kind"]),
            (&document.clone().into(), &"change".into())
        );
        assert_eq!(entry["whence"]["address"], "127.0.0.1");
        let written_s = entry["time"].as_u64().unwrap() / 1000;
        assert!(written_s <= now_s() && written_s + 60 > now_s());
    }
    assert_eq!(own.body["entries"][1]["whence"]["client"], "laptop");

    let owner = ask(&server, &of_document("editor"), &token("owner")).await;
    assert_eq!(vias(&owner).len(), 2);
    assert!(
        owner.body["entries"][0]["whence"].is_null(),
        "where they were is not the owner's business"
    );
    for (path, who) in [
        (about("editor"), "owner"),
        (of_document("editor"), "viewer"),
        (of_document("owner"), "editor"),
        (about("server:backend"), "editor"),
    ] {
        let refused = ask(&server, &path, &token(who)).await;
        assert_eq!(refused.status, 403, "{who} asked {path}: {}", refused.body);
    }
    let nobody = server.ask("GET", &about("anonymous"), None, None).await;
    assert_eq!(nobody.status, 403, "what nobody in particular wrote is nobody's own");

    let key = server.run(&["key", "create", "--name", "backend", "--grant", "*=owner"]);
    let viewing = server.run(&["key", "create", "--name", "monitor", "--grant", "*=viewer"]);
    let all = loop {
        // The server looks at its keys four times a second.
        let answer = ask(&server, &about("owner"), &key).await;
        if answer.status != 401 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    let kinds: Vec<_> = all.body["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["kind"])
        .collect();
    assert_eq!(kinds, ["created", "change", "grant", "grant"]);
    assert_eq!(vias(&all), ["http"; 4]);
    assert_eq!(ask(&server, &about("owner"), &viewing).await.status, 403);

    let first = ask(&server, &format!("{}?limit=1", about("editor")), &key).await;
    let next = first.body["next"].as_str().unwrap();
    let rest = ask(&server, &format!("{}?limit=1000&after={next}", about("editor")), &key).await;
    assert_eq!(
        (vias(&first), vias(&rest)),
        (vec!["native-websocket"], vec!["automerge-repo"])
    );
    assert!(rest.body["next"].is_null());

    let history = ask(
        &server,
        &format!("/v1/documents/{document}/history?principal=editor"),
        &token("viewer"),
    )
    .await;
    let changes = history.body["changes"].as_array().unwrap();
    assert_eq!((changes.len(), &history.body["total"]), (2, &3.into()));
    assert!(changes.iter().all(|change| change["principal"] == "editor"));
}

/// What `--json` printed.
fn rows(json: &str) -> Vec<Value> {
    json.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_the_same_of_a_running_server_and_of_one_that_was_killed() {
    let mut server = Server::start().await;
    let document = Box::pin(edited(&server)).await;
    let url = format!("http://{}", server.address);
    ask(&server, "/v1/principals/editor/entries", &token("editor")).await;
    let asked = server.run(&[
        "log",
        "who",
        "editor",
        "--json",
        "--url",
        &url,
        "--token",
        &token("editor"),
    ]);
    assert_eq!(rows(&asked).len(), 2);
    let refused = server.try_run(&["log", "who", "editor"]).unwrap_err();
    assert!(refused.contains("--url"), "{refused}");
    let refused = server
        .try_run(&["log", "who", "editor", "--url", &url, "--token", &token("viewer")])
        .unwrap_err();
    assert!(refused.contains("403"), "{refused}");

    server.kill();
    let after = server.run(&["log", "who", "editor", "--json"]);
    assert_eq!(rows(&after), rows(&asked), "the index and the book outlive a crash");
    let table = server.run(&["log", "who", "editor", "--document", &document, "--since", "1h"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    let columns = [
        "TIME",
        "DOCUMENT",
        "OFFSET",
        "KIND",
        "BYTES",
        "SESSION",
        "ADDRESS",
        "TRANSPORT",
    ];
    assert!(lines[0].split_whitespace().eq(columns), "{table}");
    assert!(lines[1].ends_with("127.0.0.1  native-websocket") && lines[2].ends_with("127.0.0.1  automerge-repo"));
    let at = lines[0].find("DOCUMENT").unwrap();
    assert!(
        lines[1..].iter().all(|line| line[at..].starts_with(&document)),
        "{table}"
    );
    assert_eq!(server.run(&["log", "who", "editor", "--until", "1h", "--json"]), "");
    assert_eq!(server.run(&["log", "who", "nobody", "--json"]), "");
    assert_eq!(
        rows(&server.run(&["log", "who", "editor", "--limit", "1", "--json"])).len(),
        1
    );
}
