//! A JSON Web Key Set (RFC 7517) as a verifier uses it: RSA signing keys by `kid`.
//!
//! Keys that are not for verifying RS256 are left out, and so is a `kid` that names two keys.

use std::collections::{HashMap, hash_map::Entry};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto::aws_lc};
use serde::Deserialize;
use serde_json::Value;

use super::{issuer_of, token::Unverified};

/// The smallest and largest modulus, in bits (RFC 7518 §3.3; larger ones cost too much to verify).
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest key name, in bytes.
pub(super) const MAX_KID: usize = 256;

/// The keys of one issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: HashMap<String, Key>,
}

/// A public key that may sign tokens.
#[derive(Debug)]
pub(super) struct Key {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    /// Entra's `issuer` member: whose tokens the key may sign, with `{tenantid}` for the tenant.
    issuer: Option<String>,
    decoding: DecodingKey,
}

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    /// Not a JSON object with `keys`.
    #[error("expected a JSON Web Key Set")]
    Malformed,
    /// Nothing to verify RS256 with.
    #[error("expected at least one RSA signing key of 2048 bits or more with a `kid`")]
    Empty,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
    issuer: Option<String>,
}

impl KeySet {
    /// Reads a key set that holds at least one usable key.
    pub(super) fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let document: Document =
            serde_json::from_slice(document).map_err(|_| KeySetError::Malformed)?;
        let mut keys: HashMap<String, Option<Key>> = HashMap::new();
        for (kid, key) in document.keys.into_iter().filter_map(usable) {
            match keys.entry(kid) {
                Entry::Vacant(entry) => {
                    entry.insert(Some(key));
                }
                Entry::Occupied(mut entry) => {
                    // Guessing which of two keys is meant would be trusting both.
                    if entry.get().as_ref() != Some(&key) {
                        entry.insert(None);
                    }
                }
            }
        }
        let keys: HashMap<_, _> = keys
            .into_iter()
            .filter_map(|(kid, key)| Some((kid, key?)))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self { keys })
    }

    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.get(kid)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Tells whether both sets would accept the same tokens.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Key {
    /// Verifies a token's RS256 signature (RFC 7518 §3.3).
    pub(super) fn verifies(&self, token: &Unverified<'_>) -> bool {
        (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&Algorithm::RS256, &self.decoding)
            .is_ok_and(|verifier| verifier.verify(token.message, &token.signature).is_ok())
    }

    /// Tells whether the key may sign tokens of this issuer and tenant.
    pub(super) fn belongs_to(&self, issuer: &str, tenant: Option<&str>) -> bool {
        self.issuer
            .as_ref()
            .is_none_or(|template| issuer_of(template, tenant) == issuer)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.modulus == other.modulus
            && self.exponent == other.exponent
            && self.issuer == other.issuer
    }
}

fn usable(value: Value) -> Option<(String, Key)> {
    // A key of another type lacks members of this one: left out, as RFC 7517 §5 asks.
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = jwk.kty == "RSA"
        && jwk.usage.is_none_or(|usage| usage == "sig")
        && jwk.alg.is_none_or(|alg| alg == "RS256")
        && jwk
            .key_ops
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !signs || jwk.kid.is_empty() || jwk.kid.len() > MAX_KID {
        return None;
    }
    let modulus = unsigned(&jwk.n)?;
    let exponent = unsigned(&jwk.e)?;
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    let sensible = exponent.len() <= 4 && odd && exponent != [1];
    if !MODULUS_BITS.contains(&bits(&modulus)) || !sensible {
        return None;
    }
    let decoding = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    let key = Key {
        modulus,
        exponent,
        issuer: jwk.issuer,
        decoding,
    };
    Some((jwk.kid, key))
}

/// Reads a `Base64urlUInt` (RFC 7518 §2) without leading zeros.
fn unsigned(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let rest = bytes.get(zeros..)?;
    (!rest.is_empty()).then(|| rest.to_vec())
}

/// The length of a number without leading zero bytes, in bits.
fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oidc::testing::key;

    fn check(keys: &Value, expect: Result<&[&str], KeySetError>) {
        let document = json!({ "keys": keys }).to_string();
        let found = KeySet::parse(document.as_bytes()).map(|set| {
            let mut kids: Vec<_> = set.keys.into_keys().collect();
            kids.sort();
            kids
        });
        let expect = expect.map(|kids| kids.iter().map(|&k| k.to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expect, "{document}");
    }

    fn with(mut jwk: Value, member: &str, value: Value) -> Value {
        jwk[member] = value;
        jwk
    }

    #[test]
    fn keeps_rsa_signing_keys() {
        let a = key(0).jwk("a");
        check(&json!([a, key(1).jwk("b")]), Ok(&["a", "b"]));
        check(&json!([with(a.clone(), "alg", json!("RS256"))]), Ok(&["a"]));
        let ops = with(a.clone(), "key_ops", json!(["verify"]));
        check(&json!([ops]), Ok(&["a"]));
        let other = json!({ "kty": "EC", "kid": "e", "crv": "P-256" });
        check(&json!([a, other, 7]), Ok(&["a"]));
        let mut unused = key(0).jwk("u");
        unused.as_object_mut().unwrap().remove("use");
        check(&json!([unused]), Ok(&["u"]));
    }

    #[test]
    fn leaves_out_what_must_not_verify() {
        let a = key(0).jwk("a");
        let short = URL_SAFE_NO_PAD.encode([0xff; 255]);
        let long = URL_SAFE_NO_PAD.encode([0xff; 1025]);
        let wrong = [
            ("use", json!("enc")),
            ("alg", json!("RS512")),
            ("alg", json!("RSA-OAEP")),
            ("key_ops", json!(["encrypt"])),
            ("kty", json!("oct")),
            ("kid", json!("")),
            ("kid", json!(7)),
            ("kid", json!("k".repeat(MAX_KID + 1))),
            ("e", json!("AQ")),
            ("e", json!("Ag")),
            ("n", json!("not base64!")),
            ("n", json!(short)),
            ("n", json!(long)),
        ];
        for (member, value) in wrong {
            let jwk = with(a.clone(), member, value);
            check(&json!([jwk]), Err(KeySetError::Empty));
        }
        check(&json!([]), Err(KeySetError::Empty));
    }

    #[test]
    fn a_name_given_to_two_keys_names_none() {
        let (a, other) = (key(0).jwk("a"), key(1).jwk("a"));
        check(&json!([a, other]), Err(KeySetError::Empty));
        check(&json!([a, other, a]), Err(KeySetError::Empty));
        check(&json!([a, a]), Ok(&["a"]));
    }

    #[test]
    fn refuses_what_is_no_key_set() {
        for document in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            let found = KeySet::parse(document.as_bytes()).unwrap_err();
            assert_eq!(found, KeySetError::Malformed, "{document}");
        }
    }

    #[test]
    fn a_key_belongs_to_the_issuer_it_names() {
        let belongs = |template: Option<&str>, issuer: &str, tenant: Option<&str>| {
            let jwk = match template {
                Some(t) => with(key(0).jwk("a"), "issuer", json!(t)),
                None => key(0).jwk("a"),
            };
            usable(jwk).unwrap().1.belongs_to(issuer, tenant)
        };
        let ours = "https://i.test/t/v2.0";
        let template = Some("https://i.test/{tenantid}/v2.0");
        assert!(belongs(None, ours, Some("t")));
        assert!(belongs(template, ours, Some("t")));
        assert!(!belongs(template, ours, Some("u")));
        assert!(!belongs(template, ours, None));
        assert!(belongs(Some(ours), ours, Some("t")));
        assert!(!belongs(Some("https://i.test/u/v2.0"), ours, Some("t")));
    }

    #[test]
    fn verifies_what_wycheproof_calls_valid_and_nothing_else() {
        let vectors = include_str!("../../tests/vectors/wycheproof-jws-rsa.json");
        let groups: Vec<Value> = serde_json::from_str(vectors).unwrap();
        let mut counts = (0, 0);
        for group in &groups {
            let document = json!({ "keys": [group["public"]] }).to_string();
            let set = KeySet::parse(document.as_bytes()).unwrap_or_default();
            for test in group["tests"].as_array().unwrap() {
                // Their payloads are no claims: only form, key and signature are judged.
                let accepted = Unverified::parse(test["jws"].as_str().unwrap())
                    .is_ok_and(|token| set.find(&token.kid).is_some_and(|k| k.verifies(&token)));
                let expect = test["result"] == "valid" && group["public"]["alg"] == "RS256";
                assert_eq!(accepted, expect, "{}", test["tcId"]);
                *(if expect { &mut counts.0 } else { &mut counts.1 }) += 1;
            }
        }
        assert_eq!(counts, (8, 310));
    }

    proptest! {
        #[test]
        fn never_panics(n in ".{0,20}", e in ".{0,8}", kid in ".{0,8}") {
            let document = json!({ "keys": [{ "kty": "RSA", "kid": kid, "n": n, "e": e }] });
            let _ = KeySet::parse(document.to_string().as_bytes());
        }
    }
}
