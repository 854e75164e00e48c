//! From what a client shows to who it is, in whatever protocol it came.

use std::{net::IpAddr, time::Duration};

use super::{AuthorizedEdit, Grant, Identity, Permission, PermissionChange, Role};
use crate::{
    close::CloseCode,
    documents::{BoxFuture, DocumentError},
    id::Offset,
};

/// Why a client is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    /// It showed nothing, and that is not enough here.
    #[error("a token is needed")]
    Missing,
    /// What it showed is no token, or does not say what a token must.
    #[error("the token is not acceptable: {0}")]
    Invalid(&'static str),
    /// Made by somebody who is not known here, or changed since.
    #[error("the token does not verify")]
    Unverified,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It was taken back.
    #[error("the key was revoked")]
    Revoked,
    /// The key with which it could be verified is being fetched, or cannot be.
    #[error("the keys to verify the token are not available at present")]
    KeysUnavailable,
}

impl AuthFailure {
    /// How a connection ends for it.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Missing | Self::Invalid(_) | Self::Unverified | Self::Revoked => CloseCode::Unauthorized,
            Self::Expired => CloseCode::TokenExpired,
            Self::KeysUnavailable => CloseCode::TryAgainLater,
        }
    }

    /// Its name for programs, in the HTTP API.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "token-missing",
            Self::Invalid(_) => "token-invalid",
            Self::Unverified => "token-unverified",
            Self::Expired => "token-expired",
            Self::Revoked => "token-revoked",
            Self::KeysUnavailable => "keys-unavailable",
        }
    }
}

/// Finds out who clients are.
pub trait Authenticator: Send + Sync + 'static {
    /// Who shows this token, at this time in seconds since 1970. `None` and an empty text are no token. Does not wait.
    ///
    /// # Errors
    /// See [`AuthFailure`].
    fn authenticate(&self, token: Option<&str>, now: u64) -> Result<Identity, AuthFailure>;

    /// Whether the API key that this identity came with still counts, and for the same. Asked once more when its connection
    /// can be found by whoever hears of revocations, so that none falls in between.
    fn is_current(&self, _: &Identity) -> bool {
        true
    }

    /// Waits, for a bounded time, for keys that are being fetched. Ready at once when none are.
    fn refreshed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Everybody is nobody in particular, whatever they show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anybody;

impl Authenticator for Anybody {
    fn authenticate(&self, _: Option<&str>, _: u64) -> Result<Identity, AuthFailure> {
        Ok(Identity::anonymous())
    }
}

/// Who does something so often that it is too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch {
    /// When it may be tried again.
    pub retry_after: Duration,
}

/// Keeps clients from doing too much. Calls do not block.
pub trait Throttle: Send + Sync + 'static {
    /// Somebody connects from this address, or sends a request there: asked before anything else costs anything.
    ///
    /// # Errors
    /// When that is too often.
    fn arrival(&self, address: IpAddr) -> Result<(), TooMuch>;

    /// Somebody does something, with so many bytes. Those without a name are told apart by their address.
    ///
    /// # Errors
    /// When that is too often.
    fn operation(&self, identity: &Identity, address: IpAddr, bytes: usize) -> Result<(), TooMuch>;
}

/// No limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unthrottled;

impl Throttle for Unthrottled {
    fn arrival(&self, _: IpAddr) -> Result<(), TooMuch> {
        Ok(())
    }

    fn operation(&self, _: &Identity, _: IpAddr, _: usize) -> Result<(), TooMuch> {
        Ok(())
    }
}

/// Why permissions were not changed, or no link made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionsError {
    /// The change makes no sense as the permissions are.
    #[error("{0}")]
    Conflict(&'static str),
    /// This server does not do that.
    #[error("{0}")]
    Unavailable(&'static str),
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] DocumentError),
}

/// A link to a document: a token for whoever is given it.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// The token.
    pub token: String,
    /// Who comes with it: permissions may be taken away by this name.
    pub principal: super::Principal,
    /// When it ends, seconds since 1970.
    pub expires_at: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("principal", &self.principal)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The permissions of documents.
pub trait Permissions: Send + Sync + 'static {
    /// Who is what to a document. The grant must be one to administer.
    fn list(&self, grant: &Grant) -> Vec<Permission>;

    /// Gives or takes a permission: the offset from which that holds. When this is ready nothing is allowed any more
    /// that it takes away, and those who watch were told.
    fn change(&self, edit: AuthorizedEdit<PermissionChange>) -> BoxFuture<'_, Result<Offset, PermissionsError>>;

    /// Makes a link to the document of a grant to administer it, which holds for so many seconds.
    ///
    /// # Errors
    /// When this server makes none.
    fn link(&self, grant: &Grant, role: Role, now: u64, seconds: u64) -> Result<Link, PermissionsError>;
}

/// There are no permissions: everybody may do everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPermissions;

const NONE: PermissionsError =
    PermissionsError::Unavailable("this server asks nobody who they are, so it keeps no permissions");

impl Permissions for NoPermissions {
    fn list(&self, _: &Grant) -> Vec<Permission> {
        Vec::new()
    }

    fn change(&self, _: AuthorizedEdit<PermissionChange>) -> BoxFuture<'_, Result<Offset, PermissionsError>> {
        Box::pin(std::future::ready(Err(NONE)))
    }

    fn link(&self, _: &Grant, _: Role, _: u64, _: u64) -> Result<Link, PermissionsError> {
        Err(NONE)
    }
}
