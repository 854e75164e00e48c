//! Shutdown: one token that everything watches, one tracker that everything is spawned on, one deadline.

use std::{future::Future, io, process, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::Invalid;

/// Section `[shutdown]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownOptions {
    /// Milliseconds that connections and requests get to finish, default 10,000. Worst case: a stop takes this long.
    pub drain_ms: u64,
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        Self { drain_ms: 10_000 }
    }
}

impl ShutdownOptions {
    /// Notes what makes no sense.
    pub fn validate(&self, invalid: &mut Invalid) {
        invalid.unless_within("shutdown.drain_ms", self.drain_ms, 1, 600_000);
    }
}

/// The end of the process, seen from inside. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    drain: Duration,
}

impl Shutdown {
    /// Nothing ends yet.
    pub fn new(options: &ShutdownOptions) -> Self {
        Self {
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
            drain: Duration::from_millis(options.drain_ms),
        }
    }

    /// Starts to end.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether the end has begun.
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the end begins.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// What is left of time, in all, once the end has begun.
    pub fn drain_time(&self) -> Duration {
        self.drain
    }

    /// Runs a task for which the end has to wait.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits until the end has begun and then for all tasks, or until the drain time is over. How many did not finish.
    pub async fn drained(&self) -> usize {
        self.triggered().await;
        self.tasks.close();
        let _ = timeout(self.drain, self.tasks.wait()).await;
        self.tasks.len()
    }

    /// Begins the end at SIGTERM or SIGINT; the second such signal ends the process at once.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = either(&mut terminate, &mut interrupt).await.0;
            tracing::info!(signal = name, "stopping; a second signal stops at once");
            shutdown.trigger();
            let (name, code) = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "stopping at once");
            process::exit(code);
        });
        Ok(())
    }
}

/// The name of the next signal, and the exit code that goes with it.
async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", 128 + 15),
        _ = interrupt.recv() => ("SIGINT", 128 + 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_tasks_that_finish() {
        let shutdown = Shutdown::new(&ShutdownOptions::default());
        let watcher = shutdown.clone();
        shutdown.spawn(async move { watcher.triggered().await });
        assert!(!shutdown.is_triggered());
        shutdown.trigger();
        assert_eq!(shutdown.drained().await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_ever() {
        let shutdown = Shutdown::new(&ShutdownOptions { drain_ms: 50 });
        shutdown.spawn(std::future::pending::<()>());
        shutdown.trigger();
        assert_eq!(shutdown.drained().await, 1);
    }
}
