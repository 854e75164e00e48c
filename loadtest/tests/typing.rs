//! A whole typing session, character by character, through the real server.
//!
//! Needs `AETHERFLOW_BIN`, and the trace: without it there is nothing to replay, which is said and is not a failure.

#![allow(clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aetherflow_loadtest::{
    client::Client,
    replica::Replica,
    server::{Server, ServerOptions},
    trace::{self, Patch, Trace},
};
use aetherflow_schema::id::DocumentId;
use automerge::transaction::Transactable;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(120);

/// Changes typed before the connection gets its turn: a burst that no person types, and that keeps the test short.
const BURST: usize = 64;

/// Bursts that may be waiting for their acknowledgement. Typing without any bound would turn most of the session into
/// one upload of a finished document.
const PIPELINED: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paper_typed_character_by_character_survives_exactly() {
    let path = trace::directory().map(|dir| dir.join("automerge-paper.json.gz"));
    let Some(path) = path.filter(|path| path.is_file()) else {
        println!(
            "skipped: there is no automerge-paper.json.gz; {} names its directory",
            trace::TRACES
        );
        return;
    };
    let session = Trace::read(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap();
    let document = DocumentId::from_uuid(Uuid::new_v4());

    let started = Instant::now();
    let (content, text) = session.new_document().unwrap();
    let author = Client::start("author", server.address(), [(document.clone(), Replica::new(content))]);
    author.until_connected(true, WITHIN).await.unwrap();
    let mut waiting = VecDeque::new();
    for burst in session.patches.chunks(BURST) {
        let typed = author.edit_all(&document, |replica| {
            for Patch(at, delete, insert) in burst {
                replica.edit(|content| content.splice_text(&text, *at, *delete, insert).unwrap());
            }
            replica.heads()[0]
        });
        waiting.push_back(typed);
        if waiting.len() > PIPELINED
            && let Some(oldest) = waiting.pop_front()
        {
            let acknowledged = |replica: &mut Replica| replica.acknowledged().contains(&oldest);
            author
                .until(&document, "what was typed is acknowledged", WITHIN, acknowledged)
                .await
                .unwrap();
        }
    }
    let typed = started.elapsed();
    author
        .until(&document, "all is acknowledged", WITHIN, Replica::is_saved)
        .await
        .unwrap();
    let saved = started.elapsed();
    assert_eq!(author.connections(), 1, "{}", author.last_ending());
    let heads = author.with(&document, Replica::heads);
    let changes = session.patches.len() + 1;
    assert_eq!(author.with(&document, Replica::changes), changes);

    let loaded = load(&server, &document, &session, &heads).await;
    let rss = server.resident_bytes().unwrap() >> 20;
    let options = server.kill().await.unwrap();
    server = Server::start(options).await.unwrap();
    let reloaded = load(&server, &document, &session, &heads).await;
    println!(
        "{changes} changes: typed in {typed:.1?}, all acknowledged after {saved:.1?} ({:.0}/s); loaded by a second client \
         in {loaded:.1?}; server restarted in {:.1?} after SIGKILL and loaded from again in {reloaded:.1?}; server's \
         memory {rss} MiB",
        changes as f64 / saved.as_secs_f64(),
        server.startup,
    );
    assert_eq!(server.verify().await.unwrap().0, Vec::<String>::new());
}

/// A client that has nothing loads the document, and must have every change and the recorded text.
async fn load(server: &Server, document: &DocumentId, session: &Trace, heads: &[automerge::ChangeHash]) -> Duration {
    let started = Instant::now();
    let name = format!("reader-{:016x}", rand::random::<u64>());
    let reader = Client::reader(name, server.address(), [document]);
    reader
        .until(document, "loading", WITHIN, Replica::is_in_sync)
        .await
        .unwrap();
    let took = started.elapsed();
    reader.with(document, |replica| {
        assert_eq!(replica.heads(), heads);
        let text = trace::text_of(replica.document());
        assert!(
            text.as_ref() == Some(&session.end),
            "the text differs from what was recorded"
        );
    });
    took
}
