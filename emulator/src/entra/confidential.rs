//! Who a client is that keeps a secret: by that secret, or by an assertion that its certificate's
//! key signed (RFC 7523).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::directory::{App, ClientCertificate};
use super::error::Aadsts;

/// The longest that an assertion may be good for, in seconds.
const LONGEST: i64 = 600;

/// What a client sent to say who it is.
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) assertion: Option<String>,
}

impl Credentials {
    /// Whether the client tried to prove anything.
    pub(super) fn are_none(&self) -> bool {
        self.secret.is_none() && self.assertion.is_none()
    }

    /// Checks that this is a client that keeps a secret. `audiences` are the URLs that stand for
    /// this endpoint in an assertion.
    pub(super) fn prove(&self, client: &App, audiences: &[String], now: i64) -> Result<(), Aadsts> {
        match (&self.secret, &self.assertion) {
            (None, None) => Err(Aadsts::secret_missing()),
            (Some(secret), _) if client.expired_secrets.contains(secret) => {
                Err(Aadsts::secret_expired(&client.id))
            }
            (Some(secret), _) if client.secrets.contains(secret) => Ok(()),
            (Some(_), _) => Err(Aadsts::secret_wrong(&client.id)),
            (None, Some(assertion)) => check(assertion, client, audiences, now),
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    jti: String,
    nbf: i64,
    exp: i64,
}

fn check(assertion: &str, client: &App, audiences: &[String], now: i64) -> Result<(), Aadsts> {
    let unknown = Aadsts::assertion_key_unknown;
    let header = jsonwebtoken::decode_header(assertion).map_err(|_| unknown())?;
    let certificate = header.x5t_s256.as_deref().and_then(|thumbprint| {
        let same = |known: &&ClientCertificate| known.thumbprint() == thumbprint;
        client.certificates.iter().find(same)
    });
    let certificate = certificate.ok_or_else(unknown)?;
    if !matches!(header.alg, Algorithm::PS256 | Algorithm::RS256) {
        return Err(unknown());
    }
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_rsa_der(&certificate.public_key);
    let claims: Claims = jsonwebtoken::decode(assertion, &key, &validation)
        .map_err(|_| unknown())?
        .claims;
    if claims.iss != client.id || claims.sub != client.id {
        return Err(Aadsts::assertion_of_another());
    }
    if !audiences.contains(&claims.aud) {
        return Err(Aadsts::assertion_audience());
    }
    if claims.exp <= now || claims.nbf > now + 300 || claims.exp - claims.nbf > LONGEST {
        return Err(Aadsts::assertion_time());
    }
    if claims.jti.is_empty() {
        return Err(unknown());
    }
    Ok(())
}

impl ClientCertificate {
    /// The SHA-256 of the certificate, as `x5t#S256` names it.
    fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &self.certificate))
    }
}

/// Reads a token of this tenant's that is sent as an assertion: its claims, if one of `keys` signed
/// it.
pub(super) fn signed_by<'k>(token: &str, moduli: impl Iterator<Item = &'k str>) -> Option<Value> {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    for modulus in moduli {
        let key = DecodingKey::from_rsa_components(modulus, "AQAB").ok()?;
        if let Ok(token) = jsonwebtoken::decode::<Value>(token, &key, &validation) {
            return Some(token.claims);
        }
    }
    None
}
