//! Keys, tokens and key sets for tests.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Issuer, KeySource, Timing};
use crate::{
    egress::{
        Config, Egress, Target,
        testing::{Act, Server, reply},
    },
    telemetry::metrics::Metrics,
};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const AUDIENCE: &str = "66666666-7777-8888-9999-000000000000";
pub(super) const ISSUER: &str =
    "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";

/// An RSA key pair; making one takes a while, so that tests share them.
pub(super) struct TestKey(KeyPair);

pub(super) fn key(number: usize) -> &'static TestKey {
    static KEYS: [OnceLock<TestKey>; 2] = [const { OnceLock::new() }; 2];
    KEYS[number].get_or_init(|| TestKey(KeyPair::generate(KeySize::Rsa2048).unwrap()))
}

impl TestKey {
    /// The modulus and exponent: a 2048 bit `RSAPublicKey` (RFC 8017 A.1.1) has them at fixed places.
    fn components(&self) -> (&[u8], &[u8]) {
        let der = self.0.public_key().as_ref();
        assert_eq!(der.len(), 270);
        (&der[9..265], &der[267..])
    }

    pub(super) fn modulus(&self) -> &[u8] {
        self.components().0
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let (n, e) = self.components();
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": kid,
            "n": URL_SAFE_NO_PAD.encode(n),
            "e": URL_SAFE_NO_PAD.encode(e),
        })
    }

    /// Signs two parts as they are.
    pub(super) fn sign_raw(&self, header: &str, payload: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(header), part(payload));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(&header.to_string(), &claims.to_string())
    }
}

pub(super) fn header(kid: &str) -> Value {
    json!({ "typ": "JWT", "alg": "RS256", "kid": kid })
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "subject",
        "oid": "object",
        "tid": TENANT,
        "nbf": NOW - 300,
        "iat": NOW - 300,
        "exp": NOW + 3600,
    })
}

/// A good token signed with the first key under the name `a`, unlike any other with another number.
pub(super) fn token(number: usize) -> String {
    let mut claims = claims();
    claims["uti"] = json!(number);
    key(0).sign(&header("a"), &claims)
}

pub(super) fn issuer() -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        v1_issuer: None,
        scopes: vec![],
        audiences: vec![AUDIENCE.to_owned()],
        audience_claim: "aud".to_owned(),
        claims: vec![],
        tenants: vec![TENANT.to_owned()],
    }
}

/// A JWKS endpoint whose answer can be changed.
pub(super) struct Jwks {
    pub(super) server: Server,
    answer: Arc<Mutex<Act>>,
}

impl Jwks {
    pub(super) async fn start(act: Act) -> Self {
        let answer = Arc::new(Mutex::new(act));
        let current = Arc::clone(&answer);
        let server = Server::start(move |_, _| current.lock().clone()).await;
        Self { server, answer }
    }

    /// Serves the first key under the name `a`.
    pub(super) async fn with_a() -> Self {
        Self::start(keys(&json!([key(0).jwk("a")]))).await
    }

    pub(super) fn set(&self, act: Act) {
        *self.answer.lock() = act;
    }

    pub(super) fn source(&self, metrics: &Metrics, timing: Timing) -> KeySource {
        let egress = Arc::new(Egress::build(&Config::default()).unwrap());
        let target = Target::parse(&self.server.url("/keys")).unwrap();
        KeySource::with_timing(target, egress, metrics, timing)
    }
}

/// An answer with a key set.
pub(super) fn keys(keys: &Value) -> Act {
    let body = json!({ "keys": keys }).to_string();
    Act::Reply(reply(
        200,
        "content-type: application/json\r\n",
        body.as_bytes(),
    ))
}
