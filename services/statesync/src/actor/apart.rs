//! Applying what is committed: what takes long where it blocks no other document, and given up when it takes too long.

use aetherflow_schema::id::Offset;
use tokio::{task, time};

use super::{Actor, LARGE_BYTES, LARGE_ROWS, Size, lost::Lost};
use crate::content::{Content, Live};

/// Why something committed was not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unapplied {
    /// Automerge did not take it.
    #[error("{0}")]
    Refused(String),
    /// The budget was not enough.
    #[error("applying the changes took too long")]
    TooLong,
}

impl Actor {
    /// Decodes what came in two steps: `weigh` checks what it would cost, in `rows`, and `take` makes it. Both are done
    /// here when they cost little; the result is given with its rows.
    pub(super) async fn decode<W: Send + 'static, T: Send + 'static>(
        &self,
        bytes: usize,
        weigh: impl FnOnce() -> Result<W, String> + Send + 'static,
        rows: impl FnOnce(&W) -> u64,
        take: impl FnOnce(W) -> Result<T, String> + Send + 'static,
    ) -> Result<(T, u64), String> {
        // Weighing makes nothing larger than the message may be.
        let weighed = match bytes > LARGE_BYTES {
            true => self.in_time(LARGE_ROWS, weigh).await?,
            false => weigh()?,
        };
        let rows = rows(&weighed);
        let taken = match (Size { bytes, rows }).is_large() {
            true => self.in_time(rows, move || take(weighed)).await?,
            false => take(weighed)?,
        };
        Ok((taken, rows))
    }

    /// Does work that needs nothing of the document, and gives it up when it takes too long or its turn does not come.
    pub(super) async fn in_time<T: Send + 'static>(
        &self,
        rows: u64,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let shared = self.shared.clone();
        let work = async move {
            let turn = shared.turns.wait(rows).await;
            // What was begun ends, and then only another's turn comes.
            let work = task::spawn_blocking(move || (work(), turn).0);
            work.await.unwrap_or_else(|error| Err(error.to_string()))
        };
        time::timeout(self.shared.options.apply_budget, work)
            .await
            .unwrap_or_else(|_| Err("decoding the changes took too long".to_owned()))
    }

    /// Applies what is committed, and stands at the `fresh` offsets if it was not in the log before. What cannot be
    /// applied is set aside: then the inner result says why.
    pub(super) async fn apply_committed<T: Send + 'static>(
        &mut self,
        fresh: &[Offset],
        size: Size,
        work: impl FnOnce(&mut Live) -> Result<T, String> + Send + 'static,
    ) -> Result<Result<T, Unapplied>, Lost> {
        self.materialize().await?;
        let before = self.content.heads();
        let applied = match &mut self.content {
            Content::Live(live) if !size.is_large() => work(live).map_err(Unapplied::Refused),
            _ => self.apart(size, work).await,
        };
        match &applied {
            Ok(_) => self.after_change(&before),
            Err(why) => self.set_aside_and_go_on(why, fresh).await?,
        }
        Ok(applied)
    }

    /// Works on the materialized document; when that takes too long the document is gone, and has to be built anew.
    pub(super) async fn apart<T: Send + 'static>(
        &mut self,
        size: Size,
        work: impl FnOnce(&mut Live) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Unapplied> {
        let mut live = match std::mem::replace(&mut self.content, Content::Away) {
            Content::Live(live) => live,
            other => {
                self.content = other;
                return Err(Unapplied::Refused("the document is not materialized".to_owned()));
            }
        };
        // It is committed, so its turn is waited for; whoever has one ends in time, since rows are limited.
        let turn = self.shared.turns.wait(size.rows).await;
        let work = task::spawn_blocking(move || {
            let done = work(&mut live);
            drop(turn);
            (live, done)
        });
        match time::timeout(self.shared.options.apply_budget, work).await {
            Ok(Ok((live, done))) => {
                self.content = Content::Live(live);
                done.map_err(Unapplied::Refused)
            }
            Ok(Err(error)) => Err(Unapplied::Refused(error.to_string())),
            Err(_) => Err(Unapplied::TooLong),
        }
    }
}
