//! The metrics of one gateway: registered together, handed in, never reached for.
//!
//! Whoever counts on the hot path resolves its children once, when it is built; counting is then
//! one atomic addition.

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use super::{
    names::{self, Name},
    provider_errors::ProviderErrors,
};

/// Latency buckets in seconds: a refusal takes microseconds, a tool call minutes.
const BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// Every metric of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By `route` and `code`.
    pub request_duration: HistogramVec,
    /// By `route`.
    pub streams_active: IntGaugeVec,
    /// By `route` and `reason`.
    pub refusals: IntCounterVec,
    /// By `reason`.
    pub ingress_refusals: IntCounterVec,
    /// By `listener`.
    pub connections_active: IntGaugeVec,
    /// By `upstream` and `backend`.
    pub backend_healthy: IntGaugeVec,
    /// By `upstream` and `backend`.
    pub backend_picks: IntCounterVec,
    /// By `upstream` and `backend`.
    pub backend_ejections: IntCounterVec,
    /// By `upstream` and `reason`.
    pub upstream_retries: IntCounterVec,
    /// By `upstream` and `reason`.
    pub upstream_failures: IntCounterVec,
    /// By `outcome`.
    pub token_exchanges: IntCounterVec,
    /// By `purpose` and `outcome`.
    pub delegations: IntCounterVec,
    /// By `outcome`.
    pub group_lookups: IntCounterVec,
    /// By `aadsts`, with when each was seen last.
    pub provider_errors: ProviderErrors,
    /// By `outcome`.
    pub client_documents: IntCounterVec,
    /// By `outcome`.
    pub key_set_fetches: IntCounterVec,
    /// No labels.
    pub key_set_fetched: IntGauge,
    /// By `reason`.
    pub token_verdicts: IntCounterVec,
    /// By `certificate`.
    pub certificate_not_after: GaugeVec,
    /// No labels.
    pub memory_held: IntGauge,
    /// No labels.
    pub memory_mark: IntGauge,
    /// No labels.
    pub memory_refusing: IntGauge,
}

impl Metrics {
    /// Registers every metric in a registry of its own.
    ///
    /// # Panics
    /// When two metrics share a name, which the first test of this module would show.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let build_info = gauge(r, &names::BUILD_INFO, &[names::VERSION]);
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Self {
            request_duration: histogram(r, &names::REQUEST_DURATION, &[names::ROUTE, names::CODE]),
            streams_active: gauge(r, &names::STREAMS_ACTIVE, &[names::ROUTE]),
            refusals: counter(r, &names::REFUSALS, &[names::ROUTE, names::REASON]),
            ingress_refusals: counter(r, &names::INGRESS_REFUSALS, &[names::REASON]),
            connections_active: gauge(r, &names::CONNECTIONS_ACTIVE, &[names::LISTENER]),
            backend_healthy: gauge(
                r,
                &names::BACKEND_HEALTHY,
                &[names::UPSTREAM, names::BACKEND],
            ),
            backend_picks: counter(r, &names::BACKEND_PICKS, &[names::UPSTREAM, names::BACKEND]),
            backend_ejections: counter(
                r,
                &names::BACKEND_EJECTIONS,
                &[names::UPSTREAM, names::BACKEND],
            ),
            upstream_retries: counter(
                r,
                &names::UPSTREAM_RETRIES,
                &[names::UPSTREAM, names::REASON],
            ),
            upstream_failures: counter(
                r,
                &names::UPSTREAM_FAILURES,
                &[names::UPSTREAM, names::REASON],
            ),
            token_exchanges: counter(r, &names::TOKEN_EXCHANGES, &[names::OUTCOME]),
            client_documents: counter(r, &names::CLIENT_DOCUMENTS, &[names::OUTCOME]),
            delegations: counter(r, &names::DELEGATIONS, &[names::PURPOSE, names::OUTCOME]),
            group_lookups: counter(r, &names::GROUP_LOOKUPS, &[names::OUTCOME]),
            provider_errors: ProviderErrors::new(counter(
                r,
                &names::PROVIDER_ERRORS,
                &[names::AADSTS],
            )),
            key_set_fetches: counter(r, &names::KEY_SET_FETCHES, &[names::OUTCOME]),
            key_set_fetched: registered(r, IntGauge::with_opts(opts(&names::KEY_SET_FETCHED))),
            token_verdicts: counter(r, &names::TOKEN_VERDICTS, &[names::REASON]),
            certificate_not_after: registered(
                r,
                GaugeVec::new(opts(&names::CERTIFICATE_NOT_AFTER), &[names::CERTIFICATE]),
            ),
            memory_held: registered(r, IntGauge::with_opts(opts(&names::MEMORY_HELD))),
            memory_mark: registered(r, IntGauge::with_opts(opts(&names::MEMORY_MARK))),
            memory_refusing: registered(r, IntGauge::with_opts(opts(&names::MEMORY_REFUSING))),
            registry,
        }
    }

    /// Returns the text that Prometheus scrapes.
    ///
    /// # Errors
    /// When the encoder refuses a family, which only a defect can cause.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn opts(name: &Name) -> Opts {
    Opts::new(name.name, name.help)
}

#[expect(
    clippy::expect_used,
    reason = "names are constants; the module's test builds them all"
)]
fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> C {
    let metric = metric.expect("metric names and labels are valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("every metric has a name of its own");
    metric
}

fn counter(registry: &Registry, name: &Name, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(opts(name), labels))
}

fn gauge(registry: &Registry, name: &Name, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(opts(name), labels))
}

fn histogram(registry: &Registry, name: &Name, labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts::new(name.name, name.help).buckets(BUCKETS.to_vec());
    registered(registry, HistogramVec::new(opts, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_renders() {
        let metrics = Metrics::new();
        metrics.token_verdicts.with_label_values(&["valid"]).inc();
        let text = metrics.render().unwrap();
        assert!(text.contains("gateway_token_verdicts_total{reason=\"valid\"} 1"));
        assert!(text.contains("gateway_build_info{version="));
    }
}
