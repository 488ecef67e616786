//! Signed tokens (RFC 7515), RS256.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::keys::Key;

/// Header of a token for an API or a client: `{"typ","alg","kid"}`.
#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
}

/// Signs claims with the `{"typ","alg","kid"}` header that most tokens have.
pub(crate) fn sign(key: &Key, claims: &impl Serialize) -> String {
    let header = Header {
        typ: "JWT",
        alg: "RS256",
        kid: &key.id,
    };
    finish(key, &part(&header), &part(claims))
}

/// Base64url of the JSON of a value, as a part of a token.
pub(crate) fn part(value: &impl Serialize) -> String {
    // Serializing our own values into memory does not fail.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}

/// Signs two parts.
pub(crate) fn finish(key: &Key, header: &str, claims: &str) -> String {
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}
