//! Section `[access]`.

use std::path::{Path, PathBuf};

use aetherflow_runtime::config::Invalid;
use serde::{Deserialize, Serialize};

use crate::token::Demands;

/// Section `[access]`: who is let in, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessOptions {
    /// Whether everybody may do everything, whoever they are, default false. Worst case: whoever reaches the server reads and
    /// changes it all, without any limit. Not together with keys, which would count for nothing. `aetherflow dev` is open
    /// always. Nothing else makes a server open, least of all that there is no key.
    pub open: bool,
    /// Whether clients without a token are let in, default false. They may do what documents grant to everybody.
    pub anonymous: bool,
    /// Files with keys that verify tokens, default none: a public key in PEM form, a JSON Web Key Set, or a shared secret
    /// of at least 32 bytes.
    pub keys: Vec<PathBuf>,
    /// Where an identity provider publishes the keys that verify tokens (a JSON Web Key Set), default empty: nowhere. https,
    /// or http on this machine. Fetched at start, every five minutes, and when a token names a key that is not known, but
    /// not more than every ten seconds; keys that cannot be fetched again count for a day.
    pub jwks_url: String,
    /// A file with a shared secret of at least 32 bytes, with which the server itself signs tokens: links to documents,
    /// and those of `aetherflow token mint`. Default empty: it signs none.
    pub signing_key: PathBuf,
    /// The file with API keys, default empty: `access/keys.json` in the data directory, if there is one. One that is named
    /// here must be there when the server starts. It is read again when it changes.
    pub api_keys: PathBuf,
    /// Whom tokens must be for (`aud`), default empty: not asked. Set it when others verify with the same keys.
    pub audience: String,
    /// Who must have made tokens (`iss`), default empty: not asked.
    pub issuer: String,
    /// Seconds by which clocks may differ where `exp` and `nbf` are looked at, default 30.
    pub leeway_s: u64,
    /// Documents that one principal may make, default 0: no limit.
    pub documents_per_principal: u64,
    /// Bytes of one document's history beyond which it takes no more changes, default 0: no limit.
    pub document_bytes: u64,
    /// Entries of one document's history beyond which it takes no more changes, default 0: no limit.
    pub document_changes: u64,
    /// Section `[access.rates]`.
    pub rates: Rates,
}

/// Section `[access.rates]`: how much is too much. 0 is no limit; each limit may be reached at once after a quiet second,
/// and then comes back evenly. Memory: about 100 bytes for each address and principal of late, at most
/// 100,000 of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Connections and HTTP requests from one IPv4 address or IPv6 /64 network, in a second, default 200. Those from this
    /// machine count only if `limits.count_loopback` says so.
    pub arrivals_per_address: u32,
    /// Requests, edits and messages of one principal, in a second, default 2,000.
    pub operations_per_principal: u32,
    /// Bytes of them, in a second, default 64 MiB. What is larger than that is let through when nothing else came.
    pub bytes_per_principal: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            arrivals_per_address: 200,
            operations_per_principal: 2_000,
            bytes_per_principal: 64 << 20,
        }
    }
}

impl Default for AccessOptions {
    fn default() -> Self {
        Self {
            open: false,
            anonymous: false,
            keys: Vec::new(),
            jwks_url: String::new(),
            signing_key: PathBuf::new(),
            api_keys: PathBuf::new(),
            audience: String::new(),
            issuer: String::new(),
            leeway_s: 30,
            documents_per_principal: 0,
            document_bytes: 0,
            document_changes: 0,
            rates: Rates::default(),
        }
    }
}

impl AccessOptions {
    /// Notes what makes no sense.
    pub fn validate(&self, invalid: &mut Invalid) {
        invalid.unless(self.leeway_s <= 600, "access.leeway_s", "is more than 600");
        invalid.unless(self.keys.len() <= 64, "access.keys", "are more than 64");
        invalid.unless(
            !self.open || !self.names_keys(),
            "access.open",
            "lets everybody do everything, so that the keys that are configured count for nothing",
        );
    }

    /// Whether anything is configured with which clients can be told apart.
    fn names_keys(&self) -> bool {
        let files = [&self.signing_key, &self.api_keys];
        !self.keys.is_empty() || !self.jwks_url.is_empty() || files.iter().any(|file| !file.as_os_str().is_empty())
    }

    /// The file with API keys.
    pub fn api_keys_in(&self, data_dir: &Path) -> PathBuf {
        if self.api_keys.as_os_str().is_empty() {
            data_dir.join("access/keys.json")
        } else {
            self.api_keys.clone()
        }
    }

    /// What is demanded of tokens.
    pub fn demands(&self) -> Demands {
        Demands {
            audience: self.audience.clone(),
            issuer: self.issuer.clone(),
            leeway_s: self.leeway_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_server_has_no_keys() {
        let validate = |options: &AccessOptions| {
            let mut invalid = Invalid::default();
            options.validate(&mut invalid);
            invalid.into_result()
        };
        let open = AccessOptions {
            open: true,
            ..AccessOptions::default()
        };
        let path = || PathBuf::from("key");
        for options in [AccessOptions::default(), open.clone()] {
            assert_eq!(validate(&options), Ok(()));
        }
        for options in [
            AccessOptions {
                keys: vec![path()],
                ..open.clone()
            },
            AccessOptions {
                jwks_url: "https://id.example/keys".to_owned(),
                ..open.clone()
            },
            AccessOptions {
                signing_key: path(),
                ..open.clone()
            },
            AccessOptions {
                api_keys: path(),
                ..open.clone()
            },
        ] {
            let text = validate(&options).unwrap_err().to_string();
            assert!(text.contains("`access.open`"), "{text}");
            assert_eq!(validate(&AccessOptions { open: false, ..options }), Ok(()));
        }
    }
}
