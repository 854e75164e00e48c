//! Keys that verify tokens.
//!
//! The type of a key decides the one algorithm it is used for, whatever a token says about itself, so that a public key can
//! never be taken for a shared secret.

use std::fmt;

use ring::{hmac, signature};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Deserialize;

use crate::{base64url, der};

/// Bytes of a shared secret at least: as long as the hash (RFC 7518, section 3.2).
pub const SECRET_BYTES: usize = 32;

/// Keys in one set.
const KEYS: usize = 64;

/// What every development key begins with. A server refuses it outside of `dev`.
pub const DEVELOPMENT: &[u8] = b"aetherflow-development-key-";

/// The algorithms there are (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2,048 to 8,192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Why something is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too short to be a shared secret.
    #[error("a shared secret has at least {SECRET_BYTES} bytes, and this has {0}")]
    Short(usize),
    /// Not what it looks like.
    #[error("not a public key in PEM form that can be used here: {0}")]
    Pem(String),
    /// Not a JSON Web Key, or a set of them.
    #[error("not a JSON Web Key: {0}")]
    Jwk(String),
    /// More keys than are taken.
    #[error("a set has at most {KEYS} keys")]
    TooMany,
}

enum Material {
    Hs256(hmac::Key),
    Rs256(signature::RsaPublicKeyComponents<Vec<u8>>),
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
}

/// A key, with its name if it has one.
pub struct Key {
    id: Option<String>,
    material: Material,
    development: bool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?})", self.algorithm().name(), self.id)
    }
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

impl Key {
    /// A shared secret.
    ///
    /// # Errors
    /// When it is too short.
    pub fn secret(secret: &[u8], id: Option<String>) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES {
            return Err(KeyError::Short(secret.len()));
        }
        Ok(Self {
            id,
            material: Material::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)),
            development: secret.starts_with(DEVELOPMENT),
        })
    }

    /// The keys in a file: a public key in PEM form, a JSON Web Key or a set of them, or else a shared secret, whose last
    /// line end does not count.
    ///
    /// # Errors
    /// When it holds none that can be used.
    pub fn from_file(content: &[u8]) -> Result<Vec<Self>, KeyError> {
        let text = content.trim_ascii_start();
        if text.starts_with(b"-----BEGIN ") {
            return Ok(vec![Self::from_pem(content)?]);
        }
        if text.starts_with(b"{") {
            return Self::from_jwks(content);
        }
        let secret = content.strip_suffix(b"\n").unwrap_or(content);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        Ok(vec![Self::secret(secret, None)?])
    }

    fn from_pem(content: &[u8]) -> Result<Self, KeyError> {
        let spki =
            SubjectPublicKeyInfoDer::from_pem_slice(content).map_err(|error| KeyError::Pem(error.to_string()))?;
        let unusable = || KeyError::Pem("RSA, P-256 and Ed25519 keys are".to_owned());
        let material = match der::public_key(&spki).ok_or_else(unusable)? {
            der::PublicKey::Rsa { n, e } => Material::Rs256(signature::RsaPublicKeyComponents { n, e }),
            der::PublicKey::P256(point) => Material::Es256(point),
            der::PublicKey::Ed25519(point) => Material::EdDsa(point),
        };
        Ok(Self::public(None, material))
    }

    /// The keys of a set, or a single one. Those of kinds that are not used here are passed over.
    ///
    /// # Errors
    /// When it is not JSON, or there is none to use.
    pub fn from_jwks(content: &[u8]) -> Result<Vec<Self>, KeyError> {
        let wrong = |error: serde_json::Error| KeyError::Jwk(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(content).map_err(wrong)?;
        let keys = if value.get("keys").is_some() {
            serde_json::from_value::<JwkSet>(value).map_err(wrong)?.keys
        } else {
            vec![value]
        };
        if keys.len() > KEYS {
            return Err(KeyError::TooMany);
        }
        let keys: Vec<_> = keys.into_iter().filter_map(Self::from_jwk).collect();
        if keys.is_empty() {
            return Err(KeyError::Jwk(
                "there is no RSA, P-256 or Ed25519 key for signatures".to_owned(),
            ));
        }
        Ok(keys)
    }

    /// A symmetric key is never taken from a set: it would be one that others know.
    fn from_jwk(value: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let part = |text: &Option<String>| base64url::decode(text.as_deref()?);
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rs256(signature::RsaPublicKeyComponents {
                n: part(&jwk.n)?,
                e: part(&jwk.e)?,
            }),
            ("EC", Some("P-256")) => {
                let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
                let whole = x.len() == 32 && y.len() == 32;
                Material::Es256(whole.then(|| [&[4], &*x, &*y].concat())?)
            }
            ("OKP", Some("Ed25519")) => Material::EdDsa(part(&jwk.x).filter(|x| x.len() == 32)?),
            _ => return None,
        };
        let key = Self::public(jwk.kid, material);
        let fits = jwk.alg.is_none_or(|alg| alg == key.algorithm().name());
        fits.then_some(key)
    }

    fn public(id: Option<String>, material: Material) -> Self {
        Self {
            id,
            material,
            development: false,
        }
    }

    /// Its name.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Hs256(_) => Algorithm::Hs256,
            Material::Rs256(_) => Algorithm::Rs256,
            Material::Es256(_) => Algorithm::Es256,
            Material::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Whether it is one that `aetherflow dev` made.
    pub fn is_for_development(&self) -> bool {
        self.development
    }

    /// Whether it made this signature.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        match &self.material {
            Material::Hs256(key) => hmac::verify(key, message, signature),
            Material::Rs256(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature),
            Material::Es256(key) => public(&signature::ECDSA_P256_SHA256_FIXED, key),
            Material::EdDsa(key) => public(&signature::ED25519, key),
        }
        .is_ok()
    }

    /// Signs; only a shared secret can.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.material {
            Material::Hs256(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};

    use super::*;

    #[test]
    fn the_kind_of_a_key_decides_its_algorithm() {
        for (kind, expected) in [
            (&PKCS_ECDSA_P256_SHA256, Algorithm::Es256),
            (&PKCS_ED25519, Algorithm::EdDsa),
        ] {
            let pair = KeyPair::generate_for(kind).unwrap();
            let keys = Key::from_file(pair.public_key_pem().as_bytes()).unwrap();
            assert_eq!(keys[0].algorithm(), expected);
        }
        let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(matches!(
            Key::from_file(other.public_key_pem().as_bytes()),
            Err(KeyError::Pem(_))
        ));
        let private = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
        assert!(
            Key::from_file(private.as_bytes()).is_err(),
            "a private key verifies nothing"
        );
    }

    #[test]
    fn a_secret_has_a_length_and_shows_nothing_of_itself() {
        assert_eq!(Key::from_file(b"short\n").unwrap_err(), KeyError::Short(5));
        let keys = Key::from_file(&[b'x'; 40]).unwrap();
        assert_eq!(format!("{:?}", keys[0]), "Key(HS256, None)");
        assert!(!keys[0].is_for_development());
        let development = [DEVELOPMENT, &[b'0'; 32]].concat();
        assert!(Key::from_file(&development).unwrap()[0].is_for_development());
    }

    #[test]
    fn a_set_gives_the_keys_that_can_be_used() {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let x = base64url::encode(pair.der_bytes());
        let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}"}}"#);
        let secret = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","kid":"b"}"#;
        let contradiction = format!(r#"{{"kty":"OKP","crv":"Ed25519","alg":"HS256","x":"{x}"}}"#);
        let for_encryption = format!(r#"{{"kty":"OKP","crv":"Ed25519","use":"enc","x":"{x}"}}"#);
        let set = format!(r#"{{"keys":[{secret},{contradiction},{for_encryption},3,{good}]}}"#);
        for content in [set, good] {
            let keys = Key::from_jwks(content.as_bytes()).unwrap();
            assert_eq!((keys.len(), keys[0].id()), (1, Some("a")));
        }
        for content in ["{}", "[]", "{\"keys\":3}", secret] {
            assert!(Key::from_jwks(content.as_bytes()).is_err(), "{content}");
        }
        let many = format!("{{\"keys\":[{}1]}}", "1,".repeat(KEYS));
        assert_eq!(Key::from_jwks(many.as_bytes()).unwrap_err(), KeyError::TooMany);
    }
}
