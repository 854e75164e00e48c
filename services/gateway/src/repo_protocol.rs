//! The automerge-repo protocol on one connection: carries out what `repo_session` decides.

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use aetherflow_schema::{
    access::{Grant, Operation},
    documents::SyncFrame,
    history::{Arrival, Via},
    id::PeerId,
    repo::Message,
    sessions::{ClientId, SessionHandle},
};
use bytes::Bytes;

use crate::{
    caller::{Lease, Who, now_ms},
    close::Close,
    metrics::{Ignored, Kind},
    outbound::Outbound,
    protocol::{Parting, Protocol},
    repo_session::{Action, RepoSession},
    sessions::Sessions,
    shared::Shared,
    stay,
};

/// See the [module](self).
pub(crate) struct RepoProtocol {
    shared: Arc<Shared>,
    outbound: Arc<Outbound>,
    repo: RepoSession,
    sessions: Sessions,
    lease: Lease,
    /// `None` when it got none: the connection is being closed then.
    session: Option<Box<dyn SessionHandle>>,
    /// Where it is, and what program it says it is, until it joins.
    whence: Option<(SocketAddr, String)>,
}

impl RepoProtocol {
    /// Nobody has joined.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        outbound: &Arc<Outbound>,
        who: Arc<Who>,
        session: Option<Box<dyn SessionHandle>>,
        whence: (SocketAddr, String),
    ) -> Self {
        let limits = &shared.options.limits;
        Self {
            repo: RepoSession::new(limits.pre_join_frames, limits.ephemeral_bytes),
            sessions: Sessions::new(shared.clone(), outbound.clone(), who),
            lease: Lease::default(),
            session,
            whence: Some(whence),
            shared: shared.clone(),
            outbound: outbound.clone(),
        }
    }

    fn forward(&self, message: &Message<'_>) {
        let Some(document) = message.document() else { return };
        match Grant::check(
            &*self.shared.access,
            &self.sessions.who().caller(),
            Operation::Presence,
            document,
        ) {
            Ok(_) => {
                self.shared.ephemera.forward(message, self.outbound.id());
            }
            Err(_) => self.shared.metrics.ignored(Ignored::EphemeralAccess),
        }
    }
}

impl Protocol for RepoProtocol {
    fn on_frame(&mut self, frame: Bytes) -> Result<(), Parting> {
        let (kind, action) = self.repo.handle(&self.shared.identity, &frame);
        self.shared.metrics.received(kind, frame.len());
        self.lease.on_frame(&self.shared, self.sessions.who(), frame.len());
        match action {
            Action::Document {
                document,
                request,
                data: message,
            } => Ok(self.sessions.submit(document, SyncFrame { request, message })?),
            Action::Forward(message) => {
                self.forward(&message);
                Ok(())
            }
            Action::Join { peer, storage, reply } => {
                tracing::debug!(connection = %self.outbound.id(), %peer, "joined");
                let principal = &self.sessions.who().identity().principal;
                self.shared.peers.join(peer.clone(), principal, &self.outbound)?;
                if let (Some(session), Some(client)) = (&self.session, ClientId::named(&peer.0)) {
                    session.introduce(client).map_err(|error| stay::lost(&error))?;
                    if let Some((address, agent)) = self.whence.take() {
                        self.shared.arrivals.note(Arrival {
                            session: session.id(),
                            at_ms: now_ms(),
                            address,
                            via: Via::AutomergeRepo,
                            client: peer.0.to_string(),
                            agent,
                        });
                    }
                }
                self.outbound.joined(peer);
                self.sessions.set_storage(storage);
                self.outbound.push(Kind::Peer, reply);
                self.shared.metrics.joined.inc();
                Ok(())
            }
            Action::Subscribe { add, remove } => {
                let (added, complete) = self.outbound.subscribe(add, &remove);
                if !complete {
                    self.shared.metrics.ignored(Ignored::Subscriptions);
                }
                self.sessions.announce(&added);
                Ok(())
            }
            Action::Ignore(reason) => {
                self.shared.metrics.ignored(reason);
                Ok(())
            }
            Action::Refuse { reply, close } => {
                self.shared.metrics.sent(Kind::Error, reply.len());
                let last = Some(reply);
                Err(Parting { last, close })
            }
            Action::Close(close) => Err(close.into()),
        }
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Close>> {
        if let Poll::Ready(result) = self.lease.poll(&self.shared, self.sessions.who(), context) {
            return Poll::Ready(result);
        }
        self.sessions.poll_done(context).map(|done| self.sessions.on_done(done))
    }

    fn has_room(&self) -> bool {
        self.lease.has_room() && self.sessions.has_room()
    }

    fn is_idle(&self) -> bool {
        self.sessions.is_idle()
    }

    fn is_introduced(&self) -> bool {
        self.repo.peer().is_some()
    }

    /// There is nothing to be said: a stock client comes back when the connection ends.
    fn stop(&mut self, _: &Close) {}

    /// A stock client that still works on a sync message when a close frame arrives fails to send its answer in the middle
    /// of updating its document, and can never change that document again. So one that has joined sees no close frame.
    fn hangs_up(&self) -> bool {
        self.is_introduced()
    }

    fn on_tick(&mut self) {
        self.sessions.on_tick();
    }

    fn session(&self) -> Option<&dyn SessionHandle> {
        self.session.as_deref()
    }

    fn peer(&self) -> Option<&PeerId> {
        self.repo.peer()
    }
}
