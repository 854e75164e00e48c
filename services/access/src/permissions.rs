//! Documents' permissions: decided from memory, written to the log, read from it.
//!
//! **Owns** a table for each partition, and a task that keeps it level with the log. **Inputs**: committed entries.
//! **Effects**: entries that grant and revoke; those who watch are told which documents changed.
//! **Invariants**: a document that is not in its table is only then taken for new when the table is as far as the log is
//! committed, so that nobody reads or claims what was made a moment ago. A change of permissions is answered after the
//! tables know it: from then on it holds for whatever is asked. **On failure** to read a partition everything in it is
//! refused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use aetherflow_oplog::{AppendError, LogHandle};
use aetherflow_schema::{
    access::{
        Access, AccessWatcher, AuthorizedEdit, ClientKind, Grant, Grantee, Identity, Link, Operation, Permission,
        PermissionChange, Permissions, PermissionsError, Principal, Role,
    },
    documents::{BoxFuture, DocumentError},
    id::{DocumentId, Offset, PartitionId},
    record::Frame,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{runtime::Handle, task};

use crate::{
    key::Key,
    options::AccessOptions,
    table::{Effect, PERMISSIONS, Row, Table},
    token::{Claims, LONGEST_S, Ours, mint},
};

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 1 << 20;

const UNREADABLE: &str = "its permissions cannot be read at present";
const NOTHING: &str = "you have no permission for it";

struct Partition {
    table: RwLock<Table>,
    /// It cannot be read, so nothing in it is allowed.
    failed: AtomicBool,
}

/// Limits on what documents may grow to; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
struct Quotas {
    documents: u64,
    bytes: u64,
    entries: u64,
}

struct Inner {
    log: LogHandle,
    partitions: Box<[Partition]>,
    /// How many documents each principal made.
    founded: Mutex<HashMap<Principal, u64>>,
    watchers: RwLock<Vec<Arc<dyn AccessWatcher>>>,
    signer: Option<Arc<Key>>,
    quotas: RwLock<Quotas>,
    runtime: Handle,
}

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct DocumentAccess(Arc<Inner>);

impl DocumentAccess {
    /// Reads the whole log, and goes on reading it. `signer` signs links. Must be called within a runtime.
    pub async fn start(log: LogHandle, options: &AccessOptions, signer: Option<Arc<Key>>) -> Self {
        let partitions = (0..log.partitions()).map(|_| Partition {
            table: RwLock::default(),
            failed: AtomicBool::new(false),
        });
        let this = Self(Arc::new(Inner {
            partitions: partitions.collect(),
            founded: Mutex::default(),
            watchers: RwLock::default(),
            signer,
            quotas: RwLock::new(Quotas::of(options)),
            runtime: Handle::current(),
            log,
        }));
        let damaged = this.0.log.status().into_iter().filter(|status| status.state.is_err());
        for status in damaged {
            this.0.fail(status.partition, "it is quarantined");
        }
        for id in (0..this.0.log.partitions()).map(PartitionId) {
            let inner = this.0.clone();
            if let Err(error) = task::spawn_blocking(move || inner.catch_up(id)).await {
                this.0.fail(id, &error.to_string());
            }
            task::spawn(follow(Arc::downgrade(&this.0), id));
        }
        this
    }

    /// Other limits on documents from now on.
    pub fn set_quotas(&self, options: &AccessOptions) {
        *self.0.quotas.write().unwrap_or_else(PoisonError::into_inner) = Quotas::of(options);
    }

    /// Documents whose permissions are in memory.
    pub fn documents(&self) -> usize {
        let tables = self.0.partitions.iter();
        tables.map(|partition| partition.read().len()).sum()
    }
}

/// Keeps a table level with the log, for as long as somebody holds it.
async fn follow(inner: Weak<Inner>, id: PartitionId) {
    let mut reader = match inner.upgrade() {
        Some(inner) => inner.log.tail(id, inner.partition(id).read().position.next()),
        None => return,
    };
    loop {
        let next = reader.next().await;
        let Some(inner) = inner.upgrade() else { return };
        match next {
            Ok(Some(frame)) => inner.tell(&inner.apply(id, &[frame])),
            Ok(None) => return,
            Err(error) => return inner.fail(id, &error.to_string()),
        }
    }
}

impl Partition {
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn quotas(&self) -> Quotas {
        *self.quotas.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn partition(&self, id: PartitionId) -> &Partition {
        &self.partitions[usize::from(id.0)]
    }

    fn fail(&self, id: PartitionId, reason: &str) {
        self.partition(id).failed.store(true, Ordering::Relaxed);
        tracing::error!(partition = %id, reason, "permissions cannot be read, so nothing is allowed there");
    }

    /// Reads what is committed and not in the table yet: the documents whose permissions are others now.
    #[must_use]
    fn catch_up(&self, id: PartitionId) -> Vec<DocumentId> {
        let committed = self.log.committed(id);
        let mut changed = Vec::new();
        loop {
            let position = self.partition(id).read().position;
            if position >= committed || self.partition(id).failed.load(Ordering::Relaxed) {
                return changed;
            }
            match self.log.frames(id, position.next(), READ_BYTES) {
                Ok(frames) if !frames.is_empty() => changed.extend(self.apply(id, &frames)),
                Ok(_) => self.fail(id, "the log has a gap"),
                Err(error) => self.fail(id, &error.to_string()),
            }
        }
    }

    /// Applies frames: the documents whose permissions are others now, of which those who watch are to be told.
    #[must_use]
    fn apply(&self, id: PartitionId, frames: &[Frame]) -> Vec<DocumentId> {
        let mut changed = Vec::new();
        {
            let mut table = self.partition(id).write();
            for frame in frames {
                if frame.header().last() <= table.position {
                    continue;
                }
                for entry in frame.entries() {
                    let entry = match entry {
                        Ok(entry) => entry,
                        Err(error) => {
                            self.fail(id, &error.to_string());
                            return changed;
                        }
                    };
                    match table.apply(&entry) {
                        Effect::None => {}
                        Effect::Founded(founder) => self.count(founder),
                        Effect::Permissions => changed.push(entry.draft.document),
                        Effect::Unreadable(reason) => {
                            let document = &entry.draft.document;
                            tracing::error!(doc = %document, offset = %entry.offset, reason, "closed to everybody");
                            changed.push(entry.draft.document);
                        }
                    }
                }
            }
        }
        changed
    }

    fn count(&self, founder: Option<Principal>) {
        if let Some(founder) = founder {
            let mut founded = self.founded.lock().unwrap_or_else(PoisonError::into_inner);
            *founded.entry(founder).or_default() += 1;
        }
    }

    fn tell(&self, changed: &[DocumentId]) {
        let watchers = self.watchers.read().unwrap_or_else(PoisonError::into_inner);
        for document in changed {
            watchers.iter().for_each(|watcher| watcher.document_changed(document));
        }
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
        let founded = self.founded.lock().unwrap_or_else(PoisonError::into_inner);
        match founded.get(principal) {
            Some(count) if *count >= most => Err("you have made as many documents as you may"),
            _ => Ok(()),
        }
    }

    /// What makes no sense as the permissions are.
    fn conflict(&self, author: &Principal, change: &PermissionChange) -> Option<&'static str> {
        let table = self.partition(self.log.partition_of(&change.document)).read();
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

impl Access for DocumentAccess {
    fn allows(&self, identity: &Identity, operation: Operation, document: &DocumentId) -> Result<(), &'static str> {
        let id = self.0.log.partition_of(document);
        let partition = self.0.partition(id);
        if partition.failed.load(Ordering::Relaxed) {
            return Err(UNREADABLE);
        }
        {
            let table = partition.read();
            let row = table.row(document);
            if row.is_some() || table.position >= self.0.log.committed(id) {
                return self.0.decide(identity, operation, document, row);
            }
        }
        // What is missing was committed a moment ago, so it is read from memory.
        let changed = self.0.catch_up(id);
        if !changed.is_empty() {
            // Whoever asks may hold what those who are told need.
            let inner = self.0.clone();
            self.0.runtime.spawn(async move { inner.tell(&changed) });
        }
        if partition.failed.load(Ordering::Relaxed) {
            return Err(UNREADABLE);
        }
        let table = partition.read();
        self.0.decide(identity, operation, document, table.row(document))
    }

    fn watch(&self, watcher: Arc<dyn AccessWatcher>) {
        let mut watchers = self.0.watchers.write().unwrap_or_else(PoisonError::into_inner);
        watchers.push(watcher);
    }
}

impl Permissions for DocumentAccess {
    fn list(&self, grant: &Grant) -> Vec<Permission> {
        let table = self.0.partition(self.0.log.partition_of(grant.document())).read();
        let row = table.row(grant.document());
        row.map(|row| row.permissions().to_vec()).unwrap_or_default()
    }

    fn change(&self, edit: AuthorizedEdit<PermissionChange>) -> BoxFuture<'_, Result<Offset, PermissionsError>> {
        Box::pin(async move {
            let (author, change) = edit.into_parts();
            if let Some(conflict) = self.0.conflict(&author.principal, &change) {
                return Err(PermissionsError::Conflict(conflict));
            }
            let entry = change.draft(&author).encode();
            let entry = entry.map_err(|error| DocumentError::Invalid(error.to_string()))?;
            let appended = self.0.log.append(vec![entry]).await.map_err(document_error)?;
            let offset = appended.last();
            let (inner, id) = (self.0.clone(), self.0.log.partition_of(&change.document));
            let caught_up = task::spawn_blocking(move || inner.catch_up(id)).await;
            caught_up.map_err(|error| DocumentError::Unknown(error.to_string()))?;
            // The task that follows the log may have been first, and not be done yet with telling.
            self.0.tell(std::slice::from_ref(&change.document));
            tracing::info!(
                doc = %change.document, by = %author.principal, grantee = %change.grantee,
                role = change.role.map_or("none", Role::name), %offset, "permission changed"
            );
            Ok(offset)
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
