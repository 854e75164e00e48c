//! Documents' permissions: decided from memory, written to the log, read from it.
//!
//! **Owns** limits on what documents may grow to, and the key that signs links. **Inputs**: questions, and changes.
//! **Effects**: entries that grant and revoke.
//! **Invariants**: a document that is not in its table is only then taken for new when the table is as far as the log is
//! committed, so that nobody reads or claims what was made a moment ago. Changes of one partition's permissions are made
//! one after the other, each looked at when the table knows those before it, so that two that make sense each by itself do
//! not together leave a document without an owner. A change is answered after the tables know it: from then on it holds
//! for whatever is asked. **On failure** to read a partition everything in it is refused.

use std::sync::{Arc, PoisonError, RwLock};

use aetherflow_oplog::{AppendError, LogHandle};
use aetherflow_schema::{
    access::{
        Access, AccessWatcher, Author, AuthorizedEdit, ClientKind, Grant, Grantee, Identity, Link, Operation,
        Permission, PermissionChange, Permissions, PermissionsError, Principal, Role,
    },
    documents::{BoxFuture, DocumentError},
    id::{DocumentId, Offset},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task,
};

use crate::{
    key::Key,
    options::AccessOptions,
    table::{PERMISSIONS, Row},
    tables::{TableError, Tables},
    token::{Claims, LONGEST_S, Ours, mint},
};

const UNREADABLE: &str = "its permissions cannot be read at present";
const NOTHING: &str = "you have no permission for it";

/// Limits on what documents may grow to; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
struct Quotas {
    documents: u64,
    bytes: u64,
    entries: u64,
}

struct Inner {
    tables: Arc<Tables>,
    signer: Option<Arc<Key>>,
    quotas: RwLock<Quotas>,
}

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct DocumentAccess(Arc<Inner>);

impl DocumentAccess {
    /// Reads the whole log, and goes on reading it. `signer` signs links. Must be called within a runtime.
    pub async fn start(log: LogHandle, options: &AccessOptions, signer: Option<Arc<Key>>) -> Self {
        Self(Arc::new(Inner {
            tables: Tables::start(log).await,
            signer,
            quotas: RwLock::new(Quotas::of(options)),
        }))
    }

    /// Other limits on documents from now on.
    pub fn set_quotas(&self, options: &AccessOptions) {
        *self.0.quotas.write().unwrap_or_else(PoisonError::into_inner) = Quotas::of(options);
    }

    /// Documents whose permissions are in memory.
    pub fn documents(&self) -> usize {
        self.0.tables.documents()
    }
}

impl Inner {
    fn quotas(&self) -> Quotas {
        *self.quotas.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(
        &self,
        identity: &Identity,
        operation: Operation,
        document: &DocumentId,
        row: Option<&Row>,
    ) -> Result<(), &'static str> {
        let by_token = identity.grants.role_on(document);
        let role = match row {
            Some(row) => row.role(identity, by_token),
            None if identity.may_create && identity.kind != ClientKind::Anonymous => Some(Role::Owner),
            None => by_token,
        };
        let Some(role) = role else { return Err(NOTHING) };
        // Whoever writes to a document that is not there makes it.
        let operation = match (operation, row) {
            (Operation::Write, None) => Operation::Create,
            (operation, _) => operation,
        };
        if !role.allows(operation) {
            return Err(match (operation, role) {
                (Operation::Write, _) => "it is for reading only",
                (Operation::Create, _) => "there is no such document, and you may not make it",
                _ => "your role does not allow that",
            });
        }
        match (operation, row) {
            (Operation::Create, None) => self.within_quota(&identity.principal),
            (Operation::Write, Some(row)) => self.quotas().room_in(row),
            _ => Ok(()),
        }
    }

    fn within_quota(&self, principal: &Principal) -> Result<(), &'static str> {
        let most = self.quotas().documents;
        if most == 0 {
            return Ok(());
        }
        if self.tables.founded_by(principal) >= most {
            return Err("you have made as many documents as you may");
        }
        Ok(())
    }

    /// What makes no sense as the permissions are.
    fn conflict(&self, author: &Principal, change: &PermissionChange) -> Option<&'static str> {
        let table = self.tables.table(self.tables.partition_of(&change.document));
        let row = table.row(&change.document);
        let server = author.as_str().starts_with(Principal::SERVER);
        let known = |row: &Row| {
            row.permissions()
                .iter()
                .any(|permission| permission.grantee == change.grantee)
        };
        match row {
            None if server => None,
            None => Some("there is no such document"),
            // It was allowed, and then it was this change's turn.
            Some(row) if row.has_revoked(author) => Some("you have no permission for it any more"),
            Some(row) if change.role != Some(Role::Owner) && !server && !row.has_owner_beside(&change.grantee) => {
                Some("it would have no owner any more")
            }
            Some(row) if row.permissions().len() >= PERMISSIONS && !known(row) => {
                Some("it has as many permissions as a document may have")
            }
            Some(_) if change.role == Some(Role::Owner) && !matches!(change.grantee, Grantee::Principal(_)) => {
                Some("not everybody can be its owner")
            }
            Some(_) => None,
        }
    }

    /// Makes a change when it is its turn.
    async fn change(&self, author: Author, change: PermissionChange) -> Result<Offset, PermissionsError> {
        let partition = self.tables.partition_of(&change.document);
        let unreadable = |error: TableError| DocumentError::Unreadable(error.to_string());
        self.tables.level(partition).await.map_err(unreadable)?;
        if let Some(conflict) = self.conflict(&author.principal, &change) {
            return Err(PermissionsError::Conflict(conflict));
        }
        let entry = change.draft(&author).encode();
        let entry = entry.map_err(|error| DocumentError::Invalid(error.to_string()))?;
        let appended = self.tables.log().append(vec![entry]).await.map_err(document_error)?;
        let offset = appended.last();
        let unknown = |error: TableError| DocumentError::Unknown(error.to_string());
        self.tables.level(partition).await.map_err(unknown)?;
        // Whoever applied it may not be done yet with telling.
        self.tables.tell(std::slice::from_ref(&change.document));
        tracing::info!(
            doc = %change.document, by = %author.principal, grantee = %change.grantee,
            role = change.role.map_or("none", Role::name), %offset, "permission changed"
        );
        Ok(offset)
    }
}

impl Quotas {
    fn of(options: &AccessOptions) -> Self {
        Self {
            documents: options.documents_per_principal,
            bytes: options.document_bytes,
            entries: options.document_changes,
        }
    }

    fn room_in(self, row: &Row) -> Result<(), &'static str> {
        if self.bytes != 0 && row.bytes >= self.bytes {
            return Err("its history has as many bytes as it may have");
        }
        if self.entries != 0 && row.entries >= self.entries {
            return Err("its history has as many entries as it may have");
        }
        Ok(())
    }
}

/// Reads a little without holding up the other tasks of this thread, where there are other threads to run them.
fn reading<T>(read: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => task::block_in_place(read),
        _ => read(),
    }
}

impl Access for DocumentAccess {
    fn allows(&self, identity: &Identity, operation: Operation, document: &DocumentId) -> Result<(), &'static str> {
        let tables = &self.0.tables;
        let id = tables.partition_of(document);
        if !tables.is_readable(id) {
            return Err(UNREADABLE);
        }
        {
            let table = tables.table(id);
            let row = table.row(document);
            if row.is_some() || table.position >= tables.log().committed(id) {
                return self.0.decide(identity, operation, document, row);
            }
        }
        // What is missing was committed a moment ago, so it is read from memory as a rule.
        reading(|| tables.catch_up(id)).map_err(|error| {
            tracing::warn!(doc = %document, %error, "refused, as its permissions cannot be read");
            UNREADABLE
        })?;
        let table = tables.table(id);
        self.0.decide(identity, operation, document, table.row(document))
    }

    fn watch(&self, watcher: Arc<dyn AccessWatcher>) {
        self.0.tables.watch(watcher);
    }
}

impl Permissions for DocumentAccess {
    fn list(&self, grant: &Grant) -> Vec<Permission> {
        let tables = &self.0.tables;
        let table = tables.table(tables.partition_of(grant.document()));
        let row = table.row(grant.document());
        row.map(|row| row.permissions().to_vec()).unwrap_or_default()
    }

    fn change(&self, edit: AuthorizedEdit<PermissionChange>) -> BoxFuture<'_, Result<Offset, PermissionsError>> {
        Box::pin(async move {
            let (author, change) = edit.into_parts();
            let tables = &self.0.tables;
            let turn = tables.turn(tables.partition_of(&change.document)).await;
            let inner = self.0.clone();
            // It goes to its end although nobody may wait for it any more: the next one is to know it, and so are those
            // who watch.
            let changing = task::spawn(async move {
                let changed = inner.change(author, change).await;
                drop(turn);
                changed
            });
            let changed = changing.await;
            changed.map_err(|error| DocumentError::Unknown(error.to_string()))?
        })
    }

    fn link(&self, grant: &Grant, role: Role, now: u64, seconds: u64) -> Result<Link, PermissionsError> {
        const NO_KEY: PermissionsError =
            PermissionsError::Unavailable("this server has no key to sign links with (`access.signing_key`)");
        let signer = self.0.signer.as_ref().ok_or(NO_KEY)?;
        if role == Role::Owner {
            return Err(PermissionsError::Conflict("a link makes nobody an owner"));
        }
        if seconds == 0 || seconds > LONGEST_S {
            return Err(PermissionsError::Conflict(
                "a link holds for a second at least and a year at most",
            ));
        }
        let mut random = [0; 16];
        let random_failed = |_| PermissionsError::Unavailable("the system gives no random bytes");
        SystemRandom::new().fill(&mut random).map_err(random_failed)?;
        let name = format!("{}{}", Principal::LINK, hex::encode(random));
        let ours = Ours {
            grants: [(grant.document().to_string(), role.name().to_owned())].into(),
            create: Some(false),
        };
        let claims = Claims::new(&name, now, seconds, ours);
        let token = mint(signer, &claims).map_err(|_| NO_KEY)?;
        Ok(Link {
            token,
            principal: Principal::named(&name).unwrap_or_else(Principal::anonymous),
            expires_at: claims.exp,
        })
    }
}

fn document_error(error: AppendError) -> DocumentError {
    match error {
        AppendError::Overloaded => DocumentError::Overloaded,
        AppendError::ReadOnly(reason) => DocumentError::ReadOnly(reason),
        AppendError::Unknown(reason) => DocumentError::Unknown(reason),
        error => DocumentError::Unreadable(error.to_string()),
    }
}
