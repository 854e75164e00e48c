//! The task of a connection: gives the core what happened and carries out what it wants.
//!
//! It alone calls `poll_transmit`. It ends when the core has drained, some round trips after the connection is over, whether handles
//! are left or not.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use quantum_proto::{
    CloseCode, ConnectionError, ConnectionHandle, EndpointEvent, Event, Time, Transmit, TransportError,
};

use crate::{
    alarm::Alarm,
    connection::Connection,
    hub::Hub,
    shared::{Arrival, Shared},
    tokens::Tokens,
};

/// Datagrams handed to the kernel at once, at most.
const SEGMENTS_MAX: usize = 32;
/// Bytes handed to the kernel at once, at most: what fits a UDP datagram over IPv4.
const BATCH_BYTES_MAX: usize = 65_507;
/// Batches in a row before what came is looked at.
const BATCHES_MAX: usize = 4;

/// A connection that has nothing to do for so long keeps no buffers.
const IDLE: Duration = Duration::from_secs(1);

/// What a connection is to its endpoint.
pub(crate) enum Role {
    /// Its next token is for the server of this name.
    Client { tokens: Arc<Tokens>, server: String },
    /// `offered`: whoever accepts has got it.
    Server { offered: bool },
}

/// What is left to do after a turn.
struct Turn {
    timeout: Option<Time>,
    /// There is more to send.
    more: bool,
}

/// Runs the connection to its end. `max_udp_payload`: the longest datagram it will send.
pub(crate) async fn run(
    hub: Arc<Hub>,
    handle: ConnectionHandle,
    shared: Arc<Shared>,
    role: Role,
    max_udp_payload: u16,
) {
    let mut task = Task {
        hub,
        handle,
        shared,
        role,
        segments_max: (BATCH_BYTES_MAX / usize::from(max_udp_payload).max(1)).clamp(1, SEGMENTS_MAX),
        local: None,
        over: false,
        alarm: Alarm::default(),
        inbox: VecDeque::new(),
        events: Vec::new(),
        news: Vec::new(),
        out: Vec::new(),
    };
    loop {
        let turn = task.turn().await;
        if task.over {
            break;
        }
        let now = task.hub.clock.now();
        if turn.more || turn.timeout.is_some_and(|at| at <= now) {
            tokio::task::yield_now().await;
            continue;
        }
        if turn.timeout.is_none_or(|at| at.since(now) >= IDLE) {
            task.release_memory();
        }
        if let Some(at) = turn.timeout {
            task.hub.alarms.set(&mut task.alarm, now, at, &task.shared);
        }
        task.shared.work.notified().await;
    }
}

struct Task {
    hub: Arc<Hub>,
    handle: ConnectionHandle,
    shared: Arc<Shared>,
    role: Role,
    segments_max: usize,
    /// Which of the host's addresses the peer knows.
    local: Option<IpAddr>,
    over: bool,
    alarm: Alarm,
    // Kept for their memory; empty between turns.
    inbox: VecDeque<Arrival>,
    events: Vec<Event>,
    news: Vec<EndpointEvent>,
    out: Vec<u8>,
}

impl Task {
    async fn turn(&mut self) -> Turn {
        self.take_arrivals();
        self.spread_news();
        let socket = self.hub.socket();
        let segments = socket.max_segments().min(self.segments_max);
        let mut more = true;
        for _ in 0..BATCHES_MAX {
            let Some(transmit) = self.poll_transmit(segments) else {
                more = false;
                break;
            };
            if let Err(error) = socket.send(&transmit, self.local, &self.out).await {
                // As good as lost on the way: too long for the link, no route, refused by a firewall.
                tracing::debug!(%error, remote = %transmit.remote, "sending");
            }
        }
        let timeout = {
            let mut core = self.shared.core();
            collect(&mut core, &mut self.events, &mut self.news);
            core.timeout()
        };
        self.spread_news();
        Turn { timeout, more }
    }

    /// What a burst has grown is given back.
    fn release_memory(&mut self) {
        self.inbox = VecDeque::new();
        self.out = Vec::new();
        self.shared.shrink_inbox();
    }

    /// What came from outside, and what the clock says.
    fn take_arrivals(&mut self) {
        self.shared.take_inbox(&mut self.inbox);
        let mut core = self.shared.core();
        let now = self.hub.clock.now();
        for (event, local) in self.inbox.drain(..) {
            // A client's own address may change: the system knows it better.
            if core.on_event(now, event) && matches!(self.role, Role::Server { .. }) {
                self.local = local;
            }
        }
        if core.timeout().is_some_and(|at| at <= now) {
            core.on_timeout(now);
        }
        collect(&mut core, &mut self.events, &mut self.news);
        if let Role::Client { tokens, server } = &self.role
            && let Some(token) = core.take_token()
        {
            tokens.put(server, token);
        }
    }

    fn poll_transmit(&mut self, segments: usize) -> Option<Transmit> {
        self.out.clear();
        let mut core = self.shared.core();
        core.poll_transmit(self.hub.clock.now(), segments, &mut self.out)
    }

    /// Endpoint and application hear what is new.
    fn spread_news(&mut self) {
        for event in self.news.drain(..) {
            if let Some(answer) = self.hub.tell(self.handle, event) {
                // The peer is told in the next turn.
                self.shared.with(|core, now| core.on_event(now, answer));
            }
        }
        for event in self.events.drain(..) {
            self.over |= event == Event::Drained;
            let good = matches!(event, Event::Connected | Event::Readable | Event::DatagramReadable);
            self.shared.announce(event);
            if good
                && let Role::Server { offered } = &mut self.role
                && !std::mem::replace(offered, true)
            {
                self.hub.offer(Connection::new(self.shared.clone()));
            }
        }
    }
}

/// A task that ends before its connection, by a panic or with the runtime, leaves nobody waiting.
impl Drop for Task {
    fn drop(&mut self) {
        self.shared.end(ConnectionError::Transport(TransportError {
            code: CloseCode::INTERNAL,
            reason: "the task of the connection has ended".into(),
        }));
        self.hub.alarms.clear(&mut self.alarm);
        self.hub.forget(self.handle, &self.shared);
    }
}

fn collect(
    core: &mut MutexGuard<'_, quantum_proto::Connection>,
    events: &mut Vec<Event>,
    news: &mut Vec<EndpointEvent>,
) {
    events.extend(std::iter::from_fn(|| core.poll_event()));
    news.extend(std::iter::from_fn(|| core.poll_endpoint_event()));
}
