use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData};
use ring::{rand::SystemRandom, signature};

use super::*;
use crate::key::Algorithm;

const NOW: u64 = 1_000_000;

fn secret() -> Key {
    Key::secret(&[7; 32], None).unwrap()
}

fn claims(change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let mut claims = serde_json::json!({"sub": "ada", "exp": NOW + 60, "iss": "app", "aud": ["x", "aetherflow"]});
    change(&mut claims);
    claims
}

fn demands() -> Demands {
    Demands {
        audience: "aetherflow".to_owned(),
        issuer: "app".to_owned(),
        leeway_s: 5,
    }
}

fn signed(header: &serde_json::Value, claims: &serde_json::Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &serde_json::Value| base64url::encode(value.to_string().as_bytes());
    let body = format!("{}.{}", part(header), part(claims));
    let signature = sign(body.as_bytes());
    format!("{body}.{}", base64url::encode(&signature))
}

fn hs256(claims: &serde_json::Value) -> String {
    signed(&serde_json::json!({"alg": "HS256"}), claims, |body| {
        secret().sign(body).unwrap()
    })
}

fn identified(token: &str, key: &Key) -> Result<Identity, AuthFailure> {
    let parsed = parse(token)?;
    if !parsed.is_of(key) {
        return Err(AuthFailure::Unverified);
    }
    parsed.identity(&demands(), false, NOW)
}

#[test]
fn every_kind_of_signature_is_verified() {
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let random = SystemRandom::new();
    for (pair, alg) in [(&ec, "ES256"), (&ed, "EdDSA")] {
        let key = &Key::from_file(pair.public_key_pem().as_bytes()).unwrap()[0];
        let token = signed(
            &serde_json::json!({"alg": alg, "typ": "JWT"}),
            &claims(|_| {}),
            |body| {
                let der = pair.serialize_der();
                if alg == "ES256" {
                    let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                    let pair = signature::EcdsaKeyPair::from_pkcs8(kind, &der, &random).unwrap();
                    pair.sign(&random, body).unwrap().as_ref().to_vec()
                } else {
                    let pair = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap();
                    pair.sign(body).as_ref().to_vec()
                }
            },
        );
        let found = identified(&token, key).unwrap();
        assert_eq!((found.principal.as_str(), found.kind), ("ada", ClientKind::User));
        let mut other = token.clone().into_bytes();
        let place = token.find('.').unwrap() + 3;
        other[place] = if other[place] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(identified(&other, key), Err(AuthFailure::Unverified), "{alg}");
    }
    assert!(identified(&hs256(&claims(|_| {})), &secret()).is_ok());
}

/// A key and a token of RFC 7515, appendix A.2.
#[test]
fn the_example_of_the_rfc_verifies_with_rsa() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let jwk = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#);
    let key = &Key::from_jwks(jwk.as_bytes()).unwrap()[0];
    assert_eq!(key.algorithm(), Algorithm::Rs256);
    let parsed = parse(token).unwrap();
    assert!(parsed.is_of(key));
    assert!(!parse(&token.replace("eyJpc3Mi", "eyJpc3Mj")).unwrap().is_of(key));
}

#[test]
fn a_public_key_is_never_taken_for_a_secret_and_none_is_no_algorithm() {
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pem = ed.public_key_pem();
    let public = &Key::from_file(pem.as_bytes()).unwrap()[0];
    // What an attacker knows: the public key, in each of its forms, as the secret of HMAC.
    for secret in [pem.as_bytes(), ed.der_bytes()] {
        let known = Key::secret(secret, None).unwrap();
        for alg in ["HS256", "EdDSA"] {
            let header = serde_json::json!({"alg": alg});
            let token = signed(&header, &claims(|_| {}), |body| known.sign(body).unwrap());
            assert_eq!(identified(&token, public), Err(AuthFailure::Unverified), "{alg}");
        }
    }
    for alg in ["none", "None", "", "HS512", "hs256"] {
        let header = serde_json::json!({"alg": alg});
        for signature in [Vec::new(), secret().sign(b"").unwrap()] {
            let token = signed(&header, &claims(|_| {}), |_| signature);
            assert_eq!(identified(&token, &secret()), Err(AuthFailure::Unverified), "{alg}");
        }
        let token = signed(&header, &claims(|_| {}), |body| secret().sign(body).unwrap());
        assert_eq!(identified(&token, &secret()), Err(AuthFailure::Unverified), "{alg}");
    }
}

#[test]
fn every_demand_is_made() {
    type Change = fn(&mut serde_json::Value);
    let faults: [(&str, Change); 14] = [
        ("expired", |claims| claims["exp"] = (NOW - 5).into()),
        ("no end", |claims| claims["exp"] = serde_json::Value::Null),
        ("a fractional end", |claims| claims["exp"] = 1e99.into()),
        ("not yet", |claims| claims["nbf"] = (NOW + 6).into()),
        ("another audience", |claims| claims["aud"] = "other".into()),
        ("no audience", |claims| claims["aud"] = serde_json::Value::Null),
        ("another issuer", |claims| claims["iss"] = "other".into()),
        ("no subject", |claims| claims["sub"] = serde_json::Value::Null),
        ("an empty subject", |claims| claims["sub"] = "".into()),
        ("a server's name", |claims| claims["sub"] = "server:x".into()),
        ("a link's name", |claims| claims["sub"] = "link:x".into()),
        ("a role that is none", |claims| {
            claims["aetherflow"] = serde_json::json!({"grants": {"*": "god"}})
        }),
        ("a document that is none", |claims| {
            claims["aetherflow"] = serde_json::json!({"grants": {"x": "owner"}})
        }),
        ("what is not known", |claims| {
            claims["aetherflow"] = serde_json::json!({"admin": true})
        }),
    ];
    for (what, fault) in faults {
        let result = identified(&hs256(&claims(fault)), &secret());
        let expected = what == "expired";
        assert!(
            result
                .as_ref()
                .is_err_and(|error| (*error == AuthFailure::Expired) == expected),
            "{what}: {result:?}"
        );
    }
    let within: [Change; 2] = [
        |claims| claims["exp"] = (NOW - 4).into(),
        |claims| claims["nbf"] = (NOW + 5).into(),
    ];
    for within in within {
        assert!(identified(&hs256(&claims(within)), &secret()).is_ok());
    }
}

#[test]
fn what_is_no_token_is_refused_without_looking_further() {
    let good = hs256(&claims(|_| {}));
    let twice = signed(
        &serde_json::json!({"alg": "HS256", "crit": ["exp"]}),
        &claims(|_| {}),
        |body| secret().sign(body).unwrap(),
    );
    let long = format!("{good}{}", "A".repeat(TOKEN_BYTES));
    for wrong in [
        "",
        ".",
        "..",
        "a.b",
        &good[1..],
        &format!("{good}="),
        &format!(".{good}"),
        &twice,
        &long,
    ] {
        let failed = parse(wrong)
            .map(drop)
            .and_then(|()| identified(wrong, &secret()).map(drop));
        assert!(failed.is_err(), "{wrong:?}");
    }
}

#[test]
fn what_is_minted_says_what_it_was_to_say() {
    let key = Key::secret(&[9; 32], Some(LOCAL.to_owned())).unwrap();
    let document = DocumentId::from_bytes(&[3; 16]).unwrap();
    let ours = Ours {
        grants: BTreeMap::from([(document.to_string(), "viewer".to_owned())]),
        create: None,
    };
    let token = mint(&key, &Claims::new("link:ab", NOW, u64::MAX, ours)).unwrap();
    let parsed = parse(&token).unwrap();
    assert!(parsed.is_of(&key) && parsed.key.as_deref() == Some(LOCAL));
    let link = parsed.identity(&demands(), true, NOW).unwrap();
    assert_eq!((link.kind, link.may_create), (ClientKind::Anonymous, false));
    assert_eq!(link.grants.role_on(&document), Some(Role::Viewer));
    assert_eq!(link.expires_at, Some(NOW + LONGEST_S + 5));
    let end = NOW + LONGEST_S + 5;
    assert_eq!(parsed.identity(&demands(), true, end), Err(AuthFailure::Expired));
    let public = KeyPair::generate_for(&PKCS_ED25519).unwrap().public_key_pem();
    let public = &Key::from_file(public.as_bytes()).unwrap()[0];
    assert_eq!(
        mint(public, &Claims::new("ada", NOW, 1, Ours::default())),
        Err(NoSecret)
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[A-Za-z0-9_.=-]{0,200}") {
        let _ = identified(&text, &secret());
    }
}
