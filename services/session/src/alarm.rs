//! Waking a task that waits for the next timer, when something earlier comes.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::{sync::Notify, time::sleep_until};

use crate::clock::Clock;

/// When a task will look at its timers again. The task calls [`Self::disarm`], does what is due, and waits until what is
/// next; whoever sets a timer calls [`Self::sooner`] after that.
#[derive(Debug)]
pub(crate) struct Alarm {
    armed_ms: AtomicU64,
    earlier: Notify,
}

impl Default for Alarm {
    fn default() -> Self {
        Self {
            armed_ms: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
        }
    }
}

impl Alarm {
    /// Something is due then, which may be sooner than the task waits for.
    pub(crate) fn sooner(&self, next_ms: Option<u64>) {
        if next_ms.is_some_and(|next_ms| next_ms < self.armed_ms.load(SeqCst)) {
            self.earlier.notify_one();
        }
    }

    /// From here on everybody who sets a timer wakes the task.
    pub(crate) fn disarm(&self) {
        self.armed_ms.store(u64::MAX, SeqCst);
    }

    /// Waits until then, or for something sooner.
    pub(crate) async fn wait(&self, clock: &Clock, next_ms: Option<u64>) {
        self.armed_ms.store(next_ms.unwrap_or(u64::MAX), SeqCst);
        match next_ms {
            Some(next_ms) if next_ms <= clock.now_ms() => tokio::task::yield_now().await,
            Some(next_ms) => {
                tokio::select! {
                    () = sleep_until(clock.instant(next_ms)) => {}
                    () = self.earlier.notified() => {}
                }
            }
            None => self.earlier.notified().await,
        }
    }
}
