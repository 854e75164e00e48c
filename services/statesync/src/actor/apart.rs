//! Work on a document that is done where it blocks no other, and is given up when it takes too long.

use automerge::sync;
use tokio::{task, time};

use super::Actor;
use crate::{
    content::{Content, Live},
    intake::Received,
};

impl Actor {
    /// Works on the materialized document; when that takes too long the document is gone, and has to be loaded anew.
    pub(super) async fn apart<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Live) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let Content::Live(mut live) = std::mem::replace(&mut self.content, Content::Absent) else {
            return Err("the document is not materialized".to_owned());
        };
        let work = task::spawn_blocking(move || {
            let done = work(&mut live);
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
    pub(super) async fn receive_apart(&mut self, state: &mut sync::State, message: Received) -> Result<(), String> {
        let mut theirs = state.clone();
        let receive = move |live: &mut Live| {
            live.receive(&mut theirs, message)?;
            Ok(theirs)
        };
        *state = self.apart(receive).await?;
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
