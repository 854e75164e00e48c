//! Who may do what: the stage between decoding a client's frame and touching a document.
//!
//! | module | what |
//! | --- | --- |
//! | `identity` | who acts: principals, identities, and what a token grants |
//! | `matrix` | roles, operations, and the one table of what is allowed |
//! | `grant` | the proof that a policy was asked |
//! | `permission` | permissions of a document, and their form in the log |
//! | `authenticate` | the traits at which a gateway meets whoever knows tokens, permissions and limits |
//!
//! A [`Grant`] is only made by an [`Access`] policy, and an [`AuthorizedEdit`] only from a grant for what the edit needs, so
//! that code which skips the check does not compile.

mod authenticate;
mod grant;
mod identity;
mod matrix;
mod permission;

pub use self::{
    authenticate::{
        Anybody, AuthFailure, Authenticator, Link, NoPermissions, Permissions, PermissionsError, Throttle, TooMuch,
        Unthrottled,
    },
    grant::{Access, AccessWatcher, AuthorizedEdit, Denied, Edit, Grant, OpenAccess},
    identity::{Author, Caller, ClientKind, Identity, Principal, TokenGrants},
    matrix::{MATRIX, NoSuchRole, Operation, Role},
    permission::{Grantee, NoGrantee, Permission, PermissionChange, PermissionError},
};
