//! JSON Web Tokens (RFC 7519) in the compact form of JSON Web Signature (RFC 7515).
//!
//! **Invariants**: nothing of a token is believed before its signature is verified, except which key it names; the key
//! decides the algorithm; a token that must be understood in ways unknown here (`crit`) is refused; a token ends.

use std::collections::BTreeMap;

use aetherflow_schema::{
    access::{AuthFailure, ClientKind, Identity, Principal, Role, TokenGrants},
    id::DocumentId,
    native::TOKEN_BYTES,
};
use serde::{Deserialize, Serialize};

use crate::{base64url, key::Key};

/// The name of the key with which the server itself signs.
pub const LOCAL: &str = "local";

/// The longest a token that is minted here may hold, in seconds: a year.
pub const LONGEST_S: u64 = 366 * 86_400;

/// What is demanded of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demands {
    /// Whom they must be for; anybody when empty.
    pub audience: String,
    /// Who must have made them; anybody when empty.
    pub issuer: String,
    /// Seconds by which clocks may differ.
    pub leeway_s: u64,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Who.
    pub sub: String,
    /// Until when, seconds since 1970.
    pub exp: u64,
    /// From when on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<Audience>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// What is only for here.
    #[serde(default, rename = "aetherflow", skip_serializing_if = "Option::is_none")]
    pub ours: Option<Ours>,
}

/// The claim `aetherflow`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ours {
    /// Document ids, or `*` for every document, with roles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<String, String>,
    /// Whether it may make documents; when not said, it may unless it names documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

/// A token taken apart and not yet believed.
pub(crate) struct Parsed<'a> {
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
    algorithm: String,
    pub(crate) key: Option<String>,
}

/// Takes a token apart.
pub(crate) fn parse(token: &str) -> Result<Parsed<'_>, AuthFailure> {
    const FORM: AuthFailure = AuthFailure::Invalid("it is no token in the compact form");
    if token.len() > TOKEN_BYTES {
        return Err(AuthFailure::Invalid("it is too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
    let (header, claims) = signed.split_once('.').ok_or(FORM)?;
    let header = base64url::decode(header).ok_or(FORM)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| FORM)?;
    if header.crit.is_some() {
        return Err(AuthFailure::Invalid("it demands what is not understood here"));
    }
    Ok(Parsed {
        signed,
        claims,
        signature: base64url::decode(signature).ok_or(FORM)?,
        algorithm: header.alg.to_owned(),
        key: header.kid,
    })
}

impl Parsed<'_> {
    /// Whether this key made it. The key's own algorithm must be the one that the token names.
    pub(crate) fn is_of(&self, key: &Key) -> bool {
        self.algorithm == key.algorithm().name() && key.verifies(self.signed.as_bytes(), &self.signature)
    }

    /// What it says, once it was verified. `local` says that the server itself made it.
    pub(crate) fn identity(&self, demands: &Demands, local: bool, now: u64) -> Result<Identity, AuthFailure> {
        const CLAIMS: AuthFailure =
            AuthFailure::Invalid("its claims are not as they must be: sub and exp, and the types of RFC 7519");
        let claims = base64url::decode(self.claims).ok_or(CLAIMS)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| CLAIMS)?;
        let expires_at = claims.exp.saturating_add(demands.leeway_s);
        if expires_at <= now {
            return Err(AuthFailure::Expired);
        }
        if claims
            .nbf
            .is_some_and(|from| from > now.saturating_add(demands.leeway_s))
        {
            return Err(AuthFailure::Invalid("it is not good yet"));
        }
        if !local {
            let named = |audience: &Audience| audience.contains(&demands.audience);
            if !demands.audience.is_empty() && !claims.aud.as_ref().is_some_and(named) {
                return Err(AuthFailure::Invalid("it is for another audience"));
            }
            if !demands.issuer.is_empty() && claims.iss.as_ref() != Some(&demands.issuer) {
                return Err(AuthFailure::Invalid("it is of another issuer"));
            }
        }
        identity(&claims, local, expires_at)
    }
}

fn identity(claims: &Claims, local: bool, expires_at: u64) -> Result<Identity, AuthFailure> {
    const SUBJECT: AuthFailure = AuthFailure::Invalid("its subject is no name for a user");
    let is_link = claims.sub.starts_with(Principal::LINK);
    let principal = match is_link && local {
        true => Principal::named(&claims.sub),
        false => Principal::user(&claims.sub),
    };
    let ours = claims.ours.clone().unwrap_or_default();
    let grants = ours
        .grants()
        .ok_or(AuthFailure::Invalid("its grants are not document ids with roles"))?;
    let named = grants.everywhere.is_some() || !grants.documents.is_empty();
    Ok(Identity {
        principal: principal.ok_or(SUBJECT)?,
        kind: if is_link {
            ClientKind::Anonymous
        } else {
            ClientKind::User
        },
        expires_at: Some(expires_at),
        grants,
        may_create: !is_link && ours.create.unwrap_or(!named),
        credential: None,
    })
}

impl Ours {
    /// Whether the grants are document ids with roles.
    pub fn is_sound(&self) -> bool {
        self.grants().is_some()
    }

    /// The grants; `None` when they are none.
    pub(crate) fn grants(&self) -> Option<TokenGrants> {
        let mut grants = TokenGrants::default();
        if self.grants.len() > TokenGrants::MOST {
            return None;
        }
        for (document, role) in &self.grants {
            let role: Role = role.parse().ok()?;
            match document.as_str() {
                "*" => grants.everywhere = Some(role),
                document => grants.documents.push((document.parse::<DocumentId>().ok()?, role)),
            }
        }
        Some(grants)
    }
}

impl Claims {
    /// For this subject, from now on for so many seconds.
    pub fn new(subject: &str, now: u64, seconds: u64, ours: Ours) -> Self {
        Self {
            sub: subject.to_owned(),
            exp: now.saturating_add(seconds.min(LONGEST_S)),
            nbf: None,
            iat: Some(now),
            aud: None,
            iss: None,
            ours: (ours != Ours::default()).then_some(ours),
        }
    }
}

/// A token may only be signed with a shared secret here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tokens are signed with a shared secret, and this key is none")]
pub struct NoSecret;

/// Signs claims with a shared secret.
///
/// # Errors
/// When the key is not one.
pub fn mint(key: &Key, claims: &Claims) -> Result<String, NoSecret> {
    let header = Header {
        alg: key.algorithm().name(),
        kid: key.id().map(str::to_owned),
        crit: None,
    };
    let part = |json: serde_json::Result<Vec<u8>>| json.map(|json| base64url::encode(&json)).map_err(|_| NoSecret);
    let signed = format!(
        "{}.{}",
        part(serde_json::to_vec(&header))?,
        part(serde_json::to_vec(claims))?
    );
    let signature = key.sign(signed.as_bytes()).ok_or(NoSecret)?;
    Ok(format!("{signed}.{}", base64url::encode(&signature)))
}

#[cfg(test)]
mod tests;
