//! From a token or key to an identity.
//!
//! **Owns** the keys that verify tokens, and the API keys. **Invariant**: whoever shows something that is not good is let
//! in as nobody, not even where nobody is asked.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use aetherflow_schema::{
    access::{AccessWatcher, AuthFailure, Authenticator, Identity},
    documents::BoxFuture,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::sleep;

use crate::{
    api_keys::{self, ApiKeyError, ApiKeys},
    jwks::{Found, Jwks, JwksError},
    key::{DEVELOPMENT, Key, KeyError},
    options::AccessOptions,
    token::{self, Demands, LOCAL},
};

/// Between two looks at the file of API keys: a revocation takes effect within this.
const LOOK: Duration = Duration::from_millis(250);

/// Bytes of a key file.
const FILE_BYTES: u64 = 1 << 20;

/// Why nobody could be let in.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key file that cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A key file that holds no key.
    #[error("the key file {path} holds no key to use: {source}")]
    Key {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// A key that everybody may know.
    #[error("the key file {0} holds a development key, which is not for serving")]
    Development(PathBuf),
    /// The URL of keys.
    #[error("`access.jwks_url`: {0}")]
    Jwks(#[from] JwksError),
    /// The file of API keys.
    #[error(transparent)]
    ApiKeys(#[from] ApiKeyError),
}

/// See the [module](self).
pub struct Gatekeeper {
    anonymous: bool,
    demands: Demands,
    keys: Vec<Key>,
    signer: Option<Arc<Key>>,
    jwks: Option<Arc<Jwks>>,
    api_keys: ApiKeys,
    watchers: RwLock<Vec<Weak<dyn AccessWatcher>>>,
}

impl Gatekeeper {
    /// Reads the keys that `options` name. Development keys are refused unless `development`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open(options: &AccessOptions, data_dir: &Path, development: bool) -> Result<Self, StartError> {
        let mut keys = Vec::new();
        for path in &options.keys {
            keys.extend(read_keys(path, development)?);
        }
        let signer = match options.signing_key.as_os_str().is_empty() {
            true => None,
            false => Some(Arc::new(read_secret(&options.signing_key, development)?)),
        };
        let jwks = match options.jwks_url.is_empty() {
            true => None,
            false => Some(Arc::new(Jwks::new(&options.jwks_url)?)),
        };
        let api_keys = ApiKeys::open(&options.api_keys_in(data_dir))?;
        if !options.api_keys.as_os_str().is_empty() && !api_keys.are_kept() {
            return Err(StartError::File {
                path: options.api_keys.clone(),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        Ok(Self {
            anonymous: options.anonymous || options.open || development,
            demands: options.demands(),
            keys,
            signer,
            jwks,
            api_keys,
            watchers: RwLock::default(),
        })
    }

    /// Whether there is nothing to tell clients apart with. A file of API keys is something, though all of them be revoked.
    pub fn is_keyless(&self) -> bool {
        self.keys.is_empty() && self.jwks.is_none() && self.signer.is_none() && !self.api_keys.are_kept()
    }

    /// With what the server itself signs, if it does.
    pub fn signer(&self) -> Option<Arc<Key>> {
        self.signer.clone()
    }

    /// The keys that are fetched, if any are: to be followed.
    pub fn jwks(&self) -> Option<Arc<Jwks>> {
        self.jwks.clone()
    }

    /// From now on tells `watcher` which API keys are revoked.
    pub fn watch(&self, watcher: &Arc<dyn AccessWatcher>) {
        let mut watchers = self.watchers.write().unwrap_or_else(PoisonError::into_inner);
        watchers.push(Arc::downgrade(watcher));
    }

    /// Follows the file of API keys for as long as somebody holds the gatekeeper.
    pub async fn follow_api_keys(this: Weak<Self>) {
        let mut failed = false;
        loop {
            sleep(LOOK).await;
            let Some(this) = this.upgrade() else { return };
            let reload = {
                let this = this.clone();
                tokio::task::spawn_blocking(move || this.api_keys.reload()).await
            };
            match reload {
                Ok(Ok(gone)) => {
                    failed = false;
                    gone.iter().for_each(|id| this.revoked(id));
                }
                Ok(Err(error)) if !failed => {
                    failed = true;
                    tracing::error!(%error, "the API keys cannot be read; those of before still count");
                }
                Ok(Err(_)) => {}
                Err(error) => tracing::error!(%error, "the API keys were not looked at"),
            }
        }
    }

    fn revoked(&self, id: &str) {
        tracing::info!(id, "an API key was revoked or changed");
        let watchers = self.watchers.read().unwrap_or_else(PoisonError::into_inner);
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            watcher.credential_revoked(id);
        }
    }

    fn verify(&self, text: &str, now: u64) -> Result<Identity, AuthFailure> {
        let parsed = token::parse(text)?;
        if parsed.key.as_deref() == Some(LOCAL)
            && let Some(signer) = &self.signer
            && parsed.is_of(signer)
        {
            return parsed.identity(&self.demands, true, now);
        }
        let named = |key: &&Key| key.id().is_none() || parsed.key.is_none() || key.id() == parsed.key.as_deref();
        if self.keys.iter().filter(named).any(|key| parsed.is_of(key)) {
            return parsed.identity(&self.demands, false, now);
        }
        let Some(jwks) = &self.jwks else {
            return Err(AuthFailure::Unverified);
        };
        match jwks.find(parsed.key.as_deref()) {
            Found::Soon => Err(AuthFailure::KeysUnavailable),
            Found::Keys(keys) if keys.iter().filter(named).any(|key| parsed.is_of(key)) => {
                parsed.identity(&self.demands, false, now)
            }
            Found::Keys(_) => Err(AuthFailure::Unverified),
        }
    }
}

impl Authenticator for Gatekeeper {
    fn authenticate(&self, token: Option<&str>, now: u64) -> Result<Identity, AuthFailure> {
        match token.filter(|token| !token.is_empty()) {
            None if self.anonymous => Ok(Identity::anonymous()),
            None => Err(AuthFailure::Missing),
            Some(key) if key.starts_with(api_keys::PREFIX) => self.api_keys.identity(key, now),
            Some(token) => self.verify(token, now),
        }
    }

    fn is_current(&self, identity: &Identity) -> bool {
        identity.credential.is_none() || self.api_keys.is_current(identity)
    }

    fn refreshed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(jwks) = &self.jwks {
                jwks.fetched().await;
            }
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    let failed = |source| StartError::File {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES {
        return Err(failed(io::Error::other("it is too large for a key")));
    }
    fs::read(path).map_err(failed)
}

fn read_keys(path: &Path, development: bool) -> Result<Vec<Key>, StartError> {
    let keys = Key::from_file(&read(path)?).map_err(|source| StartError::Key {
        path: path.to_owned(),
        source,
    })?;
    if !development && keys.iter().any(Key::is_for_development) {
        return Err(StartError::Development(path.to_owned()));
    }
    Ok(keys)
}

/// The shared secret in a file, as the key with which the server signs.
///
/// # Errors
/// See [`StartError`].
pub fn read_secret(path: &Path, development: bool) -> Result<Key, StartError> {
    let content = read(path)?;
    let secret = content.strip_suffix(b"\n").unwrap_or(&content);
    let key = Key::secret(secret, Some(LOCAL.to_owned())).map_err(|source| StartError::Key {
        path: path.to_owned(),
        source,
    })?;
    if !development && key.is_for_development() {
        return Err(StartError::Development(path.to_owned()));
    }
    Ok(key)
}

/// The development key in a data directory, made if there is none: which file it is in.
///
/// # Errors
/// When it cannot be written.
pub fn development_key(data_dir: &Path) -> Result<PathBuf, StartError> {
    let path = data_dir.join("access/development.key");
    if path.exists() {
        return Ok(path);
    }
    let failed = |source| StartError::File {
        path: path.clone(),
        source,
    };
    let mut random = [0; 32];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| failed(io::Error::other("the system gives no random bytes")))?;
    let content = [DEVELOPMENT, hex::encode(random).as_bytes()].concat();
    api_keys::write_secret(&path, &content).map_err(failed)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api_keys::NewKey,
        token::{Claims, Ours, mint},
    };

    fn options(folder: &Path) -> AccessOptions {
        let file = |name: &str, byte: u8| {
            let path = folder.join(name);
            fs::write(&path, [byte; 32]).unwrap();
            path
        };
        AccessOptions {
            keys: vec![file("app.key", 1)],
            signing_key: file("ours.key", 2),
            ..AccessOptions::default()
        }
    }

    #[test]
    fn whoever_shows_something_wrong_is_not_let_in_as_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for anonymous in [false, true] {
            let options = AccessOptions {
                anonymous,
                ..options(folder.path())
            };
            let gatekeeper = Gatekeeper::open(&options, folder.path(), false).unwrap();
            let nobody = gatekeeper.authenticate(None, 0);
            assert_eq!(nobody.is_ok(), anonymous);
            assert_eq!(gatekeeper.authenticate(Some(""), 0), nobody);
            for wrong in ["x", "a.b.c", "afk_0_0"] {
                assert!(gatekeeper.authenticate(Some(wrong), 0).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn only_what_the_server_signed_is_of_its_own_making() {
        let folder = tempfile::tempdir().unwrap();
        let gatekeeper = Gatekeeper::open(&options(folder.path()), folder.path(), false).unwrap();
        let claims = Claims::new("link:ab", 0, 60, Ours::default());
        let ours = mint(&gatekeeper.signer().unwrap(), &claims).unwrap();
        assert!(gatekeeper.authenticate(Some(&ours), 0).is_ok());
        let forged = mint(&Key::secret(&[1; 32], Some(LOCAL.to_owned())).unwrap(), &claims).unwrap();
        assert!(
            gatekeeper.authenticate(Some(&forged), 0).is_err(),
            "the application's key makes no links"
        );
        let ada = Claims::new("ada", 0, 60, Ours::default());
        let theirs = mint(&Key::secret(&[1; 32], Some("any".to_owned())).unwrap(), &ada).unwrap();
        let identity = gatekeeper.authenticate(Some(&theirs), 0).unwrap();
        assert_eq!(identity.principal.as_str(), "ada");
    }

    #[test]
    fn a_development_key_is_for_development() {
        let folder = tempfile::tempdir().unwrap();
        let path = development_key(folder.path()).unwrap();
        assert_eq!(development_key(folder.path()).unwrap(), path);
        let options = AccessOptions {
            signing_key: path,
            ..AccessOptions::default()
        };
        assert!(Gatekeeper::open(&options, folder.path(), true).is_ok());
        let refused = Gatekeeper::open(&options, folder.path(), false);
        assert!(matches!(refused, Err(StartError::Development(_))));
        let none = Gatekeeper::open(&AccessOptions::default(), folder.path(), false).unwrap();
        assert!(none.is_keyless());
    }

    #[test]
    fn a_file_of_keys_that_is_named_must_be_there_and_one_without_keys_is_still_one() {
        let folder = tempfile::tempdir().unwrap();
        let options = AccessOptions {
            api_keys: folder.path().join("keys.json"),
            ..AccessOptions::default()
        };
        let refused = Gatekeeper::open(&options, folder.path(), false)
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("keys.json"), "{refused}");
        let (record, _) = api_keys::create(
            &options.api_keys,
            NewKey {
                name: "x".to_owned(),
                ..NewKey::default()
            },
            0,
        )
        .unwrap();
        assert!(!Gatekeeper::open(&options, folder.path(), false).unwrap().is_keyless());
        api_keys::revoke(&options.api_keys, &record.id).unwrap();
        assert!(!Gatekeeper::open(&options, folder.path(), false).unwrap().is_keyless());
    }
}
