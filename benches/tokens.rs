//! What a bearer token costs: verified in full, and known from before.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use std::{
    hint::black_box,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mcp_gateway::{
    egress::{Config, Egress, Target},
    oidc::{Issuer, KeySource, Verifier},
    telemetry::metrics::Metrics,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const NOW: u64 = 1_800_000_000;
const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const AUDIENCE: &str = "66666666-7777-8888-9999-000000000000";

/// A token of about 1.3 kB, as Entra issues them.
fn sign(key: &KeyPair, number: u32) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({ "typ": "JWT", "alg": "RS256", "kid": "a" }));
    let payload = part(&json!({
        "aud": AUDIENCE,
        "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        "iat": NOW - 300,
        "nbf": NOW - 300,
        "exp": NOW + 3600,
        "groups": vec!["00000000-0000-0000-0000-000000000000"; 8],
        "name": "A Developer",
        "oid": "77777777-7777-7777-7777-777777777777",
        "preferred_username": "developer@example.com",
        "sub": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "tid": TENANT,
        "uti": number,
        "ver": "2.0",
    }));
    let message = format!("{header}.{payload}");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .expect("the buffer has the length of the modulus");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Serves the key set once, on loopback.
fn serve(key: &KeyPair) -> String {
    // A 2048 bit `RSAPublicKey` (RFC 8017 A.1.1) has its members at fixed places.
    let der = key.public_key().as_ref();
    let member = |range| URL_SAFE_NO_PAD.encode(der.get(range).unwrap_or_default());
    let body = json!({ "keys": [{
        "kty": "RSA", "use": "sig", "kid": "a", "n": member(9..265), "e": member(267..270),
    }] })
    .to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has one");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let request = BufReader::new(stream.try_clone()?);
        let _ = request
            .lines()
            .find(|line| line.as_deref().is_ok_and(str::is_empty));
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    });
    format!("http://{address}/keys")
}

fn tokens(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let key = KeyPair::generate(KeySize::Rsa2048).expect("a key is made");
    let metrics = Metrics::new();
    let egress = Egress::build(&Config::default()).expect("an empty section is valid");
    let jwks = Target::parse(&serve(&key)).expect("loopback is a target");
    let keys = KeySource::new(jwks, Arc::new(egress), &metrics);
    assert!(runtime.block_on(keys.fetch()), "the keys are served");
    let issuer = Issuer {
        issuer: format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        v1_issuer: None,
        scopes: vec![],
        audiences: vec![AUDIENCE.to_owned()],
        audience_claim: "aud".to_owned(),
        claims: vec![],
        tenants: vec![TENANT.to_owned()],
    };
    let verifier = || Verifier::new(issuer.clone(), keys.clone(), &metrics);

    let mut group = c.benchmark_group("token");
    group.measurement_time(Duration::from_secs(5));
    let token = sign(&key, 0);
    group.bench_function("verified in full", |b| {
        // A fresh verifier remembers nothing.
        b.iter_batched_ref(
            verifier,
            |verifier| runtime.block_on(verifier.verify(black_box(&token), NOW)),
            BatchSize::SmallInput,
        );
    });

    let known = verifier();
    let population: Vec<String> = (0..1000).map(|number| sign(&key, number)).collect();
    for token in &population {
        runtime
            .block_on(known.verify(token, NOW))
            .expect("the token is good");
    }
    let mut next = population.iter().cycle();
    group.bench_function("known, one of 1000", |b| {
        b.iter(|| {
            next.next()
                .and_then(|token| known.cached(black_box(token), NOW))
        });
    });
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
