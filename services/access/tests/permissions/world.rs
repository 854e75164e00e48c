//! Permissions over a log in memory, and those who ask for them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aetherflow_access::{AccessOptions, DocumentAccess, key::Key};
use aetherflow_log_core::{Damage, memory::MemoryStorage};
use aetherflow_oplog::{LogHandle, LogOptions};
use aetherflow_schema::{
    access::{
        Access, AccessWatcher, AuthorizedEdit, Caller, Grant, Identity, Operation, PermissionChange, Permissions,
        PermissionsError, Principal, Role,
    },
    id::{DocumentId, Offset, OpId, SessionId},
    record::{EntryDraft, EntryKind},
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

#[derive(Default)]
pub(crate) struct Ear(pub(crate) Mutex<Vec<DocumentId>>);

impl AccessWatcher for Ear {
    fn document_changed(&self, document: &DocumentId) {
        self.0.lock().unwrap().push(document.clone());
    }

    fn credential_revoked(&self, _: &str) {}
}

pub(crate) struct World {
    pub(crate) storage: Arc<MemoryStorage>,
    pub(crate) log: LogHandle,
    pub(crate) access: DocumentAccess,
    pub(crate) ear: Arc<Ear>,
}

impl World {
    pub(crate) async fn new(options: &AccessOptions) -> Self {
        Self::over(Arc::new(MemoryStorage::new(2)), options).await
    }

    pub(crate) async fn over(storage: Arc<MemoryStorage>, options: &AccessOptions) -> Self {
        let log = LogHandle::start(storage.clone(), LogOptions::default()).unwrap();
        let signer = Arc::new(Key::secret(&[1; 32], Some("local".to_owned())).unwrap());
        let access = DocumentAccess::start(log.clone(), options, Some(signer)).await;
        let ear = Arc::new(Ear::default());
        access.watch(ear.clone());
        Self {
            storage,
            log,
            access,
            ear,
        }
    }

    /// An edit, as statesync appends one.
    pub(crate) async fn edit(&self, document: &DocumentId, by: &Identity, n: u8) -> Offset {
        let draft = EntryDraft {
            kind: EntryKind::Change,
            document: document.clone(),
            op_id: OpId([n; 32]),
            author: caller(by).author(),
            trace: None,
            payload: vec![n; 10].into(),
        };
        self.log.append(vec![draft.encode().unwrap()]).await.unwrap().last()
    }

    pub(crate) async fn change(
        &self,
        by: &Identity,
        document: &DocumentId,
        grantee: &str,
        role: Option<Role>,
    ) -> Result<Offset, PermissionsError> {
        self.access.change(self.wish(by, document, grantee, role)).await
    }

    /// A change that was allowed, and is not made yet.
    pub(crate) fn wish(
        &self,
        by: &Identity,
        document: &DocumentId,
        grantee: &str,
        role: Option<Role>,
    ) -> AuthorizedEdit<PermissionChange> {
        let grant = Grant::check(&self.access, &caller(by), Operation::Administer, document).unwrap();
        let change = PermissionChange {
            document: document.clone(),
            grantee: grantee.parse().unwrap(),
            role,
            nonce: *Uuid::new_v4().as_bytes(),
        };
        AuthorizedEdit::new(&grant, change).unwrap()
    }

    pub(crate) fn damage(&self, document: &DocumentId) {
        let damage = Damage {
            offset: Offset(1),
            reason: "a test".to_owned(),
        };
        self.storage.quarantine(self.log.partition_of(document), damage);
    }

    pub(crate) fn may(&self, who: &Identity, operation: Operation, document: &DocumentId) -> bool {
        self.access.allows(who, operation, document).is_ok()
    }
}

/// Waits for a condition, or fails.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(20), wait).await.is_ok(),
        "waited in vain: {what}"
    );
}

pub(crate) fn caller(identity: &Identity) -> Caller {
    Caller {
        identity: Arc::new(identity.clone()),
        session: SessionId(Uuid::nil()),
    }
}

pub(crate) fn user(name: &str) -> Identity {
    Identity::user(Principal::user(name).unwrap())
}

pub(crate) fn document(n: u8) -> DocumentId {
    DocumentId::from_bytes(&[n; 16]).unwrap()
}
