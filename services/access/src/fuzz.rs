//! Fuzzing: tokens, keys, key files and API keys, good but for some damage, or anything. `schema/tests/fuzz` says how it is run.

#[path = "../../../quantum/proto/tests/fuzz/run.rs"]
mod run;
#[allow(dead_code, reason = "the transport needs more of it")]
#[path = "../../../quantum/proto/tests/fuzz/source.rs"]
mod source;

use std::{fs, sync::LazyLock};

use aetherflow_schema::native::TOKEN_BYTES;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use self::{run::seeds, source::Source};
use crate::{
    api_keys::{self, ApiKeys, NewKey},
    der,
    key::Key,
    token::{self, Claims, Ours},
};

const NOW: u64 = 1_700_000_000;

fn key() -> Key {
    Key::secret(&[7; 32], None).unwrap()
}

/// A token. What was changed in any way is nobody's.
fn token(data: &[u8]) {
    static CORPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut claims = Claims::new("ada", NOW, 600, Ours::default());
        let plain = token::mint(&key(), &claims).unwrap();
        claims.ours = Some(Ours {
            grants: [("*".to_owned(), "editor".to_owned())].into(),
            create: Some(false),
        });
        vec![plain, token::mint(&key(), &claims).unwrap()]
    });
    let bytes = Source::new(data).nearly(&CORPUS);
    let text = String::from_utf8_lossy(&bytes);
    let Ok(parsed) = token::parse(&text) else { return };
    assert!(text.len() <= TOKEN_BYTES);
    // Signatures have more than one text: what is left over of the last letter does not count.
    let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
    assert!(
        !parsed.is_of(&key()) || CORPUS.iter().any(|good| signed(good) == signed(&text)),
        "{text}"
    );
}

/// A file of keys: PEM, JSON Web Keys, or a secret.
fn key_file(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let pem = |kind| KeyPair::generate_for(kind).unwrap().public_key_pem().into_bytes();
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let okp = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"one","alg":"EdDSA","use":"sig"}}"#);
        let rsa = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
        let ec = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#);
        let set = format!(r#"{{"keys":[{okp},{rsa},{ec}]}}"#);
        let secret = b"a secret of thirty-two characters\n".to_vec();
        vec![
            pem(&PKCS_ECDSA_P256_SHA256),
            pem(&PKCS_ED25519),
            okp.into(),
            set.into(),
            secret,
        ]
    });
    let bytes = Source::new(data).nearly(&CORPUS);
    for key in Key::from_file(&bytes).into_iter().flatten() {
        assert!(!key.verifies(b"what it never signed", &[0; 64]));
        assert!(!format!("{key:?}").contains("thirty-two"));
    }
}

/// The wrapping of a public key.
fn wrapped_key(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let spki = |kind| rcgen::PublicKeyData::subject_public_key_info(&KeyPair::generate_for(kind).unwrap());
        // With a modulus of one byte: there is no way to make one here.
        let rsa = [
            0x30, 0x1b, 0x30, 0x0d, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0, 0x03, 0x0a, 0, 0x30, 7,
            0x02, 2, 0, 0x9f, 0x02, 1, 3,
        ];
        assert!(der::public_key(&rsa).is_some());
        vec![spki(&PKCS_ECDSA_P256_SHA256), spki(&PKCS_ED25519), rsa.into()]
    });
    let bytes = Source::new(data).nearly(&CORPUS);
    if let Some(der::PublicKey::Rsa { n, e }) = der::public_key(&bytes) {
        assert!(n.len() + e.len() < bytes.len());
    }
}

/// The file of API keys, and a key that somebody shows.
fn api_keys(data: &[u8]) {
    static CORPUS: LazyLock<(Vec<u8>, String)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let new = NewKey {
            name: "importer".to_owned(),
            grants: [("*".to_owned(), "owner".to_owned())].into(),
            expires_at: Some(NOW + 600),
        };
        let (_, shown) = api_keys::create(&path, new, NOW).unwrap();
        (fs::read(&path).unwrap(), shown)
    });
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    let (file, shown) = &*CORPUS;
    let mut source = Source::new(data);
    let path = FOLDER.path().join("keys.json");
    let file = if source.once_in(2) {
        file.clone()
    } else {
        source.nearly(&[file])
    };
    fs::write(&path, file).unwrap();
    let Ok(keys) = ApiKeys::open(&path) else { return };
    let bytes = source.nearly(&[shown]);
    let text = String::from_utf8_lossy(&bytes);
    assert!(keys.identity(&text, NOW).is_err() || text == *shown, "{text}");
}

#[test]
fn any_token() {
    seeds("any_token", 5_000, 300, token);
}

#[test]
fn any_key_file() {
    seeds("any_key_file", 5_000, 300, key_file);
}

#[test]
fn any_wrapped_key() {
    seeds("any_wrapped_key", 10_000, 200, wrapped_key);
}

#[test]
fn any_api_key() {
    seeds("any_api_key", 2_000, 300, api_keys);
}
