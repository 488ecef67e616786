//! Arbitrary bearer tokens, with and without the issuer's signature.
//!
//! The input is tried as a token as it is. When it has two lines, they are also header and claims of
//! a token that the issuer signs: so what stands behind the signature check is reached.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use mcp_gateway::{
    egress::{Config, Egress, Target},
    oidc::{Issuer, KeySource, Timing, Verifier},
    proxy::fuzzing::bearer,
    telemetry::metrics::Metrics,
};
use mcp_gateway_filters::Identity;
use mcp_gateway_fuzz::{filters::NOW, json::Members};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

const ISSUER: &str = "https://login.test/t1/v2.0";
const TENANT: &str = "t1";
const AUDIENCE: &str = "c1";
const KEY_ID: &str = "a";
/// How far `nbf` may be ahead, in seconds.
const SKEW: u64 = 60;

static WORLD: LazyLock<World> = LazyLock::new(World::start);

struct World {
    runtime: Runtime,
    verifier: Verifier,
    issuer: RsaKeyPair,
    stranger: RsaKeyPair,
}

fuzz_target!(|data: &[u8]| {
    reads_bearer(data);
    let text = String::from_utf8_lossy(data);
    assert!(
        WORLD.verify(&text).is_none(),
        "accepted without a signature"
    );
    if let Some((header, claims)) = text.split_once('\n') {
        judges(header, claims, data);
    }
});

fn reads_bearer(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let request = Request::builder().header(AUTHORIZATION, value);
    let (mut head, ()) = request.body(()).expect("a request").into_parts();
    if let Some(token) = bearer(&head) {
        assert!(!token.is_empty() && data.is_ascii());
        assert!(data[..7].eq_ignore_ascii_case(b"Bearer ") && &data[7..] == token.as_bytes());
        let again = HeaderValue::from_static("Bearer x");
        head.headers.append(AUTHORIZATION, again);
        assert_eq!(bearer(&head), None, "one of two tokens is nobody's");
    }
}

fn judges(header: &str, claims: &str, data: &[u8]) {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(claims));
    let token = sign(&WORLD.issuer, &message);
    let Some(identity) = WORLD.verify(&token) else {
        return;
    };
    is_ours(header, claims, &identity);

    assert!(WORLD.verify(&sign(&WORLD.stranger, &message)).is_none());
    assert!(WORLD.verify(&format!("{message}.")).is_none());
    // Any other character in any place is another token.
    let sum: usize = data.iter().map(|byte| usize::from(*byte)).sum();
    let at = sum % token.len();
    let other = if token.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    let mut changed = token.clone();
    changed.replace_range(at..=at, other);
    assert!(WORLD.verify(&changed).is_none(), "changed at {at}");

    let verifier = &WORLD.verifier;
    assert!(verifier.cached(&token, NOW).is_some());
    assert!(verifier.cached(&token, identity.expires_at).is_none());
    assert!(verifier.cached(&changed, NOW).is_none());
}

/// Everything that a token must say, read from its text.
fn is_ours(header: &str, claims: &str, identity: &Identity) {
    let header: Members = serde_json::from_str(header).expect("an object");
    let claims: Members = serde_json::from_str(claims).expect("an object");
    assert!(!header.any_twice() && !claims.any_twice());
    assert_eq!(header.find("alg"), Some(&json!("RS256")));
    assert_eq!(header.find("kid"), Some(&json!(KEY_ID)));
    for never in ["crit", "b64", "zip", "nonce"] {
        assert_eq!(header.find(never), None);
    }
    assert_eq!(claims.find("iss"), Some(&json!(ISSUER)));
    assert_eq!(claims.find("tid"), Some(&json!(TENANT)));
    let audience = json!(AUDIENCE);
    match claims.find("aud") {
        Some(Value::Array(many)) => assert!(many.contains(&audience)),
        one => assert_eq!(one, Some(&audience)),
    }
    let number = |name: &str| claims.find(name).and_then(Value::as_u64);
    assert!(number("exp").is_some_and(|exp| exp > NOW));
    assert!(number("nbf").is_none_or(|nbf| nbf <= NOW + SKEW));
    let subject = claims.find("sub").and_then(Value::as_str);
    assert!(subject.is_some_and(|subject| !subject.is_empty()));
    assert_eq!(Some(identity.subject.as_str()), subject);
    assert_eq!(
        identity.object.as_deref(),
        claims.find("oid").and_then(Value::as_str)
    );
    assert_eq!(Some(identity.expires_at), number("exp"));
}

impl World {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let generate = || RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let (issuer, stranger) = (generate(), generate());
        let expected = Issuer {
            issuer: ISSUER.to_owned(),
            v1_issuer: None,
            audiences: vec![AUDIENCE.to_owned()],
            audience_claim: "aud".to_owned(),
            claims: vec![],
            tenants: vec![TENANT.to_owned()],
            scopes: vec![],
        };
        let document = json!({ "keys": [jwk(&issuer)] }).to_string();
        let verifier = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(publish(listener, document));
            let target = Target::parse(&format!("http://{address}/keys")).expect("a target");
            let egress = Egress::build(&Config::default()).expect("a way out");
            let metrics = Metrics::new();
            // A name of an unknown key must not keep the next input waiting.
            let timing = Timing {
                min_interval: Duration::ZERO,
                ..Timing::default()
            };
            let keys = KeySource::with_timing(target, egress.into(), &metrics, timing);
            assert!(keys.fetch().await, "no keys");
            Verifier::new(expected, keys, &metrics)
        });
        Self {
            runtime,
            verifier,
            issuer,
            stranger,
        }
    }

    fn verify(&self, token: &str) -> Option<std::sync::Arc<Identity>> {
        self.runtime.block_on(self.verifier.verify(token, NOW)).ok()
    }
}

/// The modulus and exponent stand at fixed places in a 2048 bit `RSAPublicKey` (RFC 8017 A.1.1).
fn jwk(key: &RsaKeyPair) -> Value {
    let der = key.public_key().as_ref();
    assert_eq!(der.len(), 270);
    json!({
        "kty": "RSA",
        "use": "sig",
        "kid": KEY_ID,
        "n": URL_SAFE_NO_PAD.encode(&der[9..265]),
        "e": URL_SAFE_NO_PAD.encode(&der[267..]),
    })
}

fn sign(key: &RsaKeyPair, message: &str) -> String {
    let mut signature = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    key.sign(
        &RSA_PKCS1_SHA256,
        &random,
        message.as_bytes(),
        &mut signature,
    )
    .expect("signed");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Answers every request with the key set.
async fn publish(listener: TcpListener, document: String) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, document.clone()));
    }
}

async fn answer(mut stream: TcpStream, document: String) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{document}",
        document.len()
    );
    let mut request = vec![];
    while matches!(stream.read_buf(&mut request).await, Ok(read) if read > 0) {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
