//! Documents as their entries: what clients of the native protocol ask.

use aetherflow_schema::{
    access::AuthorizedEdit,
    document_log::{Changes, DocumentLog, EntryPage, Follower, Following, PendingSubmit, Stretch},
    documents::{BoxFuture, DocumentError},
};
use tokio::{sync::oneshot, task};

use crate::{actor::Input, follow, service::Statesync};

impl DocumentLog for Statesync {
    fn submit(&self, edit: AuthorizedEdit<Changes>) -> BoxFuture<'_, Result<PendingSubmit, DocumentError>> {
        Box::pin(async move {
            let (author, changes) = edit.into_parts();
            let Changes {
                document,
                changes,
                fence,
            } = changes;
            let (answer, answered) = oneshot::channel();
            let sent = self
                .actor(&document)
                .send(Input::Submit(author, changes, fence, answer))
                .await;
            sent.map_err(|_| DocumentError::Stopping)?;
            let pending = async move {
                let lost = || Err(DocumentError::Unknown("the document was closed".to_owned()));
                answered.await.unwrap_or_else(|_| lost())
            };
            Ok(Box::pin(pending) as PendingSubmit)
        })
    }

    fn follow(&self, follower: Follower) -> Box<dyn Following> {
        let Follower { grant, start, sink } = follower;
        follow::start(self.clone(), grant.document().clone(), start, sink)
    }

    fn fetch(&self, stretch: Stretch) -> BoxFuture<'_, Result<EntryPage, DocumentError>> {
        Box::pin(async move {
            let log = self.log().clone();
            let read = task::spawn_blocking(move || follow::page(&log, &stretch));
            read.await
                .unwrap_or_else(|error| Err(DocumentError::Unreadable(error.to_string())))
        })
    }
}
