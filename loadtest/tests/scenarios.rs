//! What applications do with a document, in every protocol and on every transport: the scenarios that the unmodified npm
//! clients go through, with clients that can be cut and held at will.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use aetherflow_loadtest::{
    client::{Client, ClientOptions, Dialect},
    edits,
    native::Transport,
    replica::Replica,
    server::{Server, ServerOptions},
};
use aetherflow_schema::id::DocumentId;
use automerge::{AutoCommit, ObjType, ROOT, ScalarValue, transaction::Transactable};
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;

macro_rules! in_every_dialect {
    ($($test:ident)*) => { in_every_dialect! { @modules [$($test)*]
        automerge_repo = super::Dialect::Repo;
        native_on_websocket = super::Dialect::Native(super::Transport::WebSocket);
        native_on_quantum = super::Dialect::Native(super::Transport::Quantum);
    } };
    (@modules $tests:tt $($module:ident = $dialect:expr;)*) => { $( in_every_dialect! { @module $tests $module $dialect } )* };
    (@module [$($test:ident)*] $module:ident $dialect:expr) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(super::Place::new($dialect).await).await;
                }
            )*
        }
    };
}

in_every_dialect! {
    two_clients_converge
    a_connection_cut_again_and_again_loses_nothing
    what_is_saved_survives_a_kill
    twenty_editors_end_equal
    offline_edits_of_both_sides_merge
    two_hundred_documents_of_one_client
    values_of_every_kind_arrive_as_they_were
    a_document_that_appears_later_reaches_who_asked_before
}

const WITHIN: Duration = Duration::from_secs(60);

/// A server and a way to speak to it.
struct Place {
    server: Server,
    dialect: Dialect,
    /// Its data; removed at the end.
    _dir: tempfile::TempDir,
}

impl Place {
    async fn new(dialect: Dialect) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions::new(dir.path()).unwrap();
        Self {
            server: Server::start(options).await.unwrap(),
            dialect,
            _dir: dir,
        }
    }

    fn options(&self, edit_interval: Duration) -> ClientOptions {
        ClientOptions {
            dialect: self.dialect,
            edit_interval,
            ..ClientOptions::from(self.server.endpoint().unwrap())
        }
    }

    fn editor(&self, name: &str, document: &DocumentId) -> Client {
        let replica = Replica::new(edits::base().unwrap());
        let options = self.options(Duration::from_millis(5));
        Client::start(name, options, [(document.clone(), replica)])
    }

    fn reader(&self, name: &str, document: &DocumentId) -> Client {
        Client::reader(name, self.options(Duration::from_millis(5)), [document])
    }
}

fn document() -> DocumentId {
    DocumentId::from_uuid(Uuid::new_v4())
}

async fn saved(client: &Client, id: &DocumentId) {
    client
        .until(id, "everything is saved", WITHIN, Replica::is_saved)
        .await
        .unwrap();
}

/// Waits until all have the union of what they have, and compares.
async fn equal(clients: &[&Client], id: &DocumentId) {
    let mut union = Vec::new();
    for client in clients {
        union.extend(client.with(id, Replica::heads));
    }
    for client in clients {
        let complete = |replica: &mut Replica| union.iter().all(|head| replica.has(head));
        client
            .until(id, "everything is everywhere", WITHIN, complete)
            .await
            .unwrap();
    }
    let state = |client: &&Client| client.with(id, |replica| (replica.heads(), replica.content()));
    let first = state(&clients[0]);
    for client in &clients[1..] {
        assert!(state(client) == first, "{} differs", client.name());
    }
}

async fn two_clients_converge(place: Place) {
    let id = document();
    let mut rng = StdRng::seed_from_u64(1);
    let (one, other) = (place.editor("one", &id), place.editor("other", &id));
    for _ in 0..100 {
        for client in [&one, &other] {
            client.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
        }
        tokio::task::yield_now().await;
    }
    equal(&[&one, &other], &id).await;
    assert_eq!(one.with(&id, Replica::changes), 201);
    let late = place.reader("late", &id);
    equal(&[&one, &late], &id).await;
}

async fn a_connection_cut_again_and_again_loses_nothing(place: Place) {
    let id = document();
    let mut rng = StdRng::seed_from_u64(2);
    let (one, other) = (place.editor("one", &id), place.editor("other", &id));
    for _ in 0..12 {
        one.until_connected(true, WITHIN).await.unwrap();
        for _ in 0..rng.random_range(5..40) {
            one.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
            other.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        one.cut();
        one.until_connected(false, Duration::from_millis(50)).await.ok();
    }
    equal(&[&one, &other], &id).await;
    saved(&one, &id).await;
    assert!(one.connections() >= 12, "{}", one.connections());
}

async fn what_is_saved_survives_a_kill(mut place: Place) {
    let id = document();
    let mut rng = StdRng::seed_from_u64(3);
    let writer = place.editor("writer", &id);
    for _ in 0..200 {
        writer.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
    }
    saved(&writer, &id).await;
    writer.hold();
    let heads = writer.with(&id, Replica::heads);
    let options = place.server.kill().await.unwrap();
    place.server = Server::start(options).await.unwrap();
    let late = place.reader("late", &id);
    late.until(&id, "what was saved", WITHIN, |replica| replica.heads() == heads)
        .await
        .unwrap();
}

async fn twenty_editors_end_equal(place: Place) {
    let id = document();
    let editors: Vec<_> = (0..20)
        .map(|n| Arc::new(place.editor(&format!("editor {n}"), &id)))
        .collect();
    let working: Vec<_> = editors
        .iter()
        .enumerate()
        .map(|(n, editor)| {
            let (editor, id) = (editor.clone(), id.clone());
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(n as u64);
                for _ in 0..15 {
                    editor.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
                    tokio::time::sleep(Duration::from_millis(rng.random_range(0..10))).await;
                }
            })
        })
        .collect();
    for task in working {
        task.await.unwrap();
    }
    let editors: Vec<&Client> = editors.iter().map(Arc::as_ref).collect();
    equal(&editors, &id).await;
    assert_eq!(editors[0].with(&id, Replica::changes), 1 + 20 * 15);
}

async fn offline_edits_of_both_sides_merge(place: Place) {
    let id = document();
    let mut rng = StdRng::seed_from_u64(4);
    let (one, other) = (place.editor("one", &id), place.editor("other", &id));
    saved(&one, &id).await;
    saved(&other, &id).await;
    for client in [&one, &other] {
        client.hold();
        client.cut();
        client.until_connected(false, WITHIN).await.unwrap();
        for _ in 0..50 {
            client.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
        }
    }
    assert_ne!(one.with(&id, Replica::heads), other.with(&id, Replica::heads));
    one.release();
    saved(&one, &id).await;
    other.release();
    equal(&[&one, &other], &id).await;
    assert_eq!(one.with(&id, Replica::changes), 101);
}

async fn two_hundred_documents_of_one_client(place: Place) {
    let ids: Vec<_> = (0..200).map(|_| document()).collect();
    let mut rng = StdRng::seed_from_u64(5);
    let replicas = ids.iter().map(|id| {
        let mut replica = Replica::new(edits::base().unwrap());
        replica
            .edit(|content| edits::random(content, &mut rng))
            .expect("the base is there");
        (id.clone(), replica)
    });
    let writer = Client::start("writer", place.options(Duration::ZERO), replicas);
    for id in &ids {
        saved(&writer, id).await;
    }
    let reader = Client::reader("reader", place.options(Duration::ZERO), &ids);
    for id in &ids {
        equal(&[&writer, &reader], id).await;
    }
}

async fn values_of_every_kind_arrive_as_they_were(place: Place) {
    let id = document();
    let writer = place.editor("writer", &id);
    writer
        .edit(&id, |content| {
            content.put(ROOT, "bytes", vec![0_u8, 255, 10, 0])?;
            content.put(ROOT, "big", vec![7_u8; 300_000])?;
            content.put(ROOT, "time", ScalarValue::Timestamp(1_700_000_000_123))?;
            content.put(ROOT, "unsigned", u64::MAX)?;
            content.put(ROOT, "negative", i64::MIN)?;
            content.put(ROOT, "float", -0.5_f64)?;
            content.put(ROOT, "null", ScalarValue::Null)?;
            let mut inner = content.put_object(ROOT, "deep", ObjType::Map)?;
            for depth in 0..100 {
                inner = content.put_object(&inner, format!("{depth}"), ObjType::Map)?;
            }
            content.put(&inner, "text", "漢🦀")
        })
        .unwrap();
    saved(&writer, &id).await;
    let reader = place.reader("reader", &id);
    equal(&[&writer, &reader], &id).await;
}

async fn a_document_that_appears_later_reaches_who_asked_before(place: Place) {
    let id = document();
    let early = place.reader("early", &id);
    early.until_connected(true, WITHIN).await.unwrap();
    if place.dialect == Dialect::Repo {
        early
            .until(&id, "it is unavailable", WITHIN, |replica| replica.is_unavailable())
            .await
            .unwrap();
    }
    let writer = Client::start(
        "writer",
        place.options(Duration::ZERO),
        [(id.clone(), Replica::new(AutoCommit::new()))],
    );
    writer.edit(&id, |content| content.put(ROOT, "here", true)).unwrap();
    equal(&[&writer, &early], &id).await;
}
