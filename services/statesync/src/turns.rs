//! How much work on large changes is done at once, over all documents.
//!
//! A change of a hundred bytes may be a million operations, and applying those takes 450 MB for some seconds. So that many
//! such changes, to many documents, take no more than one does, each waits for its turn; small ones never wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Operations that are worked on at once.
const ROWS: u32 = 1 << 20;

/// See the [module](self).
pub(crate) struct Turns(Arc<Semaphore>);

/// Given back when it is dropped.
pub(crate) struct Turn {
    _rows: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROWS as usize)))
    }
}

impl Turns {
    /// Waits until work on so many operations may begin. More than are allowed at once are worked on alone.
    pub(crate) async fn wait(&self, rows: u64) -> Turn {
        let rows = u32::try_from(rows).unwrap_or(ROWS).min(ROWS);
        Turn {
            // It is never closed.
            _rows: self.0.clone().acquire_many_owned(rows).await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn what_is_large_waits_for_its_turn_and_what_is_small_goes_on() {
        let turns = Turns::default();
        let first = turns.wait(u64::from(ROWS) - 100).await;
        let small = turns.wait(100).await;
        let mut next = Box::pin(turns.wait(u64::MAX));
        assert!(matches!(futures_poll(next.as_mut()).await, Poll::Pending));
        drop(first);
        assert!(matches!(futures_poll(next.as_mut()).await, Poll::Pending));
        drop(small);
        next.await;
    }

    async fn futures_poll<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut future).poll(context))).await
    }
}
