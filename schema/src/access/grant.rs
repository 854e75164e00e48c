//! The proof that a policy was asked.

use std::sync::Arc;

use super::{Author, Caller, Identity, Operation, PermissionChange, Principal};
use crate::{document_log::Changes, documents::SyncFrame, id::DocumentId};

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{principal} may not {} {document}: {reason}", operation.name())]
pub struct Denied {
    /// Who asked.
    pub principal: Principal,
    /// For what.
    pub operation: Operation,
    /// On which document.
    pub document: DocumentId,
    /// Why not, in words for the person who asked.
    pub reason: &'static str,
}

/// Somebody who wants to know that something may be allowed no longer. Calls never block.
pub trait AccessWatcher: Send + Sync + 'static {
    /// What may be done to this document has changed.
    fn document_changed(&self, document: &DocumentId);

    /// Clients that came with this API key are to be sent away.
    fn credential_revoked(&self, credential: &str);
}

/// A decision-maker. It must be quick: it is asked on every operation.
pub trait Access: Send + Sync + 'static {
    /// Whether this client may do `operation` to `document`.
    fn allows(&self, identity: &Identity, operation: Operation, document: &DocumentId) -> Result<(), &'static str>;

    /// Whether this client may do `operation` to whatever there is, as those may who administer the server. Unless somebody
    /// knows better, that is up to what its token grants.
    ///
    /// # Errors
    /// Why not, in words for the person who asked.
    fn allows_everywhere(&self, identity: &Identity, operation: Operation) -> Result<(), &'static str> {
        match identity.grants.everywhere {
            Some(role) if role.allows(operation) => Ok(()),
            _ => Err("your token does not grant that on every document"),
        }
    }

    /// From now on tells `watcher` what changes.
    fn watch(&self, watcher: Arc<dyn AccessWatcher>) {
        drop(watcher);
    }
}

/// Lets everybody do everything: what `aetherflow dev` runs with.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAccess;

impl Access for OpenAccess {
    fn allows(&self, _: &Identity, _: Operation, _: &DocumentId) -> Result<(), &'static str> {
        Ok(())
    }

    fn allows_everywhere(&self, _: &Identity, _: Operation) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Proof that a policy was asked and agreed.
#[derive(Debug, Clone)]
pub struct Grant {
    author: Author,
    document: DocumentId,
    operation: Operation,
}

impl Grant {
    /// Asks `access`. This is the only way to get a grant.
    pub fn check(
        access: &dyn Access,
        caller: &Caller,
        operation: Operation,
        document: &DocumentId,
    ) -> Result<Self, Denied> {
        match access.allows(&caller.identity, operation, document) {
            Ok(()) => Ok(Self {
                author: caller.author(),
                document: document.clone(),
                operation,
            }),
            Err(reason) => Err(Denied {
                principal: caller.identity.principal.clone(),
                operation,
                document: document.clone(),
                reason,
            }),
        }
    }

    /// On whose behalf.
    pub fn author(&self) -> &Author {
        &self.author
    }

    /// For which document.
    pub fn document(&self) -> &DocumentId {
        &self.document
    }

    /// For what.
    pub fn operation(&self) -> Operation {
        self.operation
    }
}

/// Something that changes a document, and what must be granted for it.
pub trait Edit {
    /// Any one of these.
    const NEEDS: &'static [Operation];
}

impl Edit for SyncFrame {
    const NEEDS: &'static [Operation] = &[Operation::Write];
}

impl Edit for Changes {
    const NEEDS: &'static [Operation] = &[Operation::Write];
}

/// Content for the document of this name.
impl Edit for DocumentId {
    const NEEDS: &'static [Operation] = &[Operation::Create, Operation::Write];
}

impl Edit for PermissionChange {
    const NEEDS: &'static [Operation] = &[Operation::Administer];
}

/// An edit whose author was allowed to make it.
#[derive(Debug, Clone)]
pub struct AuthorizedEdit<T> {
    author: Author,
    frame: T,
}

impl<T: Edit> AuthorizedEdit<T> {
    /// Joins an edit with the grant it was checked under; `None` if the grant is for something else.
    pub fn new(grant: &Grant, frame: T) -> Option<Self> {
        T::NEEDS.contains(&grant.operation).then(|| Self {
            author: grant.author.clone(),
            frame,
        })
    }
}

impl<T> AuthorizedEdit<T> {
    /// Takes it apart again.
    pub fn into_parts(self) -> (Author, T) {
        (self.author, self.frame)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        access::{Grantee, Role},
        id::SessionId,
    };

    #[test]
    fn a_grant_is_good_for_what_it_was_asked_for_and_nothing_else() {
        let document = DocumentId::from_bytes(&[1]).unwrap();
        let caller = Caller::anonymous(SessionId(Uuid::nil()));
        let change = PermissionChange {
            document: document.clone(),
            grantee: Grantee::Public,
            role: Some(Role::Viewer),
            nonce: [0; 16],
        };
        for operation in Operation::ALL {
            let grant = Grant::check(&OpenAccess, &caller, operation, &document).unwrap();
            let makes = [
                AuthorizedEdit::new(&grant, document.clone()).is_some(),
                AuthorizedEdit::new(&grant, change.clone()).is_some(),
            ];
            let expected = match operation {
                Operation::Create | Operation::Write => [true, false],
                Operation::Administer => [false, true],
                Operation::Read | Operation::Presence | Operation::Delete => [false, false],
            };
            assert_eq!(makes, expected, "{operation:?}");
        }
    }
}
