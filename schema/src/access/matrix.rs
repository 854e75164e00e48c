//! What each role may do: one table, which decides, which the documentation shows and which the tests go through.

use std::{fmt, str::FromStr};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Make a document that does not exist.
    Create,
    /// Read content, history, or follow changes.
    Read,
    /// Submit changes.
    Write,
    /// Be present, and send ephemeral messages.
    Presence,
    /// See and change who may do what.
    Administer,
    /// Delete the document, and restore it.
    Delete,
}

impl Operation {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Presence,
        Self::Administer,
        Self::Delete,
    ];

    /// Its name in documentation and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Presence => "presence",
            Self::Administer => "administer",
            Self::Delete => "delete",
        }
    }
}

/// What somebody is to a document; the later ones may do more. The numbers are those of the log and permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Reads, and is seen reading.
    Viewer = 1,
    /// Changes the content, too.
    Editor = 2,
    /// Decides who may do what, too.
    Owner = 3,
}

/// Who may do what. What is not here is not allowed. Whoever makes a document is its owner, so that
/// [`Operation::Create`] is an owner's.
pub const MATRIX: [(Role, &[Operation]); 3] = {
    use Operation::{Administer, Create, Delete, Presence, Read, Write};
    [
        (Role::Viewer, &[Read, Presence]),
        (Role::Editor, &[Read, Write, Presence]),
        (Role::Owner, &[Create, Read, Write, Presence, Administer, Delete]),
    ]
};

impl Role {
    /// Every one, from the least.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Owner];

    /// Whether the [`MATRIX`] allows it.
    pub fn allows(self, operation: Operation) -> bool {
        MATRIX
            .iter()
            .any(|(role, allowed)| *role == self && allowed.contains(&operation))
    }

    /// Its name in tokens and in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Owner => "owner",
        }
    }

    /// The role of this number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Viewer),
            2 => Some(Self::Editor),
            3 => Some(Self::Owner),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, editor or owner")]
pub struct NoSuchRole;

impl FromStr for Role {
    type Err = NoSuchRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(NoSuchRole)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// The table as the documentation has it.
    fn markdown() -> String {
        let mut text = String::from("| role |");
        Operation::ALL.iter().for_each(|operation| {
            let _ = write!(text, " {} |", operation.name());
        });
        text.push_str("\n| --- | --- | --- | --- | --- | --- | --- |\n");
        for role in Role::ALL {
            let _ = write!(text, "| {role} |");
            for operation in Operation::ALL {
                text.push_str(if role.allows(operation) { " yes |" } else { " no |" });
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let page = include_str!("../../../ops/docs/access.md");
        assert!(
            page.contains(&markdown()),
            "ops/docs/access.md has another table than\n{}",
            markdown()
        );
    }

    #[test]
    fn a_higher_role_loses_nothing() {
        for pair in Role::ALL.windows(2) {
            let kept = |operation: &Operation| pair[1].allows(*operation) || !pair[0].allows(*operation);
            assert!(Operation::ALL.iter().all(kept), "{pair:?}");
        }
    }

    #[test]
    fn a_role_is_found_by_name_and_number() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(Role::from_u8(role as u8), Some(role));
        }
        assert_eq!((Role::from_u8(0), Role::from_u8(4)), (None, None));
        assert_eq!("Owner".parse::<Role>(), Err(NoSuchRole));
    }
}
