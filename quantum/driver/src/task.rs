//! The task of a connection: gives the core what happened and carries out what it wants.

use std::{collections::VecDeque, future::poll_fn, sync::Arc};

use quantum_proto::{ConnectionEvent, ConnectionHandle, Event, Time, Transmit};

use crate::{
    connection::{Connection, Shared},
    endpoint::Hub,
};

/// Datagrams handed to the kernel at once, at most.
const SEGMENTS_MAX: usize = 32;
/// Sends in a row before the others get their turn.
const SENDS_MAX: usize = 16;

/// What is left to do after a turn.
struct Turn {
    timeout: Option<Time>,
    /// There is more to send.
    more: bool,
    over: bool,
}

pub(crate) async fn run(hub: Arc<Hub>, handle: ConnectionHandle, shared: Arc<Shared>, incoming: bool) {
    let mut task = Task { hub: hub.clone(), handle, shared: shared.clone(), incoming, inbox: VecDeque::new(), out: Vec::new() };
    loop {
        let turn = task.turn().await;
        if turn.over {
            break;
        }
        if turn.more {
            tokio::task::yield_now().await;
            continue;
        }
        match turn.timeout {
            Some(at) => {
                let at = tokio::time::Instant::from_std(hub.clock.instant(at));
                let _ = tokio::time::timeout_at(at, shared.work.notified()).await;
            }
            None => shared.work.notified().await,
        }
    }
    hub.forget(handle, &shared);
}

struct Task {
    hub: Arc<Hub>,
    handle: ConnectionHandle,
    shared: Arc<Shared>,
    /// It is to be offered to whoever accepts, once complete.
    incoming: bool,
    inbox: VecDeque<ConnectionEvent>,
    out: Vec<u8>,
}

impl Task {
    async fn turn(&mut self) -> Turn {
        self.shared.take_inbox(&mut self.inbox);
        let socket = self.hub.socket();
        let segments = socket.max_segments().min(SEGMENTS_MAX);
        let mut events = Vec::new();
        {
            let mut core = self.shared.core();
            let now = self.hub.clock.now();
            for event in self.inbox.drain(..) {
                core.on_event(now, event);
            }
            if core.timeout().is_some_and(|at| at <= now) {
                core.on_timeout(now);
            }
            events.extend(std::iter::from_fn(|| core.poll_event()));
        }
        // Readers run while we send.
        let mut over = self.announce(events);
        let mut more = true;
        for _ in 0..SENDS_MAX {
            let Some(transmit) = self.poll_transmit(segments) else {
                more = false;
                break;
            };
            let sent = poll_fn(|cx| socket.poll_send(cx, &transmit, &self.out)).await;
            if let Err(error) = sent {
                // As good as lost on the way.
                tracing::debug!(%error, remote = %transmit.remote, "sending");
            }
        }
        let (timeout, events) = self.settle();
        over |= self.announce(events);
        Turn { timeout, more, over }
    }

    fn poll_transmit(&mut self, segments: usize) -> Option<Transmit> {
        self.out.clear();
        self.shared.core().poll_transmit(self.hub.clock.now(), segments, &mut self.out)
    }

    /// Endpoint and application hear what is new.
    fn settle(&mut self) -> (Option<Time>, Vec<Event>) {
        let mut core = self.shared.core();
        let now = self.hub.clock.now();
        while let Some(event) = core.poll_endpoint_event() {
            if let Some(answer) = self.hub.tell(self.handle, event) {
                core.on_event(now, answer);
                // The ids are told to the peer in the next turn.
                self.shared.work.notify_one();
            }
        }
        let events = std::iter::from_fn(|| core.poll_event()).collect();
        (core.timeout(), events)
    }

    /// `true` when the connection may be dropped.
    fn announce(&mut self, events: Vec<Event>) -> bool {
        let mut over = false;
        for event in events {
            over |= event == Event::Drained;
            if event == Event::Connected && std::mem::take(&mut self.incoming) {
                self.hub.offer(Connection::new(self.shared.clone()));
            }
            self.shared.announce(event);
        }
        over
    }
}
