//! Applying what is committed: what takes long where it blocks no other document, and given up when it takes too long.

use aetherflow_schema::id::Offset;
use tokio::{task, time};

use super::{Actor, lost::Lost};
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
    /// Applies what is committed, and stands at the `fresh` offsets if it was not in the log before. What cannot be
    /// applied is set aside: then the inner result says why.
    pub(super) async fn apply_committed<T: Send + 'static>(
        &mut self,
        fresh: &[Offset],
        large: bool,
        work: impl FnOnce(&mut Live) -> Result<T, String> + Send + 'static,
    ) -> Result<Result<T, Unapplied>, Lost> {
        self.materialize().await?;
        let before = self.content.heads();
        let applied = match &mut self.content {
            Content::Live(live) if !large => work(live).map_err(Unapplied::Refused),
            _ => self.apart(work).await,
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
        work: impl FnOnce(&mut Live) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Unapplied> {
        let mut live = match std::mem::replace(&mut self.content, Content::Away) {
            Content::Live(live) => live,
            other => {
                self.content = other;
                return Err(Unapplied::Refused("the document is not materialized".to_owned()));
            }
        };
        let work = task::spawn_blocking(move || {
            let done = work(&mut live);
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
