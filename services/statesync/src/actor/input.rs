//! What can be asked of a document.

use aetherflow_schema::{
    access::Author,
    document_log::{SnapshotAt, Submitted},
    documents::{At, DocumentError, DocumentJson, HistoryPage, Peer, PeerFrame, SyncFrame, Written},
    id::{ChangeHash, StorageId},
    locks::Fence,
};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::peers::SessionKey;

/// A request to a document, with the way back.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, DocumentError>>;

/// What can be asked of a document.
pub(crate) enum Input {
    Attach(SessionKey, Peer),
    Detach(SessionKey),
    Frame(SessionKey, Author, SyncFrame),
    /// From a peer that may only read.
    Listen(SessionKey, Author, SyncFrame),
    Announce(SessionKey, Vec<StorageId>),
    Create(Author, Option<serde_json::Value>, Answer<Written>),
    Import(Author, Bytes, Option<Fence>, Answer<Written>),
    Read(At, Answer<DocumentJson>),
    History(u64, usize, Answer<HistoryPage>),
    Export(At, Answer<Bytes>),
    Release(Answer<()>),
    Submit(Author, Vec<Bytes>, Option<Fence>, Answer<Submitted>),
    /// For somebody who has these heads, or nothing.
    Snapshot(Option<Vec<ChangeHash>>, Answer<SnapshotAt>),
    /// The log takes writes again.
    Resumed,
}

/// Answers an input with an error.
pub(super) fn fail(input: Input, error: DocumentError) {
    match input {
        Input::Create(_, _, answer) | Input::Import(_, _, _, answer) => {
            let _ = answer.send(Err(error));
        }
        Input::Read(_, answer) => {
            let _ = answer.send(Err(error));
        }
        Input::History(_, _, answer) => {
            let _ = answer.send(Err(error));
        }
        Input::Export(_, answer) => {
            let _ = answer.send(Err(error));
        }
        Input::Release(answer) => {
            let _ = answer.send(Err(error));
        }
        Input::Submit(_, _, _, answer) => {
            let _ = answer.send(Err(error));
        }
        Input::Snapshot(_, answer) => {
            let _ = answer.send(Err(error));
        }
        Input::Attach(_, peer) => {
            let document = peer.grant.document().clone();
            let reason = error.to_string();
            peer.sink.deliver(PeerFrame::Refused { document, reason });
        }
        Input::Detach(_) | Input::Frame(..) | Input::Listen(..) | Input::Announce(..) | Input::Resumed => {}
    }
}
