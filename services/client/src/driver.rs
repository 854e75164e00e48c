//! The task of a client: gives the session time, a transport, a store and the application's documents. It decides nothing
//! about the protocol.
//!
//! Owns: the session, the connection, who waits for which receipt, and which documents are open.
//! Invariants: what was changed or heard is in the store in the order in which it happened; one frame at a time is on its
//! way to the transport, so that nothing queues up behind a slow one; every receipt is told, or dropped with the client.

mod command;
mod content;
mod events;
mod locks;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use aetherflow_schema::id::{ChangeHash, DocumentId, Offset};
use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::sleep_until,
};

pub(crate) use self::command::{Command, Edit, Waiter};
use self::{
    locks::Guards,
    wire::{Happened, Wire},
};
use crate::{
    document::{Common, Document, DocumentState, Shared},
    error::{CloseError, OpenError, SubmitError},
    options::Timeouts,
    session::{Input, Session, Tuning},
    status::{Link, Status},
    store::{Kept, Leftover, Record, Store, Stored, What},
    transport::Transport,
};

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// A document that somebody has a handle of.
struct Opened {
    shared: Weak<Shared>,
    /// As in the session, and in the store.
    cursor: Option<Offset>,
}

/// See the [module](self).
pub(crate) struct Driver {
    session: Session,
    wire: Wire,
    store: Option<Store>,
    commands: mpsc::Receiver<Command>,
    /// Commands that an edit behind them has overtaken.
    overtaken: VecDeque<Command>,
    dropped: Arc<Notify>,
    documents: HashMap<DocumentId, Opened>,
    waiters: HashMap<(DocumentId, ChangeHash), Waiter>,
    guards: Guards,
    status: watch::Sender<Status>,
    closing: Option<Closing>,
}

/// The client ends when everything has a receipt.
struct Closing {
    /// At the latest.
    deadline: Instant,
    /// Whom to tell.
    replies: Vec<oneshot::Sender<Result<(), CloseError>>>,
}

impl Driver {
    pub(crate) fn new(
        common: &Common,
        commands: mpsc::Receiver<Command>,
        transport: Box<dyn Transport>,
        tuning: Tuning,
        timeouts: Timeouts,
        store: Option<Store>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            session: Session::new(tuning, now(), StdRng::from_os_rng()),
            wire: Wire::new(transport, timeouts.connect),
            store,
            commands,
            overtaken: VecDeque::new(),
            dropped: common.dropped.clone(),
            documents: HashMap::new(),
            waiters: HashMap::new(),
            guards: Guards::default(),
            status,
            closing: None,
        }
    }

    /// Runs until the client is closed, or nobody has a handle of it any more.
    pub(crate) async fn run(mut self, leftover: Leftover) {
        for (document, changes) in leftover {
            for change in changes {
                let document = document.clone();
                let left = true;
                self.tell(Input::Edit { document, change, left }).await;
            }
        }
        self.tell(Input::Tick).await;
        while !self.is_done() {
            self.compact().await;
            while let Some(command) = self.overtaken.pop_front() {
                self.on_command(command).await;
            }
            self.send().await;
            let timeout = [self.session.next_timeout(), self.deadline()]
                .into_iter()
                .flatten()
                .min();
            let timeout = timeout.unwrap_or_else(|| now() + Duration::from_secs(3600));
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => self.end_by(now()),
                },
                happened = self.wire.next() => self.on_wire(happened).await,
                () = self.dropped.notified() => {
                    self.unlock_dropped().await;
                    self.close_dropped().await;
                }
                () = sleep_until(timeout.into()) => self.tell(Input::Tick).await,
            }
        }
        self.end().await;
    }

    /// Gives the session something, and does what comes of it.
    async fn tell(&mut self, input: Input) {
        self.session.handle(now(), input);
        self.carry_out().await;
    }

    /// Gives the transport the next frame, if it takes one.
    async fn send(&mut self) {
        while self.wire.is_ready() {
            let outgoing = self.session.poll_frame(now());
            self.carry_out().await;
            match outgoing {
                Some(outgoing) => self.wire.send(outgoing),
                None => break,
            }
        }
    }

    async fn on_wire(&mut self, happened: Happened) {
        match happened {
            Happened::Connected { frame_bytes, takes } => self.tell(Input::Connected { frame_bytes, takes }).await,
            Happened::Sent => {}
            Happened::Received(frame) => self.tell(Input::Frame(frame)).await,
            Happened::Ended(parting) => self.tell(Input::Disconnected(parting)).await,
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Open {
                document,
                common,
                reply,
            } => {
                let opened = self.open(document, common).await;
                let _ = reply.send(opened);
            }
            Command::Close(document) => self.close(document).await,
            Command::Edit(edit) => {
                self.take_edit(edit).await;
                self.carry_out().await;
            }
            Command::Presence { document, mine } => {
                if self.documents.contains_key(&document) {
                    self.tell(Input::Presence { document, mine }).await;
                }
            }
            Command::Lock {
                document,
                ttl,
                wait,
                wish,
                state,
            } => self.lock(document, ttl, wait, (wish, state)).await,
            Command::Token(token) => self.tell(Input::Token(token)).await,
            Command::Reconnect => self.tell(Input::Reconnect).await,
            Command::Shutdown { deadline, reply } => {
                self.end_by(deadline);
                if let Some(closing) = &mut self.closing {
                    closing.replies.push(reply);
                }
            }
        }
    }

    async fn take_edit(&mut self, edit: Edit) {
        let Edit {
            document,
            change,
            waiter,
            kept,
        } = edit;
        self.waiters.insert((document.clone(), change.hash), waiter);
        self.keep(&document, What::local(&change), kept).await;
        let left = false;
        self.session.handle(now(), Input::Edit { document, change, left });
    }

    /// Takes the edits that wait: then the session and the store know of everything that was in a replica before.
    async fn take_edits(&mut self) {
        // Those are in the queue since before the replica was looked at, and it holds no more.
        for _ in 0..self.commands.len() {
            match self.commands.try_recv() {
                Ok(Command::Edit(edit)) => self.take_edit(edit).await,
                Ok(other) => self.overtaken.push_back(other),
                Err(_) => break,
            }
        }
    }

    async fn open(&mut self, id: DocumentId, common: Arc<Common>) -> Result<Document, OpenError> {
        if self.closing.is_some() {
            return Err(OpenError::Closed);
        }
        if let Some(opened) = self.documents.get(&id) {
            match opened.shared.upgrade().filter(|shared| !shared.is_closed()) {
                Some(shared) => return Ok(Document { shared }),
                None => self.close(id.clone()).await,
            }
        }
        let stored = match &self.store {
            None => Stored::default(),
            Some(store) => store.load(id.clone()).await.ok_or(OpenError::Closed)??,
        };
        let loaded = !stored.parts.is_empty() || stored.cursor.is_some();
        let cursor = stored.cursor;
        let replica = content::restore(stored.parts).await;
        let (replica, refused) = replica.map_err(|error| OpenError::Content(error.to_string()))?;
        let shared = Arc::new(Shared {
            replica: replica.into(),
            version: watch::Sender::default(),
            state: watch::Sender::new(DocumentState { loaded, refusal: None }),
            presence: watch::Sender::default(),
            closed: false.into(),
            client: common,
            id: id.clone(),
        });
        let opened = Opened {
            shared: Arc::downgrade(&shared),
            cursor,
        };
        self.documents.insert(id.clone(), opened);
        self.tell(Input::Open {
            document: id,
            cursor,
            refused,
        })
        .await;
        Ok(Document { shared })
    }

    async fn close(&mut self, id: DocumentId) {
        if self.documents.remove(&id).is_some() {
            self.tell(Input::Close(id)).await;
        }
    }

    async fn close_dropped(&mut self) {
        let gone = self
            .documents
            .iter()
            .filter(|(_, opened)| opened.shared.strong_count() == 0);
        let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.close(id).await;
        }
    }

    fn opened(&self, id: &DocumentId) -> Option<Arc<Shared>> {
        self.documents.get(id)?.shared.upgrade()
    }

    async fn keep(&mut self, document: &DocumentId, what: What, kept: Option<Kept>) {
        let document = document.clone();
        self.append(vec![Record { document, what }], kept).await;
    }

    async fn append(&mut self, records: Vec<Record>, kept: Option<Kept>) {
        if let Some(store) = &self.store {
            store.append(records, kept).await;
        }
    }

    /// Has the store written anew when most of it is of no use.
    async fn compact(&mut self) {
        if !self.store.as_ref().is_some_and(Store::wants_compaction) {
            return;
        }
        let open = self.documents.iter();
        let open = open.filter_map(|(id, opened)| Some((id.clone(), opened.shared.upgrade()?, opened.cursor)));
        let mut bases = Vec::new();
        for (document, shared, cursor) in open.collect::<Vec<_>>() {
            if let Some(bytes) = content::save(shared).await {
                let what = What::Base { cursor, bytes };
                bases.push(Record { document, what });
            }
        }
        self.take_edits().await;
        if let Some(store) = &self.store {
            store.compact(bases).await;
        }
    }

    fn count(&self) {
        let unsettled = self.session.unsettled();
        self.status
            .send_if_modified(|status| std::mem::replace(&mut status.unsettled, unsettled) != unsettled);
    }

    fn end_by(&mut self, deadline: Instant) {
        let closing = self.closing.get_or_insert(Closing {
            deadline,
            replies: Vec::new(),
        });
        closing.deadline = closing.deadline.min(deadline);
    }

    fn deadline(&self) -> Option<Instant> {
        self.closing.as_ref().map(|closing| closing.deadline)
    }

    fn is_done(&self) -> bool {
        let settled = self.session.unsettled() == 0;
        self.deadline().is_some_and(|deadline| settled || deadline <= now())
    }

    async fn end(mut self) {
        // What was queued before the end was decided counts.
        self.commands.close();
        while let Some(command) = self.overtaken.pop_front().or_else(|| self.commands.try_recv().ok()) {
            self.on_command(command).await;
        }
        let unsettled = self.session.unsettled();
        // The goodbye ends the session, and its locks with it: nobody holds one from here on.
        self.guards = Guards::default();
        self.tell(Input::Finish).await;
        self.wire.finish(GOODBYE).await;
        let failed = match &self.store {
            Some(store) => store.close().await,
            None => None,
        };
        let result = match (failed, unsettled) {
            (Some(error), _) => Err(CloseError::Store(error)),
            (None, 0) => Ok(()),
            (None, count) if self.store.is_some() => Err(CloseError::Kept(count)),
            (None, count) => Err(CloseError::Lost(count)),
        };
        self.status.send_modify(|status| status.link = Link::Closed);
        for opened in self.documents.values() {
            if let Some(shared) = opened.shared.upgrade() {
                // Whoever waits for it has to look again.
                shared.state.send_modify(|_| {});
            }
        }
        for (_, waiter) in self.waiters.drain() {
            let _ = waiter.outcome.send(Err(SubmitError::Closed));
        }
        for reply in self.closing.into_iter().flat_map(|closing| closing.replies) {
            let _ = reply.send(result.clone());
        }
    }
}

/// Now, by tokio's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
