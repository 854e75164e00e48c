//! Who acts.

use std::{fmt, sync::Arc};

use super::Role;
use crate::{
    id::{DocumentId, SessionId},
    limits,
};

/// Who acts: a user, a server, or nobody in particular. The name is stored with every entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The principal of connections that were not asked who they are.
    pub fn anonymous() -> Self {
        Self(Arc::from(Self::ANONYMOUS))
    }

    const ANONYMOUS: &str = "anonymous";

    /// Before the names of servers, which authenticate with an API key.
    pub const SERVER: &str = "server:";

    /// Before the names of those who hold a link.
    pub const LINK: &str = "link:";

    /// A named principal; `None` when the name is empty or longer than [`limits::PRINCIPAL_BYTES`].
    pub fn named(name: &str) -> Option<Self> {
        (!name.is_empty() && name.len() <= limits::PRINCIPAL_BYTES).then(|| Self(Arc::from(name)))
    }

    /// A user as somebody else's token names one; `None` also when the name means something else here, or has control
    /// characters in it.
    pub fn user(name: &str) -> Option<Self> {
        let reserved = matches!(name, Self::ANONYMOUS | "*" | "public")
            || [Self::SERVER, Self::LINK].iter().any(|prefix| name.starts_with(prefix));
        if reserved || name.chars().any(char::is_control) {
            return None;
        }
        Self::named(name)
    }

    /// Whether it is nobody in particular.
    pub fn is_anonymous(&self) -> bool {
        &*self.0 == Self::ANONYMOUS
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

/// What kind of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// Somebody with a token of their own.
    User,
    /// An application's server, with an API key.
    Server,
    /// Nobody in particular: without a token, or with a link's.
    Anonymous,
}

/// What a token lets its holder do, whatever the documents' own permissions say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenGrants {
    /// On every document.
    pub everywhere: Option<Role>,
    /// On single ones: at most [`TokenGrants::MOST`].
    pub documents: Vec<(DocumentId, Role)>,
}

impl TokenGrants {
    /// Documents that one token may name.
    pub const MOST: usize = 256;

    /// The role it gives on a document.
    pub fn role_on(&self, document: &DocumentId) -> Option<Role> {
        let named = self.documents.iter().filter(|(named, _)| named == document);
        named.map(|(_, role)| *role).chain(self.everywhere).max()
    }
}

/// Who a client was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub principal: Principal,
    /// What kind of client it is.
    pub kind: ClientKind,
    /// When that ends, seconds since 1970; `None` when it does not by itself.
    pub expires_at: Option<u64>,
    /// What its token says about documents.
    pub grants: TokenGrants,
    /// Whether it may make documents.
    pub may_create: bool,
    /// The public part of the API key it came with: with the key, connections end that came with it.
    pub credential: Option<Arc<str>>,
}

impl Identity {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self {
            principal: Principal::anonymous(),
            kind: ClientKind::Anonymous,
            expires_at: None,
            grants: TokenGrants::default(),
            may_create: false,
            credential: None,
        }
    }

    /// A user without any grants in the token.
    pub fn user(principal: Principal) -> Self {
        Self {
            principal,
            kind: ClientKind::User,
            may_create: true,
            ..Self::anonymous()
        }
    }
}

/// An identity in a session. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// In which session.
    pub session: SessionId,
}

impl Caller {
    /// Nobody in particular.
    pub fn anonymous(session: SessionId) -> Self {
        Self {
            identity: Arc::new(Identity::anonymous()),
            session,
        }
    }

    /// What the log keeps of it.
    pub fn author(&self) -> Author {
        Author {
            principal: self.identity.principal.clone(),
            session: self.session,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_name_what_is_no_user() {
        for name in [
            "",
            "*",
            "public",
            "anonymous",
            "server:x",
            "link:x",
            "a\nb",
            &"x".repeat(256),
        ] {
            assert!(Principal::user(name).is_none(), "{name:?}");
        }
        assert!(Principal::user("ada@example.org").is_some());
    }

    #[test]
    fn the_best_of_what_a_token_grants_counts() {
        let [one, other] = [1, 2].map(|n| DocumentId::from_bytes(&[n]).unwrap());
        let grants = TokenGrants {
            everywhere: Some(Role::Viewer),
            documents: vec![(one.clone(), Role::Editor), (one.clone(), Role::Viewer)],
        };
        assert_eq!(grants.role_on(&one), Some(Role::Editor));
        assert_eq!(grants.role_on(&other), Some(Role::Viewer));
        assert_eq!(TokenGrants::default().role_on(&one), None);
    }
}
