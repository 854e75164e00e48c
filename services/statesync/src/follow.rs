//! Following a document's entries as they are committed.
//!
//! **Owns** the way of a follower from the place it starts from to the present: a snapshot from the document's actor if it
//! wants one, then history, read from the log in pages and only as fast as the follower takes it, then the `hub`, which
//! tells everybody what is new as soon as it is committed. A follower that has no room for what is new goes back to
//! reading history.
//! **Invariant**: a follower is told every entry after its start once and in order, whatever is appended meanwhile. It is
//! entered at the hub first, which from then on keeps what is new for it; then history is read up to where the hub stood;
//! then what was kept is told, but for what history had already.
//! **On failure** to read the log the follower is told so, and is one no longer. Nothing here needs a materialized
//! document, except a snapshot for somebody who has some of it.

mod hub;
mod page;

use std::sync::Arc;

use aetherflow_oplog::StorageError;
use aetherflow_schema::{
    document_log::{FollowSink, Following, Offered, Ops, SnapshotAt, Told},
    documents::DocumentError,
    id::{ChangeHash, DocumentId, Offset},
    native::Start,
};
use tokio::task;

use self::hub::{Settled, Subscriber};
pub(crate) use self::{hub::Hub, page::page};
use crate::{actor::Input, service::Statesync};

/// Payload bytes of history that are read at once.
const PAGE_BYTES: usize = 256 << 10;

/// Ends a follower when dropped.
struct Followed {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
}

impl Following for Followed {}

impl Drop for Followed {
    fn drop(&mut self) {
        self.subscriber.end();
        self.hub.leave(&self.subscriber);
    }
}

/// Starts to tell `sink` of a document.
pub(crate) fn start(
    statesync: Statesync,
    document: DocumentId,
    start: Start,
    sink: Arc<dyn FollowSink>,
) -> Box<dyn Following> {
    let hub = statesync.hub().clone();
    let subscriber = hub.subscriber(document, sink);
    let followed = Followed {
        hub: hub.clone(),
        subscriber: subscriber.clone(),
    };
    task::spawn(Box::pin(async move {
        match begin(&statesync, &subscriber, start).await {
            Ok(Some(covered)) => catch_up(hub, subscriber, covered).await,
            Ok(None) => {}
            Err(error) => subscriber.fail(error),
        }
    }));
    Box::new(followed)
}

/// Tells what comes before the entries. The offset up to which nothing more is to be told; `None` when nobody listens.
async fn begin(statesync: &Statesync, subscriber: &Subscriber, start: Start) -> Result<Option<Offset>, DocumentError> {
    let snapshot = match start {
        Start::After(offset) => {
            let committed = statesync.log().committed(subscriber.partition());
            if offset > committed {
                let detail = format!("offset {offset} is after {committed}, the newest of its partition");
                return Err(DocumentError::NoSuchPlace(detail));
            }
            return Ok(Some(offset));
        }
        Start::Snapshot => snapshot(statesync, subscriber.document(), None).await?,
        Start::AfterHeads(heads) => snapshot(statesync, subscriber.document(), Some(heads)).await?,
    };
    let offset = snapshot.offset;
    let bytes = snapshot.bytes.len() + 32 * snapshot.heads.len();
    let snapshot = Told::Snapshot(snapshot);
    loop {
        match tell(subscriber, bytes, snapshot.clone()).await {
            Offered::Taken => return Ok(Some(offset)),
            Offered::Full => task::yield_now().await,
            Offered::Gone => return Ok(None),
        }
    }
}

async fn snapshot(
    statesync: &Statesync,
    document: &DocumentId,
    since: Option<Vec<ChangeHash>>,
) -> Result<SnapshotAt, DocumentError> {
    match statesync.must_exist(document).await {
        Ok(()) => statesync.ask(document, |answer| Input::Snapshot(since, answer)).await,
        Err(DocumentError::NotFound) => Ok(SnapshotAt {
            offset: Offset::ZERO,
            bytes: Default::default(),
            heads: Vec::new(),
        }),
        Err(error) => Err(error),
    }
}

/// Leads a follower that was told everything up to `covered` to the present, where the hub goes on telling it.
async fn catch_up(hub: Arc<Hub>, subscriber: Arc<Subscriber>, mut covered: Offset) {
    loop {
        let Some(reached) = history(&hub, &subscriber, covered).await else {
            return;
        };
        covered = reached;
        let Some(position) = hub.join(&subscriber) else { return };
        if position > covered {
            match history(&hub, &subscriber, covered).await {
                Some(reached) => covered = reached,
                None => return hub.leave(&subscriber),
            }
        }
        match hub.settle(&subscriber, covered) {
            Settled::Behind(reached) => covered = reached,
            Settled::Live | Settled::Over => return,
        }
    }
}

/// Tells what the log has after `covered`. Up to where nothing is missing then; `None` when the follower is none any more.
async fn history(hub: &Hub, subscriber: &Subscriber, mut covered: Offset) -> Option<Offset> {
    loop {
        // First the watermark: what is found missing below is missing up to here at least.
        let committed = hub.log().committed(subscriber.partition());
        let (log, document) = (hub.log().clone(), subscriber.document().clone());
        let bytes = PAGE_BYTES.min(subscriber.sink().longest());
        let read = task::spawn_blocking(move || {
            let entries = log.document_entries(&document, covered, bytes)?;
            Ok((entries.last().map(|last| last.offset), Ops::new(document, entries)))
        });
        let read: Result<_, StorageError> = read
            .await
            .unwrap_or_else(|error| Err(StorageError::Unreadable(error.to_string())));
        match read {
            Err(error) => {
                subscriber.fail(DocumentError::Unreadable(error.to_string()));
                return None;
            }
            Ok((None, _)) => return Some(covered.max(committed)),
            Ok((Some(last), ops)) => {
                if let Some(ops) = ops
                    && !tell_entries(subscriber, ops).await
                {
                    return None;
                }
                covered = last;
            }
        }
    }
}

/// Tells a follower of entries, in parts where it takes no frame so long; `false` when it is none any more.
async fn tell_entries(subscriber: &Subscriber, ops: Ops) -> bool {
    let mut rest = vec![Arc::new(ops)];
    while let Some(ops) = rest.pop() {
        // Asked each time, since it may change while room is waited for.
        if ops.is_longer(subscriber.sink().longest())
            && let Some([first, second]) = ops.halves()
        {
            rest.extend([Arc::new(second), Arc::new(first)]);
            continue;
        }
        match tell(subscriber, ops.frame().len(), Told::Ops(ops.clone())).await {
            Offered::Taken => {}
            Offered::Full => {
                rest.push(ops);
                task::yield_now().await;
            }
            Offered::Gone => return false,
        }
    }
    true
}

/// Tells a follower something of so many bytes when it has room; full if somebody else took that.
async fn tell(subscriber: &Subscriber, bytes: usize, told: Told) -> Offered {
    match !subscriber.has_ended() && subscriber.sink().room(bytes).await {
        true => subscriber.sink().offer(told),
        false => Offered::Gone,
    }
}
