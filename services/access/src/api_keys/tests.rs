use std::os::unix::fs::PermissionsExt;

use aetherflow_schema::access::Role;

use super::*;

fn new_key() -> NewKey {
    NewKey {
        name: "backend".to_owned(),
        grants: BTreeMap::from([("*".to_owned(), "owner".to_owned())]),
        expires_at: None,
    }
}

#[test]
fn a_key_works_until_it_is_revoked_and_its_secret_is_not_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access/keys.json");
    let keys = ApiKeys::open(&path).unwrap();
    assert!(!keys.are_kept());
    let (record, key) = create(&path, new_key(), 100).unwrap();
    let (_, other) = create(
        &path,
        NewKey {
            expires_at: Some(200),
            ..new_key()
        },
        100,
    )
    .unwrap();
    assert_eq!(keys.reload().unwrap(), Vec::<String>::new());
    let identity = keys.identity(&key, 100).unwrap();
    assert_eq!(
        (identity.principal.as_str(), identity.kind),
        ("server:backend", ClientKind::Server)
    );
    assert_eq!(identity.grants.everywhere, Some(Role::Owner));
    assert_eq!(identity.credential.as_deref(), Some(record.id.as_str()));
    let content = fs::read_to_string(&path).unwrap();
    assert!(!content.contains(key.rsplit('_').next().unwrap()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(keys.identity(&other, 199).is_ok());
    assert_eq!(keys.identity(&other, 200), Err(AuthFailure::Expired));

    assert!(keys.is_current(&identity));
    revoke(&path, &record.id).unwrap();
    assert_eq!(keys.reload().unwrap(), std::slice::from_ref(&record.id));
    assert!(!keys.is_current(&identity));
    assert_eq!(keys.identity(&key, 100), Err(AuthFailure::Unverified));
    assert!(matches!(revoke(&path, &record.id), Err(ApiKeyError::Unknown(_))));
    assert!(keys.identity(&other, 100).is_ok());
}

#[test]
fn what_is_not_the_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (record, key) = create(&path, new_key(), 0).unwrap();
    let keys = ApiKeys::open(&path).unwrap();
    let secret = key.rsplit('_').next().unwrap();
    let wrong = secret.replace(&secret[..1], if &secret[..1] == "0" { "1" } else { "0" });
    for (text, expected) in [
        (format!("afk_{}_{wrong}", record.id), AuthFailure::Unverified),
        (format!("afk_0000000000000000_{secret}"), AuthFailure::Unverified),
        (key.to_uppercase(), AuthFailure::Invalid("it is no API key")),
        (format!("{key}0"), AuthFailure::Invalid("it is no API key")),
        ("afk_".to_owned(), AuthFailure::Invalid("it is no API key")),
    ] {
        assert_eq!(keys.identity(&text, 0), Err(expected), "{text}");
    }
}

#[test]
fn a_damaged_file_leaves_the_keys_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (_, key) = create(&path, new_key(), 0).unwrap();
    let keys = ApiKeys::open(&path).unwrap();
    for damaged in ["{", "{\"version\":2,\"keys\":[]}", "{\"version\":1,\"keys\":[{}]}"] {
        fs::write(&path, damaged).unwrap();
        assert!(matches!(keys.reload(), Err(ApiKeyError::Form { .. })), "{damaged}");
        assert!(keys.identity(&key, 0).is_ok());
    }
    assert!(
        create(&path, new_key(), 0).is_err(),
        "nothing is written over what is not understood"
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(keys.reload().unwrap().len(), 1, "a file that is gone has no keys");
    let bad = NewKey {
        name: String::new(),
        ..new_key()
    };
    assert!(matches!(create(&path, bad, 0), Err(ApiKeyError::Invalid(_))));
}

#[test]
fn a_key_that_may_do_less_is_not_the_one_that_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (record, key) = create(&path, new_key(), 0).unwrap();
    let keys = ApiKeys::open(&path).unwrap();
    let before = keys.identity(&key, 0).unwrap();
    let content = fs::read_to_string(&path).unwrap();
    let new = path.with_extension("edited");
    fs::write(&new, content.replace("\"owner\"", "\"viewer\"")).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(keys.reload().unwrap(), std::slice::from_ref(&record.id));
    assert!(!keys.is_current(&before));
    let after = keys.identity(&key, 0).unwrap();
    assert_eq!(after.grants.everywhere, Some(Role::Viewer));
    assert!(keys.is_current(&after) && !keys.is_current(&Identity::anonymous()));
}
