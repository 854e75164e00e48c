//! Who may call what.
//!
//! | | whoever owns every document (`*`) | other users and servers | nobody in particular, holders of links |
//! | --- | --- | --- | --- |
//! | `Create`, `Update`, `Heartbeat`, `Statistics` | yes | no | no |
//! | `Get`, `List`, `Watch`, `Delete` | all sessions | their own | no |
//!
//! What is hung on a session, and that it is there, is said by servers, on which others rely; so users may look at their own
//! sessions and end them, and no more. Somebody else's session is to them as if it were not there. Those without a name
//! of their own share one, and must not see one another.

use aetherflow_schema::{
    access::{ClientKind, Identity, Principal, Role},
    sessions::{SessionError, SessionFilter, SessionInfo},
};
use prost::Message;
use tonic::{Request, Status};

use super::{
    guard::Caller,
    status::{denied, failed},
};

/// Whose sessions a caller may see and end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    All,
    Own(Principal),
    None,
}

impl Reach {
    fn of(identity: &Identity, open: bool) -> Self {
        if open || identity.grants.everywhere == Some(Role::Owner) {
            return Self::All;
        }
        match identity.kind {
            ClientKind::User | ClientKind::Server => Self::Own(identity.principal.clone()),
            ClientKind::Anonymous => Self::None,
        }
    }
}

/// A caller, and what it may do.
pub(super) struct Rights {
    pub(super) caller: Caller,
    reach: Reach,
}

impl Rights {
    /// Of whoever makes this call, if that may do anything.
    pub(super) fn of<M: Message>(request: &Request<M>) -> Result<Self, Status> {
        let caller = Caller::of(request)?;
        let reach = Reach::of(&caller.identity, caller.is_in_the_open());
        let rights = Self { caller, reach };
        match rights.reach {
            Reach::None => Err(rights.refusal("those without a name of their own have no sessions to look at")),
            Reach::All | Reach::Own(_) => Ok(rights),
        }
    }

    /// Refuses those who may not do everything.
    pub(super) fn demand_all(&self) -> Result<(), Status> {
        match self.reach {
            Reach::All => Ok(()),
            Reach::Own(_) | Reach::None => {
                Err(self.refusal("this is for those who are owner of every document (a grant of `*`)"))
            }
        }
    }

    /// Refuses a session that is not the caller's.
    pub(super) fn demand(&self, session: &SessionInfo) -> Result<(), Status> {
        match &self.reach {
            Reach::All => Ok(()),
            Reach::Own(principal) if *principal == session.principal => Ok(()),
            Reach::Own(_) | Reach::None => {
                self.caller.was_denied();
                Err(failed(&SessionError::NotFound))
            }
        }
    }

    /// Leaves the caller's sessions of those that it asks for.
    pub(super) fn narrow(&self, filter: SessionFilter) -> Result<SessionFilter, Status> {
        match (&self.reach, &filter.principal) {
            (Reach::All, _) => Ok(filter),
            (Reach::Own(own), asked) if asked.as_ref().is_none_or(|asked| asked == own) => {
                let principal = Some(own.clone());
                Ok(SessionFilter { principal, ..filter })
            }
            (Reach::Own(_) | Reach::None, _) => Err(self.refusal("these are somebody else's sessions")),
        }
    }

    fn refusal(&self, why: &str) -> Status {
        self.caller.was_denied();
        denied(why)
    }
}

#[cfg(test)]
mod tests {
    use aetherflow_schema::access::TokenGrants;

    use super::*;

    #[test]
    fn all_is_for_those_who_own_everything() {
        let ada = Principal::named("ada").unwrap();
        let with = |kind, everywhere| Identity {
            kind,
            grants: TokenGrants {
                everywhere,
                documents: Vec::new(),
            },
            ..Identity::user(ada.clone())
        };
        let own = Reach::Own(ada.clone());
        for kind in [ClientKind::User, ClientKind::Server] {
            assert_eq!(Reach::of(&with(kind, Some(Role::Owner)), false), Reach::All);
            for role in [None, Some(Role::Viewer), Some(Role::Editor)] {
                assert_eq!(Reach::of(&with(kind, role), false), own);
                assert_eq!(Reach::of(&with(kind, role), true), Reach::All);
            }
        }
        assert_eq!(Reach::of(&Identity::anonymous(), false), Reach::None);
    }
}
