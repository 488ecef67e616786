//! The admin listener: metrics, health, readiness, status.
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
use serde_json::{Map, Value};

use crate::{listener::App, respond::respond, telemetry::metrics::Metrics};

pub use config::Config;

/// Writes what `/status` says beside the version and whether the gateway is draining.
pub type Status = Box<dyn Fn() -> Map<String, Value> + Send + Sync>;

/// Answers operators and Prometheus.
pub struct Admin {
    metrics: Arc<Metrics>,
    status: Status,
    draining: Arc<AtomicBool>,
}

impl Admin {
    /// Shows `metrics` and `status`; not ready while `draining`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, status: Status, draining: Arc<AtomicBool>) -> Self {
        Self {
            metrics,
            status,
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
            "/status" => (StatusCode::OK, "application/json", self.status_text()),
            _ => (
                StatusCode::NOT_FOUND,
                TEXT,
                "try /metrics, /healthz, /readyz or /status\n".to_owned(),
            ),
        }
    }

    fn status_text(&self) -> String {
        let mut status = Map::new();
        status.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
        let draining = self.draining.load(Ordering::Relaxed);
        status.insert("draining".to_owned(), draining.into());
        status.extend((self.status)());
        let status = Value::Object(status);
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
        let admin = Admin::new(
            Arc::default(),
            Box::new(Map::new),
            Arc::new(AtomicBool::new(draining)),
        );
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
