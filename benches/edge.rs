//! The whole edge on loopback, one request at a time: metadata from memory, an MCP call with a
//! verified token and a sealed session, the first request of a token, an event of a stream.
//!
//! `cargo bench --bench edge`. The `direct` figures are the same requests sent straight to the
//! upstream: what the machine and the loopback cost.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot run has failed"
)]

mod bed;

use std::{hint::black_box, net::SocketAddr};

use bed::{Client, field, get, post};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mcp_gateway::{config, server::Server, telemetry::access};
use mcp_gateway_emulator::entra::Entra;
use mcp_gateway_filters::Catalog;
use tokio::runtime::Runtime;

struct Edge {
    _runtime: Runtime,
    _state: tempfile::TempDir,
    _running: mcp_gateway::server::Running,
    entra: Entra,
    address: SocketAddr,
    upstream: SocketAddr,
}

fn edge() -> Edge {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let state = tempfile::tempdir().unwrap();
    let upstream = bed::upstream();
    let (entra, running) = runtime.block_on(async {
        let entra = Entra::builder().start().await.unwrap();
        let text = bed::configuration(
            "  - address: 127.0.0.1:0",
            "http://localhost",
            &entra,
            upstream,
            state.path(),
        );
        let loaded = config::parse("bench.yaml", &text, &|_| None, &Catalog::builtin()).unwrap();
        let server = Server::build_with(&loaded.gateway, access::Log::off()).unwrap();
        (entra, server.start().unwrap())
    });
    Edge {
        address: running.addresses()[0],
        _runtime: runtime,
        _state: state,
        _running: running,
        entra,
        upstream,
    }
}

fn benches(c: &mut Criterion) {
    let edge = edge();
    let token = edge.entra.token("alice").build();

    let mut client = Client::connect(edge.address);
    let metadata = get("/.well-known/oauth-protected-resource/mcp", None);
    assert!(client.exchange(&metadata).starts_with("HTTP/1.1 200"));
    c.bench_function("edge/metadata", |b| {
        b.iter(|| black_box(client.exchange(&metadata)));
    });

    let opened = loop {
        let head = client.exchange(&post(&token, None));
        // 503 until the keys are there.
        if head.starts_with("HTTP/1.1 200") {
            break head;
        }
    };
    let session = field(&opened, "mcp-session-id").unwrap();
    let call = post(&token, Some(session));
    assert!(client.exchange(&call).starts_with("HTTP/1.1 200"));
    c.bench_function("edge/mcp_post", |b| {
        b.iter(|| black_box(client.exchange(&call)));
    });
    let mut direct = Client::connect(edge.upstream);
    c.bench_function("direct/mcp_post", |b| {
        b.iter(|| black_box(direct.exchange(&call)));
    });

    let mut serial = 0_u64;
    c.bench_function("edge/mcp_post_first_of_a_token", |b| {
        b.iter_batched(
            || {
                serial += 1;
                let token = edge.entra.token("alice").claim("uti", serial.to_string());
                post(&token.build(), None)
            },
            |request| black_box(client.exchange(&request)),
            BatchSize::SmallInput,
        );
    });

    let mut stream = Client::connect(edge.address);
    stream.send(&get("/mcp", Some(&token)));
    stream.read();
    c.bench_function("edge/sse_event_each_ms", |b| {
        b.iter(|| black_box(stream.read()));
    });
}

criterion_group!(edge_benches, benches);
criterion_main!(edge_benches);
