//! Who is let in, and what they may do: from the configuration to what the gateway asks; and the tokens and keys that the
//! command line makes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aetherflow_access::{
    AccessOptions, DocumentAccess, Gatekeeper, RateLimits, api_keys,
    gatekeeper::{development_key, read_secret},
    jwks::Jwks,
    token::{Claims, Ours, mint},
};
use aetherflow_schema::access::{
    Access, AccessWatcher, NoPermissions, OpenAccess, Permissions, Principal, Throttle, Unthrottled,
};
use anyhow::Context;

use crate::{
    backend::Backend,
    cli::{KeyCommand, TokenCommand},
    config::Config,
    wire::Mode,
};

/// How long the token holds that `aetherflow dev` prints, in seconds.
const DEVELOPMENT_TOKEN_S: u64 = 86_400;

/// Who is let in.
pub(crate) struct Door {
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    /// Everybody may do everything.
    pub(crate) is_open: bool,
    /// Who wants to be somebody in `aetherflow dev` may use this.
    pub(crate) development_token: Option<String>,
}

/// What they may do.
pub(crate) struct Rights {
    pub(crate) access: Arc<dyn Access>,
    pub(crate) permissions: Arc<dyn Permissions>,
    pub(crate) throttle: Arc<dyn Throttle>,
    /// What of it can be changed, where anything is limited.
    pub(crate) rates: Option<Arc<RateLimits>>,
    pub(crate) documents: Option<DocumentAccess>,
}

/// Reads the keys, before anything else is opened.
///
/// # Errors
/// When `serve` can tell nobody apart and was not told to let everybody do everything, or a key is not good.
pub(crate) fn open(config: &Config, mode: Mode) -> anyhow::Result<Door> {
    let development = mode == Mode::Dev;
    let mut options = config.access.clone();
    if development && options.signing_key.as_os_str().is_empty() {
        options.signing_key = development_key(&config.data_dir)?;
    }
    let gatekeeper = Gatekeeper::open(&options, &config.data_dir, development)?;
    // Said by the configuration alone: keys that are gone are no reason to let anybody in.
    let is_open = development || options.open;
    anyhow::ensure!(
        is_open || !gatekeeper.is_keyless(),
        "there is no key to authenticate anybody with. Name key files with `access.keys`, or where keys are published with \
         `access.jwks_url`, or make an API key with `aetherflow key create`. To let everybody read and change everything, \
         set `access.open = true` (or AETHERFLOW_ACCESS__OPEN=true); for development, use `aetherflow dev`"
    );
    let development_token = match (development, gatekeeper.signer()) {
        (true, Some(signer)) => {
            let claims = Claims::new("developer", now_s(), DEVELOPMENT_TOKEN_S, Ours::default());
            Some(mint(&signer, &claims)?)
        }
        _ => None,
    };
    Ok(Door {
        gatekeeper: Arc::new(gatekeeper),
        is_open,
        development_token,
    })
}

/// Reads documents' permissions from the log, unless everybody may do everything.
pub(crate) async fn rights(door: &Door, config: &Config, backend: &Backend) -> Rights {
    if door.is_open {
        return Rights {
            access: Arc::new(OpenAccess),
            permissions: Arc::new(NoPermissions),
            throttle: Arc::new(Unthrottled),
            rates: None,
            documents: None,
        };
    }
    let AccessOptions { rates, .. } = config.access;
    let documents = DocumentAccess::start(backend.log(), &config.access, door.gatekeeper.signer()).await;
    tracing::info!(documents = documents.documents(), "read the permissions of documents");
    let limits = Arc::new(RateLimits::new(rates, config.limits.count_loopback));
    Rights {
        access: Arc::new(documents.clone()),
        permissions: Arc::new(documents.clone()),
        throttle: limits.clone(),
        rates: Some(limits),
        documents: Some(documents),
    }
}

/// Has `watcher` hear which API keys are revoked.
pub(crate) fn follow(door: &Door, watcher: &Arc<dyn AccessWatcher>) {
    door.gatekeeper.watch(watcher);
    if let Some(jwks) = door.gatekeeper.jwks() {
        tokio::spawn(Jwks::follow(Arc::downgrade(&jwks)));
    }
    tokio::spawn(Gatekeeper::follow_api_keys(Arc::downgrade(&door.gatekeeper)));
}

/// `aetherflow token`
pub(crate) fn token(config: &Config, command: &TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::Mint {
        subject,
        grants,
        seconds,
    } = command;
    let path = &config.access.signing_key;
    anyhow::ensure!(
        !path.as_os_str().is_empty(),
        "`access.signing_key` names no file with a secret to sign with"
    );
    anyhow::ensure!(Principal::user(subject).is_some(), "{subject:?} is no name for a user");
    let ours = Ours {
        grants: grants.iter().cloned().collect(),
        create: None,
    };
    anyhow::ensure!(ours.is_sound(), "the grants are not document ids with roles");
    let claims = Claims::new(subject, now_s(), *seconds, ours);
    println!("{}", mint(&read_secret(path, true)?, &claims)?);
    Ok(())
}

/// `aetherflow key`
pub(crate) fn key(config: &Config, command: &KeyCommand) -> anyhow::Result<()> {
    let path = config.access.api_keys_in(&config.data_dir);
    match command {
        KeyCommand::Create { name, grants, seconds } => {
            let new = api_keys::NewKey {
                name: name.clone(),
                grants: grants.iter().cloned().collect::<BTreeMap<_, _>>(),
                expires_at: seconds.map(|seconds| now_s().saturating_add(seconds)),
            };
            let (record, key) = api_keys::create(&path, new, now_s()).context("no key was made")?;
            eprintln!(
                "key {} of {} in {}; it is shown this once:",
                record.id,
                record.name,
                path.display()
            );
            println!("{key}");
        }
        KeyCommand::List => {
            for record in api_keys::list(&path)? {
                let grants: Vec<_> = record
                    .grants()
                    .iter()
                    .map(|(on, role)| format!("{on}={role}"))
                    .collect();
                let end = record.expires_at.map_or("never".to_owned(), |end| end.to_string());
                println!("{}  {}  {}  expires {end}", record.id, record.name, grants.join(","));
            }
        }
        KeyCommand::Revoke { id } => api_keys::revoke(&path, id)?,
    }
    Ok(())
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(folder: &tempfile::TempDir) -> Config {
        Config {
            data_dir: folder.path().to_owned(),
            ..Config::default()
        }
    }

    #[test]
    fn only_an_explicit_word_serves_without_authentication() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        let refusal = open(&config, Mode::Serve).err().unwrap().to_string();
        assert!(refusal.contains("access.open = true"), "{refusal}");
        config.access.anonymous = true;
        assert!(open(&config, Mode::Serve).is_err(), "that lets nobody write");
        config.access.open = true;
        assert!(open(&config, Mode::Serve).unwrap().is_open);
    }

    #[test]
    fn a_server_stays_closed_when_its_last_key_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        config.access.anonymous = true;
        let path = config.access.api_keys_in(&config.data_dir);
        let new = api_keys::NewKey {
            name: "backend".to_owned(),
            ..api_keys::NewKey::default()
        };
        let (record, _) = api_keys::create(&path, new, 0).unwrap();
        assert!(!open(&config, Mode::Serve).unwrap().is_open);
        api_keys::revoke(&path, &record.id).unwrap();
        assert!(!open(&config, Mode::Serve).unwrap().is_open);
        fs::remove_file(&path).unwrap();
        assert!(
            open(&config, Mode::Serve).is_err(),
            "nor does it start without the file"
        );
        config.access.api_keys = path;
        config.access.keys = vec![folder.path().join("none")];
        assert!(open(&config, Mode::Serve).is_err());
    }

    #[test]
    fn with_a_key_nobody_is_let_in_without_one_and_a_development_key_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        let door = open(&config, Mode::Dev).unwrap();
        assert!(door.is_open && door.development_token.is_some());
        config.access.signing_key = folder.path().join("access/development.key");
        let refusal = open(&config, Mode::Serve).err().unwrap().to_string();
        assert!(refusal.contains("development key"), "{refusal}");
        let secret = folder.path().join("secret");
        fs::write(&secret, [b's'; 32]).unwrap();
        config.access.signing_key = secret;
        let door = open(&config, Mode::Serve).unwrap();
        assert!(!door.is_open && door.development_token.is_none());
    }
}
