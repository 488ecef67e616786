//! Signing keys, and how they are published.
//!
//! Two keys are published at any time and either may sign. The set comes from a pool made once per
//! process, since making an RSA key is slow; rotation walks through that pool.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Serialize;

/// Keys in the pool: enough to rotate both published keys away.
pub(crate) const POOL: usize = 4;

static KEYS: [OnceLock<Arc<Key>>; POOL] = [const { OnceLock::new() }; POOL];

/// One RSA-2048 key with the certificate Entra would publish for it.
pub(crate) struct Key {
    /// Thumbprint of the certificate; also the `kid`.
    pub(crate) id: String,
    pair: KeyPair,
    modulus: String,
    exponent: String,
    certificate: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// Returns the key at `index` of the process-wide pool (taken modulo its size).
    pub(crate) fn pooled(index: usize) -> io::Result<Arc<Self>> {
        let Some(slot) = KEYS.get(index % POOL) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Some(key) = slot.get() {
            return Ok(Arc::clone(key));
        }
        // Two threads may both make one; the first to finish wins and both use that one.
        let made = Arc::new(Self::generate()?);
        Ok(Arc::clone(slot.get_or_init(|| made)))
    }

    fn generate() -> io::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(io::Error::other)?;
        let certificate = certificate(pkcs8.as_ref()).map_err(io::Error::other)?;
        let (modulus, exponent) = public_parts(pair.public_key().as_ref())
            .ok_or_else(|| io::Error::other("the public key is not a PKCS#1 structure"))?;
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(thumbprint),
            modulus,
            exponent,
            certificate: STANDARD.encode(&certificate),
            pair,
        })
    }

    /// Returns the modulus in base64url.
    pub(crate) fn modulus(&self) -> &str {
        &self.modulus
    }

    /// Signs with RS256. An empty signature, which no verifier accepts, stands for a failure of the
    /// random source.
    pub(crate) fn sign(&self, input: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        match self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            input,
            &mut signature,
        ) {
            Ok(()) => signature,
            Err(_) => Vec::new(),
        }
    }
}

/// Makes the keys off the runtime's threads, side by side.
pub(crate) async fn pool() -> io::Result<[Arc<Key>; POOL]> {
    let make = |index| tokio::task::spawn_blocking(move || Key::pooled(index));
    let making = [make(0), make(1), make(2), make(3)];
    let mut pool = Vec::with_capacity(POOL);
    for key in making {
        pool.push(key.await.map_err(io::Error::other)??);
    }
    pool.try_into()
        .map_err(|_| io::Error::other("not every key was made"))
}

/// A self-signed certificate over the key, in DER.
fn certificate(pkcs8: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
    let pair = rcgen::KeyPair::try_from(pkcs8)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(
        rcgen::DnType::CommonName,
        "accounts.accesscontrol.windows.net",
    );
    Ok(params.self_signed(&pair)?.der().to_vec())
}

/// Reads modulus and exponent (base64url) from a PKCS#1 `RSAPublicKey`.
fn public_parts(der: &[u8]) -> Option<(String, String)> {
    let (sequence, _) = tagged(der, 0x30)?;
    let (modulus, rest) = tagged(sequence, 0x02)?;
    let (exponent, _) = tagged(rest, 0x02)?;
    Some((unsigned(modulus), unsigned(exponent)))
}

/// Splits one DER element of that tag from the front: its content, and what follows.
fn tagged(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        let length = bytes
            .iter()
            .fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
        (length, rest)
    };
    rest.split_at_checked(length)
}

/// Base64url of a DER integer without its sign byte (RFC 7518 §6.3.1).
fn unsigned(integer: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(integer.strip_prefix(&[0]).unwrap_or(integer))
}

/// One member of the published set. `alg` is absent, as in Entra's.
#[derive(Serialize)]
pub(crate) struct Jwk<'a> {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: &'a str,
    x5t: &'a str,
    n: &'a str,
    e: &'a str,
    x5c: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
}

/// The published document.
#[derive(Serialize)]
pub(crate) struct Jwks<'a> {
    keys: Vec<Jwk<'a>>,
}

impl<'a> Jwks<'a> {
    /// Publishes `keys`, each with the issuer it signs for (v2.0 only).
    pub(crate) fn new(keys: &'a [Arc<Key>], issuer: Option<&'a str>) -> Self {
        let keys = keys
            .iter()
            .map(|key| Jwk {
                kty: "RSA",
                usage: "sig",
                kid: &key.id,
                x5t: &key.id,
                n: &key.modulus,
                e: &key.exponent,
                x5c: [&key.certificate],
                issuer,
            })
            .collect();
        Self { keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_from_der_without_its_sign_byte() {
        let der = [0x30, 0x08, 0x02, 0x03, 0x00, 0xc1, 0x05, 0x02, 0x01, 0x03];
        let expected = (
            URL_SAFE_NO_PAD.encode([0xc1, 0x05]),
            URL_SAFE_NO_PAD.encode([0x03]),
        );
        assert_eq!(public_parts(&der), Some(expected));
    }

    #[test]
    fn a_cut_public_key_is_not_read() {
        let der = [0x30, 0x08, 0x02, 0x03, 0x00, 0xc1];
        assert_eq!(public_parts(&der), None);
    }

    #[test]
    fn the_pool_hands_out_the_same_key_for_the_same_index() {
        let key = Key::pooled(1).unwrap();
        assert_eq!(key.id, Key::pooled(1 + POOL).unwrap().id);
        assert_eq!(key.exponent, "AQAB");
    }
}
