//! Work on a document that is done where it blocks no other, and is given up when it takes too long.

use automerge::sync;
use tokio::{task, time};

use super::{Actor, LARGE_BYTES, LARGE_ROWS, Size};
use crate::{
    content::{Content, Live},
    intake::Received,
};

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
    async fn in_time<T: Send + 'static>(
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

    /// Works on the materialized document; when that takes too long the document is gone, and has to be loaded anew.
    pub(super) async fn apart<T: Send + 'static>(
        &mut self,
        size: Size,
        work: impl FnOnce(&mut Live) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let Content::Live(mut live) = std::mem::replace(&mut self.content, Content::Absent) else {
            return Err("the document is not materialized".to_owned());
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
                done
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("applying the changes took too long".to_owned()),
        }
    }

    /// Applies a large message.
    pub(super) async fn receive_apart(
        &mut self,
        size: Size,
        state: &mut sync::State,
        message: Received,
    ) -> Result<(), String> {
        let mut theirs = state.clone();
        let receive = move |live: &mut Live| {
            live.receive(&mut theirs, message)?;
            Ok(theirs)
        };
        *state = self.apart(size, receive).await?;
        Ok(())
    }

    /// Something committed could not be applied: the document is built anew from the log, without the entries at fault.
    pub(super) async fn set_aside_and_go_on(&mut self, reason: &str) {
        tracing::warn!(doc = %self.document, reason, "changes could not be applied and are set aside");
        if let Err(error) = self.reload().await {
            tracing::error!(doc = %self.document, %error, "the document cannot be read");
        }
    }
}
