//! Who may do what: who a client is, what documents' permissions say, and how much is too much.
//!
//! | module | what |
//! | --- | --- |
//! | `options` | section `[access]` of the configuration |
//! | `jwks` | keys from an identity provider |
//! | `key`, `der` | keys that verify tokens |
//! | `token` | JSON Web Tokens: verified, and minted |
//! | `api_keys` | API keys of servers, in a file |
//! | `gatekeeper` | from a token or key to an identity |
//! | `permissions`, `tables`, `table` | documents' permissions, from the log |
//! | `throttle` | rate limits |
//!
//! **Invariants**: nothing is allowed that is not in `schema::access::MATRIX`; what cannot be decided, because permissions
//! cannot be read, is refused; no secret is printed, logged or stored, except where it is made.

pub mod api_keys;
mod base64url;
mod der;
#[cfg(test)]
mod fuzz;
pub mod gatekeeper;
pub mod jwks;
pub mod key;
pub mod options;
pub mod permissions;
mod table;
mod tables;
pub mod throttle;
pub mod token;

pub use self::{
    gatekeeper::{Gatekeeper, StartError},
    options::AccessOptions,
    permissions::DocumentAccess,
    throttle::RateLimits,
};
