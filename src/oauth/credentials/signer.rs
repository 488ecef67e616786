//! A certificate's key as the signer of client assertions (RFC 7523 §3).
//!
//! Entra finds the certificate by the SHA-256 thumbprint in `x5t#S256`, and takes PS256. Only RSA
//! keys: Entra registers no others.

use std::path::Path;

use aws_lc_rs::{
    digest, rand,
    rsa::KeyPair,
    signature::{KeyPair as _, RSA_PSS_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_gateway_filters::Problem;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use serde_json::json;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

use super::{Client, Unsigned};
use crate::secret::Secret;

/// How long an assertion is good, in seconds; Entra takes at most ten minutes.
const LIFETIME: u64 = 300;

/// A key and the certificate by which its signatures are known.
pub(super) struct Signer {
    key: KeyPair,
    /// The assertion's header, encoded.
    header: String,
    file: String,
    not_before: ASN1Time,
    not_after: ASN1Time,
}

impl Signer {
    pub(super) fn load(certificate: &Path, key: &Secret<String>) -> Result<Self, Vec<Problem>> {
        let read = CertificateDer::from_pem_file(certificate)
            .map_err(|error| unreadable(certificate, &error));
        match (read, private_key(key)) {
            (Ok(der), Ok(key)) => {
                Self::new(certificate, &der, key).map_err(|problem| vec![problem])
            }
            (der, key) => Err(der.err().into_iter().chain(key.err()).collect()),
        }
    }

    fn new(path: &Path, der: &[u8], key: KeyPair) -> Result<Self, Problem> {
        let file = path.display().to_string();
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| {
            let what = format!("the certificate `{file}` is not X.509: {error}");
            Problem::new("certificate", what)
        })?;
        let public = &certificate.public_key().subject_public_key.data;
        if **public != *key.public_key().as_ref() {
            let what = format!("the key does not belong to the certificate `{file}`");
            let help = "name the RSA key that the certificate was requested with";
            return Err(Problem::new("key", what).help(help));
        }
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der));
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
        Ok(Self {
            key,
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
            file,
            not_before: certificate.validity().not_before,
            not_after: certificate.validity().not_after,
        })
    }

    pub(super) fn problem_at(&self, now: u64) -> Option<Problem> {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let file = &self.file;
        if now >= self.not_after.timestamp() {
            let what = format!("the certificate `{file}` expired at {}", self.not_after);
            let help = "renew it, upload the new one to the app registration, and name it here";
            return Some(Problem::new("certificate", what).help(help));
        }
        if now < self.not_before.timestamp() {
            let what = format!(
                "the certificate `{file}` is not valid before {}",
                self.not_before
            );
            let help = "check the clock of this machine";
            return Some(Problem::new("certificate", what).help(help));
        }
        None
    }

    /// Signs that this is the client, for one token endpoint and a short time.
    pub(super) fn assertion(
        &self,
        client: Client<'_>,
        now: u64,
    ) -> Result<Secret<String>, Unsigned> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| Unsigned::Signature)?;
        let claims = json!({
            "aud": client.token_endpoint,
            "iss": client.id,
            "sub": client.id,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(LIFETIME),
        });
        let message = format!(
            "{}.{}",
            self.header,
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PSS_SHA256,
                &rand::SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Unsigned::Signature)?;
        Ok(Secret::new(format!(
            "{message}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        )))
    }
}

fn private_key(pem: &Secret<String>) -> Result<KeyPair, Problem> {
    let refuse = |what: &str| {
        Problem::new("key", what.to_owned())
            .help("expected an RSA key of 2048 bits or more in PEM, without a passphrase")
    };
    let key = PrivateKeyDer::from_pem_slice(pem.reveal().as_bytes())
        .map_err(|_| refuse("there is no private key in PEM"))?;
    match &key {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(refuse("the key is not an RSA key")),
    }
    .map_err(|why| refuse(&format!("the key cannot be used: {why}")))
}

fn unreadable(path: &Path, cause: &pem::Error) -> Problem {
    let file = path.display();
    match cause {
        pem::Error::NoItemsFound => Problem::new(
            "certificate",
            format!("there is no certificate in `{file}`"),
        )
        .help("expected PEM with `-----BEGIN CERTIFICATE-----`"),
        pem::Error::Io(why) => {
            Problem::new("certificate", format!("`{file}` cannot be read: {why}"))
        }
        _ => Problem::new("certificate", format!("`{file}` is not PEM: {cause}")),
    }
}
