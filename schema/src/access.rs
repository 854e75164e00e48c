//! Who may do what: the stage between decoding a client's frame and touching a document.
//!
//! A [`Grant`] is only made by an [`Access`] policy, and an [`AuthorizedEdit`] only from a grant, so that code which
//! skips the check does not compile.

use std::{fmt, sync::Arc};

use crate::{
    id::{DocumentId, SessionId},
    limits,
};

/// Who acts: a user, a server, or nobody in particular. The name is stored with every entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The principal of connections that were not asked who they are.
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }

    /// A named principal; `None` when the name is empty or longer than [`limits::PRINCIPAL_BYTES`].
    pub fn named(name: &str) -> Option<Self> {
        (!name.is_empty() && name.len() <= limits::PRINCIPAL_BYTES).then(|| Self(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who acts, and in which session: what the log keeps of an author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The authenticated principal.
    pub principal: Principal,
    /// The session the edit came in.
    pub session: SessionId,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Make a document that does not exist.
    Create,
    /// Read content, history, or follow changes.
    Read,
    /// Submit changes.
    Write,
}

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{principal} may not {operation:?} {document}: {reason}")]
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

/// A decision-maker. It must be quick and must not block: it is asked on every operation.
pub trait Access: Send + Sync + 'static {
    /// Whether `author` may do `operation` to `document`.
    fn allows(&self, author: &Author, operation: Operation, document: &DocumentId) -> Result<(), &'static str>;
}

/// Lets everybody do everything: what `aetherflow dev` runs with.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAccess;

impl Access for OpenAccess {
    fn allows(&self, _: &Author, _: Operation, _: &DocumentId) -> Result<(), &'static str> {
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
        author: &Author,
        operation: Operation,
        document: &DocumentId,
    ) -> Result<Self, Denied> {
        match access.allows(author, operation, document) {
            Ok(()) => Ok(Self {
                author: author.clone(),
                document: document.clone(),
                operation,
            }),
            Err(reason) => Err(Denied {
                principal: author.principal.clone(),
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

    /// Whether changes may be submitted under it.
    pub fn may_write(&self) -> bool {
        matches!(self.operation, Operation::Create | Operation::Write)
    }
}

/// One frame of edits whose author was allowed to make them.
#[derive(Debug, Clone)]
pub struct AuthorizedEdit<T> {
    author: Author,
    frame: T,
}

impl<T> AuthorizedEdit<T> {
    /// Joins a frame with the grant it was checked under; `None` if the grant is for reading only.
    pub fn new(grant: &Grant, frame: T) -> Option<Self> {
        grant.may_write().then(|| Self {
            author: grant.author.clone(),
            frame,
        })
    }

    /// Takes it apart again.
    pub fn into_parts(self) -> (Author, T) {
        (self.author, self.frame)
    }
}
