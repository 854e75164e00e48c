//! Clients of one server, and waiting for what they are to come to.

use std::{collections::BTreeSet, time::Duration};

use aetherflow_client::{
    Backoff, Carrier, ChangeHash, Client, Document, DocumentId, Fallback, Fingerprint, Link, Options, Receipt, Trust,
    automerge::{Automerge, ROOT, ReadDoc, transaction::Transactable},
};
use aetherflow_loadtest::server::{Server, ServerOptions};
use quantum::Identity;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

pub(crate) const WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn start(dir: &tempfile::TempDir) -> Server {
    Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap()
}

pub(crate) fn document() -> DocumentId {
    DocumentId::from_uuid(Uuid::new_v4())
}

pub(crate) fn fingerprint(server: &Server) -> Fingerprint {
    let folder = server.options().data_dir.join("quantum");
    let identity = Identity::from_pem_files(&folder.join("certificate.pem"), &folder.join("key.pem"));
    identity.unwrap().fingerprint()
}

/// Comes back quickly.
pub(crate) fn impatient() -> Options {
    Options {
        backoff: Backoff {
            first: Duration::from_millis(20),
            max: Duration::from_millis(500),
        },
        ..Options::default()
    }
}

pub(crate) async fn over_quantum(server: &Server, options: Options) -> Client {
    let options = Options {
        trust: Trust::Fingerprints(vec![fingerprint(server)]),
        fallback: Fallback::None,
        ..options
    };
    Client::connect(&format!("quantum://{}", server.address()), options)
        .await
        .unwrap()
}

pub(crate) async fn over_websocket(server: &Server, options: Options) -> Client {
    Client::connect(&format!("ws://{}", server.address()), options)
        .await
        .unwrap()
}

/// Waits for something that is watched.
pub(crate) async fn until<T: Clone>(mut watched: watch::Receiver<T>, what: &str, is_so: impl FnMut(&T) -> bool) -> T {
    let waited = timeout(WITHIN, watched.wait_for(is_so)).await;
    waited
        .unwrap_or_else(|_| panic!("not in time: {what}"))
        .unwrap()
        .clone()
}

pub(crate) async fn online(client: &Client) -> Carrier {
    match until(client.status(), "online", |status| status.link.is_online())
        .await
        .link
    {
        Link::Online { carrier, .. } => carrier,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn has(document: &Document, what: &str, is_so: impl Fn(&Automerge) -> bool) {
    until(document.changed(), what, |_| document.with(&is_so)).await;
}

/// One edit, by a key that nobody else has.
pub(crate) async fn put(document: &Document, key: impl Into<String>) -> Receipt<()> {
    let key = key.into();
    document.change(|tx| tx.put(ROOT, key, 1)).await.unwrap()
}

pub(crate) fn keys(document: &Automerge) -> BTreeSet<String> {
    document.keys(ROOT).collect()
}

pub(crate) fn is_stored(document: &Automerge, hash: &ChangeHash) -> bool {
    let hash = aetherflow_client::automerge::ChangeHash(hash.0);
    document.get_change_meta_by_hash(&hash).is_some()
}
