//! The documents that a connection follows.
//!
//! Owns: their subscriptions, which are also where others' presence is heard, and up to where the client was told of each.
//! Invariant: whoever is in here is in the other indexes, too, and leaves them together.

use std::{collections::HashMap, sync::Arc};

use aetherflow_schema::{
    access::Operation,
    document_log::{Follower, Following},
    id::{DocumentId, Offset},
    native::Subscribe,
};

use super::{subscription::Subscription, voice::Voice};

/// See the [module](self).
pub(super) struct Followed {
    voice: Voice,
    documents: HashMap<DocumentId, One>,
}

struct One {
    subscription: Arc<Subscription>,
    /// The cursor that the session has.
    known: Option<Offset>,
    _following: Box<dyn Following>,
}

/// Up to where a client was told of documents.
pub(super) type Moved = Vec<(DocumentId, Option<Offset>)>;

impl Followed {
    pub(super) fn new(voice: Voice) -> Self {
        Self {
            voice,
            documents: HashMap::new(),
        }
    }

    /// Follows a document, instead of as it was followed until now; `false` when that is not allowed, which is said.
    pub(super) fn follow(&mut self, subscribe: Subscribe) -> bool {
        let Subscribe {
            request,
            document,
            start,
        } = subscribe;
        self.unfollow(&document);
        let grant = match self.voice.grant(Operation::Read, &document) {
            Ok(grant) => grant,
            Err(denied) => {
                self.voice.forbid(&document, request, &denied);
                return false;
            }
        };
        let Voice { shared, outbound, .. } = &self.voice;
        let subscription = Arc::new(Subscription::new(self.voice.clone(), document.clone(), request, &start));
        let following = shared.log.follow(Follower {
            grant,
            start,
            sink: subscription.clone(),
        });
        shared.metrics.native.subscriptions.inc();
        shared.followers.join(&document, outbound.id(), subscription.clone());
        shared.presence.watch(&document, subscription.clone());
        let one = One {
            subscription,
            known: None,
            _following: following,
        };
        self.documents.insert(document, one);
        true
    }

    /// Follows a document no longer.
    pub(super) fn unfollow(&mut self, document: &DocumentId) {
        if let Some(one) = self.documents.remove(document) {
            self.end(document, &one);
        }
    }

    /// Follows nothing any more.
    pub(super) fn unfollow_all(&mut self) {
        for (document, one) in std::mem::take(&mut self.documents) {
            self.end(&document, &one);
        }
    }

    fn end(&self, document: &DocumentId, one: &One) {
        let Voice { shared, outbound, .. } = &self.voice;
        one.subscription.end();
        shared.presence.unwatch(document, outbound.id());
        shared.followers.leave(document, outbound.id());
        shared.metrics.native.subscriptions.dec();
    }

    /// Subscriptions that ended by themselves.
    pub(super) fn ended(&self) -> Vec<DocumentId> {
        let ended = self.documents.iter().filter(|(_, one)| one.subscription.has_ended());
        ended.map(|(document, _)| document.clone()).collect()
    }

    /// What the client was told since this was asked the last time.
    pub(super) fn moved(&mut self) -> Moved {
        let documents = self.documents.iter_mut();
        documents
            .filter_map(|(document, one)| {
                let cursor = one.subscription.cursor();
                (cursor.is_some() && cursor != one.known).then(|| {
                    one.known = cursor;
                    (document.clone(), cursor)
                })
            })
            .collect()
    }
}
