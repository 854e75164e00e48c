//! Permissions of a document, and their form in the log.
//!
//! The payload of an entry of kind grant or revoke, version 1:
//!
//! ```text
//! 0  version = 1                                                            u8
//! 1  role: 1 viewer, 2 editor, 3 owner; 0 in a revocation                   u8
//! 2  to whom: 1 a principal, 2 everybody with a token, 3 everybody          u8
//! 3  a nonce, so that what is granted again is another operation            16 bytes
//! 19 the principal's name; nothing in the other cases
//! ```
//!
//! The operation's id is the BLAKE3 hash of the payload. Whoever made a document's first entry, unless it was nobody in
//! particular, is its owner without a grant, until an entry about that principal says otherwise. A revocation about a
//! principal stands against everything that grants it something, its token included; the others take back what was granted
//! to everybody.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use super::{Author, Principal, Role};
use crate::{
    id::{DocumentId, Offset, OpId},
    record::{EntryDraft, EntryKind},
};

const VERSION: u8 = 1;
const NONCE: usize = 16;
const FIXED_BYTES: usize = 3 + NONCE;

/// Whom a permission is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grantee {
    /// This one.
    Principal(Principal),
    /// Everybody with a token of their own, or an API key.
    Authenticated,
    /// Everybody.
    Public,
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Principal(principal) => principal.as_str(),
            Self::Authenticated => "*",
            Self::Public => "public",
        })
    }
}

/// The text names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("permissions are for a principal of 1 to 255 bytes without control characters, for `*` or for `public`")]
pub struct NoGrantee;

impl FromStr for Grantee {
    type Err = NoGrantee;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "*" => Ok(Self::Authenticated),
            "public" => Ok(Self::Public),
            name => Principal::named(name)
                .filter(|principal| !principal.is_anonymous() && !name.chars().any(char::is_control))
                .map(Self::Principal)
                .ok_or(NoGrantee),
        }
    }
}

/// A permission given or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionChange {
    /// On which document.
    pub document: DocumentId,
    /// To whom, or from whom.
    pub grantee: Grantee,
    /// What; `None` takes everything away.
    pub role: Option<Role>,
    /// Drawn at random by whoever makes the change.
    pub nonce: [u8; NONCE],
}

/// Why a payload is no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// Too short, or of a kind of entry that is no permission.
    #[error("not a permission")]
    Form,
    /// Written by a newer version.
    #[error("a permission of version {0}; this program reads version {VERSION}")]
    Version(u8),
    /// A role that does not fit the kind of entry.
    #[error("role {0} in an entry that cannot have it")]
    Role(u8),
    /// Neither a known group nor a principal's name.
    #[error("the permission is for nobody known")]
    Grantee,
}

impl PermissionChange {
    /// As it stands in the log.
    pub fn draft(&self, author: &Author) -> EntryDraft {
        let payload = self.payload();
        EntryDraft {
            kind: match self.role {
                Some(_) => EntryKind::Grant,
                None => EntryKind::Revoke,
            },
            document: self.document.clone(),
            op_id: OpId(*blake3::hash(&payload).as_bytes()),
            author: author.clone(),
            trace: None,
            payload,
        }
    }

    fn payload(&self) -> Bytes {
        let (group, name) = match &self.grantee {
            Grantee::Principal(principal) => (1, principal.as_str()),
            Grantee::Authenticated => (2, ""),
            Grantee::Public => (3, ""),
        };
        let mut payload = Vec::with_capacity(FIXED_BYTES + name.len());
        payload.extend_from_slice(&[VERSION, self.role.map_or(0, |role| role as u8), group]);
        payload.extend_from_slice(&self.nonce);
        payload.extend_from_slice(name.as_bytes());
        payload.into()
    }

    /// Reads it from an entry.
    ///
    /// # Errors
    /// See [`PermissionError`].
    pub fn of(draft: &EntryDraft) -> Result<Self, PermissionError> {
        let (fixed, name) = draft
            .payload
            .split_at_checked(FIXED_BYTES)
            .ok_or(PermissionError::Form)?;
        if fixed[0] != VERSION {
            return Err(PermissionError::Version(fixed[0]));
        }
        let role = match draft.kind {
            EntryKind::Grant => Some(Role::from_u8(fixed[1]).ok_or(PermissionError::Role(fixed[1]))?),
            EntryKind::Revoke if fixed[1] == 0 => None,
            EntryKind::Revoke => return Err(PermissionError::Role(fixed[1])),
            _ => return Err(PermissionError::Form),
        };
        let name = std::str::from_utf8(name).map_err(|_| PermissionError::Grantee)?;
        let grantee = match (fixed[2], name) {
            (1, name) => Grantee::Principal(Principal::named(name).ok_or(PermissionError::Grantee)?),
            (2, "") => Grantee::Authenticated,
            (3, "") => Grantee::Public,
            _ => return Err(PermissionError::Grantee),
        };
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&fixed[3..]);
        Ok(Self {
            document: draft.document.clone(),
            grantee,
            role,
            nonce,
        })
    }
}

/// A permission as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// Whose.
    pub grantee: Grantee,
    /// What they are to the document; `None` when that was taken away from them by name.
    pub role: Option<Role>,
    /// The entry that says so.
    pub since: Offset,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::id::SessionId;

    fn author() -> Author {
        Author {
            principal: Principal::named("ada").unwrap(),
            session: SessionId(Uuid::from_u128(9)),
        }
    }

    fn change(grantee: Grantee, role: Option<Role>) -> PermissionChange {
        PermissionChange {
            document: DocumentId::from_bytes(&[7; 16]).unwrap(),
            grantee,
            role,
            nonce: std::array::from_fn(|n| n as u8),
        }
    }

    fn bob() -> Grantee {
        Grantee::Principal(Principal::named("bob").unwrap())
    }

    #[test]
    fn the_bytes_in_the_log_stay_what_they_are() {
        for (change, kind, golden) in [
            (
                change(bob(), Some(Role::Editor)),
                EntryKind::Grant,
                "010201000102030405060708090a0b0c0d0e0f626f62",
            ),
            (
                change(bob(), None),
                EntryKind::Revoke,
                "010001000102030405060708090a0b0c0d0e0f626f62",
            ),
            (
                change(Grantee::Authenticated, Some(Role::Viewer)),
                EntryKind::Grant,
                "010102000102030405060708090a0b0c0d0e0f",
            ),
            (
                change(Grantee::Public, None),
                EntryKind::Revoke,
                "010003000102030405060708090a0b0c0d0e0f",
            ),
        ] {
            let draft = change.draft(&author());
            let hex: String = draft.payload.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((draft.kind, hex.as_str()), (kind, golden));
            assert_eq!(PermissionChange::of(&draft), Ok(change));
        }
    }

    #[test]
    fn what_is_no_permission_is_refused() {
        let good = change(bob(), Some(Role::Owner)).draft(&author());
        let with = |kind: EntryKind, payload: &[u8]| {
            let payload = Bytes::copy_from_slice(payload);
            PermissionChange::of(&EntryDraft {
                kind,
                payload,
                ..good.clone()
            })
        };
        let mut bytes = good.payload.to_vec();
        assert_eq!(with(EntryKind::Grant, &bytes[..18]), Err(PermissionError::Form));
        assert_eq!(with(EntryKind::Change, &bytes), Err(PermissionError::Form));
        assert_eq!(with(EntryKind::Revoke, &bytes), Err(PermissionError::Role(3)));
        assert_eq!(with(EntryKind::Grant, &bytes[..19]), Err(PermissionError::Grantee));
        bytes[1] = 4;
        assert_eq!(with(EntryKind::Grant, &bytes), Err(PermissionError::Role(4)));
        bytes[0] = 2;
        assert_eq!(with(EntryKind::Grant, &bytes), Err(PermissionError::Version(2)));
    }

    #[test]
    fn a_grantee_is_found_again_by_its_text() {
        for grantee in [bob(), Grantee::Authenticated, Grantee::Public] {
            assert_eq!(grantee.to_string().parse(), Ok(grantee));
        }
        for nobody in ["", "anonymous", "a\u{0}b", &"x".repeat(256)] {
            assert_eq!(nobody.parse::<Grantee>(), Err(NoGrantee), "{nobody:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..60), revoke in any::<bool>()) {
            let kind = if revoke { EntryKind::Revoke } else { EntryKind::Grant };
            let draft = EntryDraft { kind, payload: payload.into(), ..change(bob(), None).draft(&author()) };
            if let Ok(read) = PermissionChange::of(&draft) {
                prop_assert_eq!(read.draft(&author()).payload, draft.payload);
            }
        }
    }
}
