//! Connections that wait for whoever accepts.

use std::{collections::VecDeque, sync::Mutex};

use tokio::sync::Notify;

use crate::{connection::Connection, shared::lock};

pub(crate) struct Accepting {
    queue: Mutex<Queue>,
    changed: Notify,
    max: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Connection>,
    closed: bool,
}

impl Accepting {
    /// At most `max` connections wait.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            changed: Notify::new(),
            max,
        }
    }

    /// The connection comes back when it cannot wait here.
    pub(crate) fn offer(&self, connection: Connection) -> Result<(), Connection> {
        let mut queue = lock(&self.queue);
        if queue.closed || queue.waiting.len() >= self.max {
            return Err(connection);
        }
        queue.waiting.push_back(connection);
        drop(queue);
        // Kept for the next who comes when nobody waits; handed on when who waits is cancelled.
        self.changed.notify_one();
        Ok(())
    }

    /// The next one; `None` once closed and empty.
    pub(crate) async fn next(&self) -> Option<Connection> {
        loop {
            let changed = self.changed.notified();
            {
                let mut queue = lock(&self.queue);
                if let Some(connection) = queue.waiting.pop_front() {
                    if !queue.waiting.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(connection);
                }
                if queue.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Nothing more comes; what waits is still given out.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.changed.notify_waiters();
    }

    /// Nobody will ever accept: what waits is closed.
    pub(crate) fn abandon(&self) {
        self.close();
        // Dropped without the lock: a connection that is dropped closes.
        let waiting = std::mem::take(&mut lock(&self.queue).waiting);
        drop(waiting);
    }
}
