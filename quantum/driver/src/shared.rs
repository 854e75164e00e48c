//! What the task of a connection and the application's handles share.
//!
//! Invariants: no lock is held across an `await`, nor two of a connection at once; whoever changes the core wakes the task; whoever
//! waits for something looks for it after having asked to be woken.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use quantum_proto::{ConnectionError, ConnectionEvent, Event, Time};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;

/// Datagrams that wait for the connection's task; those beyond are lost, as datagrams may be.
const INBOX_MAX: usize = 2048;

/// A panic elsewhere is that task's end, not everybody's.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets every task run that is ready by now. Unlike tokio's `yield_now` it does not ask the system for news.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Handshake,
    Established,
    Over(ConnectionError),
}

/// A datagram for the connection, and which of the host's addresses it came to.
pub(crate) type Arrival = (ConnectionEvent, Option<IpAddr>);

pub(crate) struct Shared {
    core: Mutex<quantum_proto::Connection>,
    clock: Clock,
    inbox: Mutex<VecDeque<Arrival>>,
    /// The task has something to do.
    pub(crate) work: Notify,
    pub(crate) readable: Notify,
    pub(crate) datagrams: Notify,
    pub(crate) writable: Notify,
    pub(crate) phase: watch::Sender<Phase>,
}

impl Shared {
    pub(crate) fn new(core: quantum_proto::Connection, clock: Clock) -> Self {
        Self {
            core: Mutex::new(core),
            clock,
            inbox: Mutex::default(),
            work: Notify::new(),
            readable: Notify::new(),
            datagrams: Notify::new(),
            writable: Notify::new(),
            phase: watch::Sender::new(Phase::Handshake),
        }
    }

    /// Datagrams came. Takes them all out of `arrivals`.
    pub(crate) fn push(&self, arrivals: &mut Vec<Arrival>) {
        let mut inbox = lock(&self.inbox);
        let room = INBOX_MAX.saturating_sub(inbox.len());
        inbox.extend(arrivals.drain(..).take(room));
        drop(inbox);
        self.work.notify_one();
    }

    /// What came. `into` is empty.
    pub(crate) fn take_inbox(&self, into: &mut VecDeque<Arrival>) {
        std::mem::swap(&mut *lock(&self.inbox), into);
    }

    pub(crate) fn shrink_inbox(&self) {
        lock(&self.inbox).shrink_to_fit();
    }

    pub(crate) fn core(&self) -> MutexGuard<'_, quantum_proto::Connection> {
        lock(&self.core)
    }

    /// An action of the application, after which the task looks what there is to send.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut quantum_proto::Connection, Time) -> T) -> T {
        let result = act(&mut self.core(), self.clock.now());
        self.work.notify_one();
        result
    }

    /// The core's news for the application.
    pub(crate) fn announce(&self, event: Event) {
        match event {
            Event::Connected => self.advance(Phase::Established),
            Event::Readable => self.readable.notify_waiters(),
            Event::DatagramReadable => self.datagrams.notify_waiters(),
            Event::Writable => self.writable.notify_waiters(),
            Event::Moved(remote) => tracing::debug!(%remote, "the peer has moved"),
            Event::Closed(error) => self.end(error),
            Event::Drained => {}
        }
    }

    /// The connection is over; only the first reason counts.
    pub(crate) fn end(&self, error: ConnectionError) {
        self.advance(Phase::Over(error));
        self.readable.notify_waiters();
        self.datagrams.notify_waiters();
        self.writable.notify_waiters();
    }

    pub(crate) fn over(&self) -> Option<ConnectionError> {
        match &*self.phase.borrow() {
            Phase::Over(error) => Some(error.clone()),
            Phase::Handshake | Phase::Established => None,
        }
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = match phase {
                Phase::Handshake => to != Phase::Handshake,
                Phase::Established => matches!(to, Phase::Over(_)),
                Phase::Over(_) => false,
            };
            if forward {
                *phase = to;
            }
            forward
        });
    }
}
