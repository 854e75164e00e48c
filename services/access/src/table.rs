//! The permissions of one partition's documents, as its log says. No I/O.
//!
//! **Owns** one row for each document, and how far the log was read. **Invariant**: a function of the entries up to
//! `position`: each is applied once, in order.

use std::collections::HashMap;

use aetherflow_schema::{
    access::{ClientKind, Grantee, Identity, Permission, PermissionChange, Principal, Role},
    id::{DocumentId, Offset},
    record::{Entry, EntryKind},
};

/// Permissions of one document.
pub(crate) const PERMISSIONS: usize = 1_000;

/// One document.
#[derive(Debug, Default)]
pub(crate) struct Row {
    permissions: Vec<Permission>,
    /// An entry about permissions cannot be read, and may have taken some away: nobody has any.
    sealed: bool,
    /// Bytes of its entries' payloads.
    pub(crate) bytes: u64,
    /// Its entries.
    pub(crate) entries: u64,
}

/// All documents of a partition.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) position: Offset,
    documents: HashMap<DocumentId, Row>,
}

/// What an entry did to the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing but to be counted.
    None,
    /// A document is there that was not, made by this principal if it was anybody.
    Founded(Option<Principal>),
    /// Its permissions are others.
    Permissions,
    /// It was to change permissions, and cannot be read.
    Unreadable(String),
}

impl Table {
    /// How many documents there are.
    pub(crate) fn len(&self) -> usize {
        self.documents.len()
    }

    /// The row of a document.
    pub(crate) fn row(&self, document: &DocumentId) -> Option<&Row> {
        self.documents.get(document)
    }

    /// Applies the next entry.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Effect {
        if entry.offset <= self.position {
            return Effect::None;
        }
        self.position = entry.offset;
        let draft = &entry.draft;
        let mut effect = Effect::None;
        let row = match self.documents.get_mut(&draft.document) {
            Some(row) => row,
            None => {
                let founder = Some(draft.author.principal.clone()).filter(is_somebody);
                effect = Effect::Founded(founder.clone());
                let row = self.documents.entry(draft.document.clone()).or_default();
                row.permissions.extend(founder.map(|principal| Permission {
                    grantee: Grantee::Principal(principal),
                    role: Some(Role::Owner),
                    since: entry.offset,
                }));
                row
            }
        };
        row.bytes += draft.payload.len() as u64;
        row.entries += 1;
        if matches!(draft.kind, EntryKind::Grant | EntryKind::Revoke) {
            match PermissionChange::of(draft) {
                Ok(change) => {
                    row.change(change.grantee, change.role, entry.offset);
                    effect = Effect::Permissions;
                }
                Err(error) => {
                    row.sealed = true;
                    effect = Effect::Unreadable(error.to_string());
                }
            }
        }
        effect
    }
}

/// Nobody in particular owns nothing, nor does whoever had a link.
fn is_somebody(principal: &Principal) -> bool {
    let name = principal.as_str();
    !principal.is_anonymous() && !name.starts_with(Principal::LINK)
}

impl Row {
    fn change(&mut self, grantee: Grantee, role: Option<Role>, since: Offset) {
        let place = self
            .permissions
            .iter()
            .position(|permission| permission.grantee == grantee);
        let permission = Permission { grantee, role, since };
        match (place, &permission.grantee, role) {
            // What was granted to everybody and is not any more leaves nothing behind.
            (Some(place), Grantee::Authenticated | Grantee::Public, None) => {
                self.permissions.remove(place);
            }
            (None, Grantee::Authenticated | Grantee::Public, None) => {}
            (Some(place), _, _) => self.permissions[place] = permission,
            (None, _, _) => self.permissions.push(permission),
        }
    }

    /// All permissions.
    pub(crate) fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    /// What a client is to the document: the best of what it is granted by name, with others, and by its token; nothing
    /// when it was revoked by name.
    pub(crate) fn role(&self, identity: &Identity, by_token: Option<Role>) -> Option<Role> {
        if self.sealed {
            return None;
        }
        let mut best = by_token;
        for permission in &self.permissions {
            let applies = match &permission.grantee {
                Grantee::Principal(principal) => *principal == identity.principal,
                Grantee::Authenticated => identity.kind != ClientKind::Anonymous,
                Grantee::Public => true,
            };
            if applies && permission.role.is_none() {
                return None;
            }
            if applies {
                best = best.max(permission.role);
            }
        }
        best
    }

    /// Whether everything was taken away from this principal by name.
    pub(crate) fn has_revoked(&self, principal: &Principal) -> bool {
        let named = |grantee: &Grantee| matches!(grantee, Grantee::Principal(named) if named == principal);
        let mut permissions = self.permissions.iter();
        permissions.any(|permission| named(&permission.grantee) && permission.role.is_none())
    }

    /// Whether it would have an owner still if this principal were none.
    pub(crate) fn has_owner_beside(&self, grantee: &Grantee) -> bool {
        let owner = |permission: &Permission| permission.role == Some(Role::Owner) && permission.grantee != *grantee;
        self.permissions.iter().any(owner)
    }
}

#[cfg(test)]
mod tests {
    use aetherflow_schema::{
        access::Author,
        id::{OpId, SessionId},
        record::EntryDraft,
    };
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn document() -> DocumentId {
        DocumentId::from_bytes(&[1]).unwrap()
    }

    fn author(name: &str) -> Author {
        Author {
            principal: Principal::named(name).unwrap(),
            session: SessionId(Uuid::nil()),
        }
    }

    fn entry(offset: u64, draft: EntryDraft) -> Entry {
        Entry {
            offset: Offset(offset),
            epoch: 0,
            committed_us: 0,
            draft,
        }
    }

    fn edit(offset: u64, name: &str) -> Entry {
        let draft = EntryDraft {
            kind: EntryKind::Change,
            document: document(),
            op_id: OpId([offset as u8; 32]),
            author: author(name),
            trace: None,
            payload: Bytes::from_static(b"abc"),
        };
        entry(offset, draft)
    }

    fn change(offset: u64, grantee: &str, role: Option<Role>) -> Entry {
        let change = PermissionChange {
            document: document(),
            grantee: grantee.parse().unwrap(),
            role,
            nonce: [0; 16],
        };
        entry(offset, change.draft(&author("ada")))
    }

    fn user(name: &str) -> Identity {
        Identity::user(Principal::named(name).unwrap())
    }

    fn role(table: &Table, identity: &Identity) -> Option<Role> {
        let row = table.row(&document()).unwrap();
        row.role(identity, identity.grants.role_on(&document()))
    }

    #[test]
    fn the_author_of_the_first_entry_owns_the_document_and_nobody_else_has_anything() {
        let mut table = Table::default();
        let ada = Principal::named("ada").unwrap();
        assert_eq!(table.apply(&edit(5, "ada")), Effect::Founded(Some(ada)));
        assert_eq!(table.apply(&edit(6, "bob")), Effect::None);
        assert_eq!(table.apply(&edit(6, "bob")), Effect::None, "applied once");
        assert_eq!(role(&table, &user("ada")), Some(Role::Owner));
        assert_eq!(role(&table, &user("bob")), None);
        assert_eq!(role(&table, &Identity::anonymous()), None);
        let row = table.row(&document()).unwrap();
        assert_eq!((row.bytes, row.entries, table.position), (6, 2, Offset(6)));
        for nobody in ["anonymous", "link:x"] {
            let mut table = Table::default();
            assert_eq!(table.apply(&edit(1, nobody)), Effect::Founded(None));
            assert!(table.row(&document()).unwrap().permissions().is_empty());
        }
    }

    #[test]
    fn the_best_permission_counts_and_a_revocation_by_name_stands_against_all() {
        let mut table = Table::default();
        table.apply(&edit(1, "ada"));
        table.apply(&change(2, "bob", Some(Role::Editor)));
        table.apply(&change(3, "*", Some(Role::Viewer)));
        assert_eq!(role(&table, &user("bob")), Some(Role::Editor));
        assert_eq!(role(&table, &user("eve")), Some(Role::Viewer));
        assert_eq!(role(&table, &Identity::anonymous()), None);
        table.apply(&change(4, "public", Some(Role::Viewer)));
        assert_eq!(role(&table, &Identity::anonymous()), Some(Role::Viewer));
        let mut powerful = user("bob");
        powerful.grants.everywhere = Some(Role::Owner);
        assert_eq!(role(&table, &powerful), Some(Role::Owner));
        assert_eq!(table.apply(&change(5, "bob", None)), Effect::Permissions);
        assert_eq!((role(&table, &user("bob")), role(&table, &powerful)), (None, None));
        table.apply(&change(6, "*", None));
        table.apply(&change(7, "public", None));
        assert_eq!(role(&table, &user("eve")), None);
        table.apply(&change(8, "bob", Some(Role::Viewer)));
        assert_eq!(role(&table, &user("bob")), Some(Role::Viewer));
        let row = table.row(&document()).unwrap();
        assert_eq!(row.permissions().len(), 2);
        assert!(!row.has_owner_beside(&"ada".parse().unwrap()) && row.has_owner_beside(&"bob".parse().unwrap()));
    }

    #[test]
    fn a_document_whose_permissions_cannot_be_read_is_closed() {
        let mut table = Table::default();
        table.apply(&edit(1, "ada"));
        let mut damaged = change(2, "bob", Some(Role::Editor));
        damaged.draft.payload = Bytes::from_static(b"?");
        assert!(matches!(table.apply(&damaged), Effect::Unreadable(_)));
        assert_eq!(role(&table, &user("ada")), None);
    }
}
