//! How many edits may be without a receipt: who comes when there are too many waits.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::lock;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Gate {
    changes: usize,
    bytes: usize,
    inside: Mutex<Inside>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    changes: usize,
    bytes: usize,
}

/// One edit's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Gate {
    /// For so many changes, of so many bytes together; the last one that is let in may exceed the latter.
    pub(crate) fn new(changes: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            changes,
            bytes,
            inside: Mutex::default(),
            left: Notify::new(),
        })
    }

    fn try_enter(self: &Arc<Self>) -> Option<Ticket> {
        let mut inside = lock(&self.inside);
        if inside.changes >= self.changes || inside.bytes >= self.bytes {
            return None;
        }
        inside.changes += 1;
        Some(Ticket {
            gate: self.clone(),
            bytes: 0,
        })
    }

    /// Waits for a place, so long at most.
    pub(crate) async fn enter(self: &Arc<Self>, patience: Duration) -> Option<Ticket> {
        let entering = async {
            loop {
                let left = self.left.notified();
                if let Some(ticket) = self.try_enter() {
                    // There may be room for the next one, too.
                    self.left.notify_one();
                    return ticket;
                }
                left.await;
            }
        };
        timeout(patience, entering).await.ok()
    }
}

impl Ticket {
    /// It turned out to have so many bytes.
    pub(crate) fn weigh(&mut self, bytes: usize) {
        lock(&self.gate.inside).bytes += bytes;
        self.bytes += bytes;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inside = lock(&self.gate.inside);
        inside.changes -= 1;
        inside.bytes -= self.bytes;
        drop(inside);
        self.gate.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn who_comes_too_much_waits_until_somebody_leaves() {
        let gate = Gate::new(2, 100);
        let first = gate.enter(SHORT).await.unwrap();
        let mut second = gate.enter(SHORT).await.unwrap();
        assert!(gate.enter(SHORT).await.is_none());
        drop(first);
        second.weigh(100);
        assert!(gate.enter(SHORT).await.is_none(), "too heavy");
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter(LONG).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(second);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_who_waits_comes_in_in_the_end() {
        let gate = Gate::new(3, usize::MAX);
        let all = (0..100).map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let ticket = gate.enter(LONG).await;
                tokio::task::yield_now().await;
                ticket.is_some()
            })
        });
        for entered in all.collect::<Vec<_>>() {
            assert!(entered.await.unwrap());
        }
    }
}
