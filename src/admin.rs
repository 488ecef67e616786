//! The admin listener: metrics, health, readiness.
//!
//! It shows and changes nothing, and is bound to loopback unless the configuration says otherwise.
//! Nothing of the public listener can reach it.

mod config;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use pingora_core::{apps::ReusedHttpStream, protocols::http::ServerSession, server::ShutdownWatch};

use crate::{listener::App, respond::respond, telemetry::metrics::Metrics, upstream::Pool};

pub use config::Config;

/// Answers operators and Prometheus.
pub struct Admin {
    metrics: Arc<Metrics>,
    pools: Vec<Arc<Pool>>,
    draining: Arc<AtomicBool>,
}

impl Admin {
    /// Shows `metrics` and `pools`; not ready while `draining`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, pools: Vec<Arc<Pool>>, draining: Arc<AtomicBool>) -> Self {
        Self {
            metrics,
            pools,
            draining,
        }
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "only GET and HEAD\n".to_owned(),
            );
        }
        match path {
            "/metrics" => match self.metrics.render() {
                Ok(text) => (StatusCode::OK, "text/plain; version=0.0.4", text),
                Err(error) => {
                    log::error!(error:%; "the metrics cannot be rendered");
                    (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        TEXT,
                        "the metrics cannot be rendered; see the log\n".to_owned(),
                    )
                }
            },
            "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" if self.draining.load(Ordering::Relaxed) => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "draining\n".to_owned(),
            ),
            "/readyz" => (StatusCode::OK, TEXT, "ready\n".to_owned()),
            "/status" => (StatusCode::OK, "application/json", self.status()),
            _ => (
                StatusCode::NOT_FOUND,
                TEXT,
                "try /metrics, /healthz, /readyz or /status\n".to_owned(),
            ),
        }
    }

    fn status(&self) -> String {
        let upstreams: serde_json::Map<_, _> = self
            .pools
            .iter()
            .map(|pool| {
                (
                    pool.name().to_owned(),
                    serde_json::json!({ "backends": pool.status() }),
                )
            })
            .collect();
        let status = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "draining": self.draining.load(Ordering::Relaxed),
            "upstreams": upstreams,
        });
        // Indented: people read this, too.
        format!("{status:#}\n")
    }
}

impl App for Admin {
    async fn serve(
        &self,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        let head = session.req_header();
        let (status, content_type, body) = self.answer(&head.method, head.uri.path());
        respond(
            session,
            status,
            &[
                (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ],
            Bytes::from(body),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, draining: bool, expect: u16) {
        let admin = Admin::new(Arc::default(), vec![], Arc::new(AtomicBool::new(draining)));
        let (status, ..) = admin.answer(&Method::GET, path);
        assert_eq!(status.as_u16(), expect, "{path}");
    }

    #[test]
    fn is_alive_while_draining_but_not_ready() {
        check("/healthz", true, 200);
        check("/readyz", true, 503);
        check("/readyz", false, 200);
        check("/metrics", false, 200);
        check("/status", false, 200);
        check("/", false, 404);
    }
}
