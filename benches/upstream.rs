//! What choosing a backend costs each MCP request.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mcp_gateway::{
    telemetry::metrics::Metrics,
    upstream::{BackendConfig, Config, Pool},
};

fn upstream(c: &mut Criterion) {
    let mut group = c.benchmark_group("upstream");
    for backends in [1_u16, 2, 16] {
        let config = Config {
            backends: (1..=backends)
                .map(|port| BackendConfig::Address(format!("127.0.0.1:{port}")))
                .collect(),
            health_check: mcp_gateway::upstream::HealthCheckConfig::default(),
            tls: None,
            connect_timeout: mcp_gateway::units::Period::seconds(2),
            idle_timeout: mcp_gateway::units::Period::seconds(25),
        };
        let Ok(pool) = Pool::build("github", &config, &Metrics::new()) else {
            return;
        };
        let last = format!("127.0.0.1:{backends}");
        group.bench_function(BenchmarkId::new("pick", backends), |b| {
            b.iter(|| drop(black_box(pool.pick(&[]))));
        });
        group.bench_function(BenchmarkId::new("find and take a peer", backends), |b| {
            b.iter(|| pool.find(black_box(&last)).and_then(|found| found.peer()));
        });
    }
    group.finish();
}

criterion_group!(benches, upstream);
criterion_main!(benches);
