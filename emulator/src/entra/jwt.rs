//! JSON Web Tokens, right and wrong: what the tenant mints, and what an attacker would.
//!
//! [`TokenBuilder`] starts from the claims of a real token and lets a test change one thing: an
//! audience, an expiry, the key, the algorithm. Nothing here verifies.

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::jws::{finish, part};
use crate::keys::Key;

/// Header of a v1.0 access token.
#[derive(Serialize)]
struct V1Header<'a> {
    typ: &'static str,
    alg: &'static str,
    x5t: &'a str,
    kid: &'a str,
}

/// Header of a token for Microsoft Graph, in the order in which Graph's tokens carry it.
#[derive(Serialize)]
struct GraphHeader<'a> {
    typ: &'static str,
    nonce: &'a str,
    alg: &'static str,
    x5t: &'a str,
    kid: &'a str,
}

/// Signs claims with the header of v1.0 access tokens.
pub(super) fn sign_v1(key: &Key, claims: &impl Serialize) -> String {
    let header = V1Header {
        typ: "JWT",
        alg: "RS256",
        x5t: &key.id,
        kid: &key.id,
    };
    finish(key, &part(&header), &part(claims))
}

/// Signs claims as Entra signs for Graph: over a header whose nonce is hashed, while the token
/// carries the nonce itself. Everyone but Graph therefore sees a bad signature, which is the point.
pub(super) fn sign_for_graph(key: &Key, nonce: &str, claims: &impl Serialize) -> String {
    let hashed = hashed_nonce(nonce);
    let header = |nonce| {
        part(&GraphHeader {
            typ: "JWT",
            nonce,
            alg: "RS256",
            x5t: &key.id,
            kid: &key.id,
        })
    };
    let claims = part(claims);
    let signature = key.sign(format!("{}.{claims}", header(hashed.as_str())).as_bytes());
    format!(
        "{}.{claims}.{}",
        header(nonce),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

fn hashed_nonce(nonce: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, nonce.as_bytes()))
}

/// How a token made by [`TokenBuilder`] is signed.
#[derive(Debug, Clone)]
enum Signer {
    Published,
    Unpublished,
    PublishedIdWrongKey,
    None,
    /// HS256 keyed with the public modulus, the classic confusion of algorithms.
    PublicKeyAsSecret,
    Broken,
}

/// An id token to be, with anything about it changed.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use mcp_gateway_emulator::entra::Entra;
/// let entra = Entra::builder().start().await?;
/// let expired = entra.token("alice").expires_in(-1).build();
/// let foreign = entra.token("alice").claim("aud", "someone-else").build();
/// let forged = entra.token("alice").without_signature().build();
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct TokenBuilder {
    claims: Map<String, Value>,
    header: Map<String, Value>,
    signer: Signer,
    published: Arc<Key>,
    unpublished: Arc<Key>,
    now: i64,
}

impl TokenBuilder {
    pub(super) fn new(
        claims: Map<String, Value>,
        published: Arc<Key>,
        unpublished: Arc<Key>,
        now: i64,
    ) -> Self {
        let mut header = Map::new();
        header.insert("typ".to_owned(), "JWT".into());
        Self {
            claims,
            header,
            signer: Signer::Published,
            published,
            unpublished,
            now,
        }
    }

    /// Sets or replaces a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets or replaces a member of the header; also `alg` and `kid`, whatever the signature is.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Sets `exp` to that many seconds from now; negative is in the past.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        let exp = self.now.saturating_add(seconds);
        self.claim("exp", exp)
    }

    /// Makes the token valid only from that many seconds on.
    #[must_use]
    pub fn not_before(self, seconds: i64) -> Self {
        let nbf = self.now.saturating_add(seconds);
        self.claim("nbf", nbf)
    }

    /// Signs with a key that the tenant does not publish, under that key's own id.
    #[must_use]
    pub fn signed_by_unpublished_key(mut self) -> Self {
        self.signer = Signer::Unpublished;
        self
    }

    /// Signs with a key that the tenant does not publish, under the id of one that it does.
    #[must_use]
    pub fn signed_by_wrong_key(mut self) -> Self {
        self.signer = Signer::PublishedIdWrongKey;
        self
    }

    /// Says `"alg":"none"` and carries no signature.
    #[must_use]
    pub fn without_signature(mut self) -> Self {
        self.signer = Signer::None;
        self
    }

    /// Says `"alg":"HS256"` and uses the published key's modulus as the secret.
    #[must_use]
    pub fn signed_with_public_key_as_secret(mut self) -> Self {
        self.signer = Signer::PublicKeyAsSecret;
        self
    }

    /// Changes one bit of a signature that was right.
    #[must_use]
    pub fn with_broken_signature(mut self) -> Self {
        self.signer = Signer::Broken;
        self
    }

    /// Writes the token.
    #[must_use]
    pub fn build(mut self) -> String {
        let (algorithm, kid) = match self.signer {
            Signer::None => ("none", &self.published.id),
            Signer::PublicKeyAsSecret => ("HS256", &self.published.id),
            Signer::Unpublished => ("RS256", &self.unpublished.id),
            Signer::Published | Signer::PublishedIdWrongKey | Signer::Broken => {
                ("RS256", &self.published.id)
            }
        };
        for (name, value) in [("alg", algorithm), ("kid", kid.as_str())] {
            self.header
                .entry(name)
                .or_insert_with(|| Value::from(value));
        }
        let signed = format!("{}.{}", part(&self.header), part(&self.claims));
        let signature = match self.signer {
            Signer::Published => self.published.sign(signed.as_bytes()),
            Signer::Unpublished | Signer::PublishedIdWrongKey => {
                self.unpublished.sign(signed.as_bytes())
            }
            Signer::None => Vec::new(),
            Signer::PublicKeyAsSecret => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.published.modulus().as_bytes());
                hmac::sign(&secret, signed.as_bytes()).as_ref().to_vec()
            }
            Signer::Broken => {
                let mut signature = self.published.sign(signed.as_bytes());
                if let Some(first) = signature.first_mut() {
                    *first ^= 1;
                }
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    use serde_json::json;

    use super::*;

    fn verifies(token: &str, key: &Key) -> bool {
        let key = DecodingKey::from_rsa_components(key.modulus(), "AQAB").unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        decode::<Value>(token, &key, &validation).is_ok()
    }

    #[test]
    fn the_published_nonce_vector_hashes_as_observed() {
        let nonce = "AQABAAAAAABnfiG-mA6NTae7CdWW7QfdCCCc--cHFk_0dNt1Q-sihW4LwdpAVHHjgMWPgKPyRHhi\
                     CmCv6Gr0Jfbd_cTf1AqSmSpRdUuruRj_sjwBh7muxyAA";
        assert_eq!(
            hashed_nonce(nonce),
            "cMnX3E6CaIMU4k6sX8-HUKNDe0xwKwt4J7UoUllQ0do"
        );
    }

    #[test]
    fn only_graph_can_verify_a_token_for_graph() {
        let key = Key::pooled(0).unwrap();
        let claims = json!({"sub": "alice"});
        let sent = sign_for_graph(&key, "nonce", &claims);
        assert!(!verifies(&sent, &key));
        let (header, rest) = sent.split_once('.').unwrap();
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        let header = String::from_utf8(header).unwrap().replace(
            "\"nonce\":\"nonce\"",
            &format!("\"nonce\":\"{}\"", hashed_nonce("nonce")),
        );
        let transformed = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
        assert!(verifies(&transformed, &key));
    }

    #[test]
    fn a_builder_signs_as_it_was_told() {
        let (published, unpublished) = (Key::pooled(0).unwrap(), Key::pooled(3).unwrap());
        let builder = TokenBuilder::new(
            Map::new(),
            Arc::clone(&published),
            Arc::clone(&unpublished),
            0,
        );
        assert!(verifies(&builder.clone().build(), &published));
        let foreign = builder.clone().signed_by_unpublished_key().build();
        assert!(verifies(&foreign, &unpublished));
        for wrong in [
            builder.clone().signed_by_wrong_key(),
            builder.clone().without_signature(),
            builder.clone().signed_with_public_key_as_secret(),
            builder.with_broken_signature(),
        ] {
            assert!(!verifies(&wrong.build(), &published));
        }
    }
}
