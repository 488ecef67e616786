//! What a sealed session id costs each MCP request, and what a sign-in carries costs to open.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mcp_gateway::{
    seal::{Purpose, Seal},
    secret::Secret,
    session::{Claim, Sealer},
};
use mcp_gateway_filters::{Groups, Identity};

fn user() -> Identity {
    Identity {
        issuer: "https://login.microsoftonline.com/8a4f2f1c-0000-4000-8000-000000000001/v2.0"
            .to_owned(),
        subject: "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ".to_owned(),
        tenant: Some("8a4f2f1c-0000-4000-8000-000000000001".to_owned()),
        object: Some("1f0e8c2a-0000-4000-8000-000000000002".to_owned()),
        expires_at: 0,
        groups: Groups::default(),
        roles: vec![],
        claims: serde_json::Map::new(),
    }
}

fn session(c: &mut Criterion) {
    let Ok(sealer) = Sealer::new(&[Secret::new([1; 32]), Secret::new([2; 32])]) else {
        return;
    };
    let user = user();
    let claim = Claim {
        backend: "127.0.0.1:9100",
        id: "5e0cbd9e-9c1c-4f0e-8a44-6ad6f0fbb1d3",
    };
    let Ok(text) = sealer.seal(&claim, &user, "/mcp/github") else {
        return;
    };
    let mut group = c.benchmark_group("session");
    group.bench_function("seal", |b| {
        b.iter(|| sealer.seal(black_box(&claim), &user, "/mcp/github"));
    });
    group.bench_function("open", |b| {
        b.iter(|| sealer.open(black_box(&text), &user, "/mcp/github"));
    });
    group.bench_function("refuse a foreign id", |b| {
        b.iter(|| sealer.open(black_box(claim.id), &user, "/mcp/github"));
    });
    group.finish();
}

/// What a relayed sign-in brings back: a code of Entra's inside one of ours, and a `state`.
fn relay(c: &mut Criterion) {
    let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
    let mut group = c.benchmark_group("relay");
    for (what, purpose, length) in [
        ("open a code", Purpose::Code, 1300),
        ("open a state", Purpose::State, 360),
        ("open a refresh token", Purpose::RefreshToken, 1500),
        ("open a client id", Purpose::Registration, 120),
    ] {
        let Ok(seal) = Seal::new(&keys, purpose) else {
            return;
        };
        let Ok(text) = seal.until(u64::MAX, &vec![b'x'; length], &[7; 32]) else {
            return;
        };
        group.bench_function(what, |b| {
            b.iter(|| seal.at(1_800_000_000, black_box(&text), &[7; 32]));
        });
    }
    group.finish();
}

criterion_group!(benches, session, relay);
criterion_main!(benches);
