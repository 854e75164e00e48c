//! API keys, for servers.
//!
//! **Owns** a file with the hashes of keys, and what it said last. **Invariants**: a secret is nowhere but with who was
//! given it; the file is replaced as a whole, and readable by its owner only. **On failure** to read a changed file the
//! keys of before stay, and an operator is told.
//!
//! A key is `afk_<id>_<secret>`. Its secret has 256 random bits, so that there is nothing to guess and a fast hash is the
//! right one: slow ones protect passwords, which people choose, and would let anybody make the server work hard.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use aetherflow_schema::access::{AuthFailure, ClientKind, Identity, Principal, TokenGrants};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::token::Ours;

/// What every key begins with, so that one that leaked is found by scanners.
pub const PREFIX: &str = "afk_";

const VERSION: u32 = 1;
const CONTEXT: &str = "aetherflow 2026-11-23 api key v1";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// Bytes of a file that is still read.
const FILE_BYTES: u64 = 4 << 20;

/// Why keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is no file of API keys: {reason}")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no such key.
    #[error("there is no API key {0}")]
    Unknown(String),
    /// Not a name, or grants that are none.
    #[error("{0}")]
    Invalid(&'static str),
    /// The system has no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its public part, in hexadecimal.
    pub id: String,
    /// Whose: the principal is `server:` and this.
    pub name: String,
    /// The hash of its secret, in hexadecimal.
    hash: String,
    /// What it may do.
    #[serde(flatten)]
    ours: RecordGrants,
    /// When it was made, seconds since 1970.
    pub created_at: u64,
    /// When it ends, seconds since 1970, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RecordGrants {
    grants: BTreeMap<String, String>,
    create: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    keys: Vec<Record>,
}

/// What a new key is for.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// Whose.
    pub name: String,
    /// Document ids, or `*`, with roles.
    pub grants: BTreeMap<String, String>,
    /// When it ends, seconds since 1970, if it does.
    pub expires_at: Option<u64>,
}

struct Known {
    hash: blake3::Hash,
    identity: Identity,
}

/// The keys of a file.
pub struct ApiKeys {
    path: PathBuf,
    known: RwLock<HashMap<String, Known>>,
    seen: Mutex<Option<Stamp>>,
}

impl ApiKeys {
    /// Reads the file; when there is none, there are no keys.
    ///
    /// # Errors
    /// See [`ApiKeyError`].
    pub fn open(path: &Path) -> Result<Self, ApiKeyError> {
        let keys = Self {
            path: path.to_owned(),
            known: RwLock::default(),
            seen: Mutex::default(),
        };
        keys.reload()?;
        Ok(keys)
    }

    /// Whether there is a file, with keys or without.
    pub fn are_kept(&self) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Reads the file again if it has changed: the ids of keys that are no more, or may do less.
    ///
    /// # Errors
    /// See [`ApiKeyError`]; the keys of before then stay.
    pub fn reload(&self) -> Result<Vec<String>, ApiKeyError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path)?;
        if *seen == stamp && stamp.is_some() {
            return Ok(Vec::new());
        }
        let mut known = HashMap::new();
        for record in read(&self.path)? {
            let found =
                Known::of(&record).ok_or_else(|| form(&self.path, format!("key {} makes no sense", record.id)))?;
            known.insert(record.id, found);
        }
        let mut current = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let changed = |id: &String, old: &Known| {
            let same = |new: &Known| new.hash == old.hash && new.identity == old.identity;
            !known.get(id).is_some_and(same)
        };
        let gone = current
            .iter()
            .filter(|(id, old)| changed(id, old))
            .map(|(id, _)| id.clone());
        let gone = gone.collect();
        *current = known;
        *seen = stamp;
        Ok(gone)
    }

    /// Whether there is the key of this identity still, and it may do the same.
    pub fn is_current(&self, identity: &Identity) -> bool {
        let Some(id) = identity.credential.as_deref() else {
            return false;
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|known| known.identity == *identity)
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// When it is nobody's.
    pub fn identity(&self, key: &str, now: u64) -> Result<Identity, AuthFailure> {
        const FORM: AuthFailure = AuthFailure::Invalid("it is no API key");
        let (id, secret) = key
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(FORM)?;
        if id.len() != 2 * ID_BYTES || secret.len() != 2 * SECRET_BYTES {
            return Err(FORM);
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(id).ok_or(AuthFailure::Unverified)?;
        // Hashes of this kind are compared in constant time.
        if found.hash != hash(id, secret) {
            return Err(AuthFailure::Unverified);
        }
        if found.identity.expires_at.is_some_and(|end| end <= now) {
            return Err(AuthFailure::Expired);
        }
        Ok(found.identity.clone())
    }
}

impl Known {
    fn of(record: &Record) -> Option<Self> {
        let ours = Ours {
            grants: record.ours.grants.clone(),
            create: None,
        };
        let identity = Identity {
            principal: Principal::named(&format!("{}{}", Principal::SERVER, record.name))?,
            kind: ClientKind::Server,
            expires_at: record.expires_at,
            grants: ours.grants()?,
            may_create: record.ours.create,
            credential: Some(Arc::from(record.id.as_str())),
        };
        Some(Self {
            hash: blake3::Hash::from_hex(&record.hash).ok()?,
            identity,
        })
    }
}

fn hash(id: &str, secret: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(id.as_bytes()).update(secret.as_bytes());
    hasher.finalize()
}

/// Makes a key and adds it to the file: what is to be given to its holder, and can never be seen again.
///
/// # Errors
/// See [`ApiKeyError`].
pub fn create(path: &Path, new: NewKey, now: u64) -> Result<(Record, String), ApiKeyError> {
    let mut keys = read(path)?;
    let mut random = [0; ID_BYTES + SECRET_BYTES];
    SystemRandom::new().fill(&mut random).map_err(|_| ApiKeyError::Random)?;
    let (id, secret) = random.split_at(ID_BYTES);
    let (id, secret) = (hex::encode(id), hex::encode(secret));
    let record = Record {
        hash: hash(&id, &secret).to_string(),
        name: new.name,
        ours: RecordGrants {
            grants: new.grants,
            create: true,
        },
        created_at: now,
        expires_at: new.expires_at,
        id: id.clone(),
    };
    if record.name.is_empty() || record.name.chars().any(char::is_control) {
        return Err(ApiKeyError::Invalid("a key has a name without control characters"));
    }
    if Known::of(&record).is_none() {
        return Err(ApiKeyError::Invalid(
            "its name is too long, or its grants are not document ids with roles",
        ));
    }
    keys.push(record.clone());
    write(path, keys)?;
    Ok((record, format!("{PREFIX}{id}_{secret}")))
}

/// The keys in a file.
///
/// # Errors
/// See [`ApiKeyError`].
pub fn list(path: &Path) -> Result<Vec<Record>, ApiKeyError> {
    read(path)
}

/// Takes a key out of the file. A server that uses it ends the connections of its holder within a second.
///
/// # Errors
/// See [`ApiKeyError`].
pub fn revoke(path: &Path, id: &str) -> Result<(), ApiKeyError> {
    let mut keys = read(path)?;
    let before = keys.len();
    keys.retain(|key| key.id != id);
    if keys.len() == before {
        return Err(ApiKeyError::Unknown(id.to_owned()));
    }
    write(path, keys)
}

impl Record {
    /// What it may do, as it was given.
    pub fn grants(&self) -> &BTreeMap<String, String> {
        &self.ours.grants
    }
}

impl Record {
    /// What it may do, as it counts.
    pub fn token_grants(&self) -> Option<TokenGrants> {
        Known::of(self).map(|known| known.identity.grants)
    }
}

/// What changes whenever the file is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

fn stamp(path: &Path) -> Result<Option<Stamp>, ApiKeyError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stamp {
            modified: metadata.modified().map_err(|source| failed(path, source))?,
            bytes: metadata.len(),
            inode: metadata.ino(),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path, source)),
    }
}

fn read(path: &Path) -> Result<Vec<Record>, ApiKeyError> {
    match stamp(path)? {
        None => return Ok(Vec::new()),
        Some(stamp) if stamp.bytes > FILE_BYTES => return Err(form(path, format!("it has {} bytes", stamp.bytes))),
        Some(_) => {}
    }
    let content = fs::read(path).map_err(|source| failed(path, source))?;
    let file: File = serde_json::from_slice(&content).map_err(|error| form(path, error.to_string()))?;
    if file.version != VERSION {
        return Err(form(path, format!("it is of version {}", file.version)));
    }
    Ok(file.keys)
}

fn write(path: &Path, keys: Vec<Record>) -> Result<(), ApiKeyError> {
    let file = File { version: VERSION, keys };
    let content = serde_json::to_vec_pretty(&file).map_err(|error| form(path, error.to_string()))?;
    write_secret(path, &content).map_err(|source| failed(path, source))
}

/// Replaces a file as a whole by one that only its owner may read.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(folder)?.sync_all()
}

fn failed(path: &Path, source: io::Error) -> ApiKeyError {
    ApiKeyError::File {
        path: path.to_owned(),
        source,
    }
}

fn form(path: &Path, reason: String) -> ApiKeyError {
    ApiKeyError::Form {
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests;
