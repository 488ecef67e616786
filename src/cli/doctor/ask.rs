//! Requests of the doctor: whole answers within a few seconds, on the way that the gateway takes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};

use crate::egress::{Egress, Limits, Request, Target};

/// What one question may cost.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(8),
    body: 1024 * 1024,
    decoded: 1024 * 1024,
};

/// Who asks.
pub(super) struct Ask {
    egress: Arc<Egress>,
}

impl Ask {
    pub(super) fn through(egress: Egress) -> Self {
        Self {
            egress: Arc::new(egress),
        }
    }

    /// Returns `host:port` of the proxy that a URL is asked through.
    pub(super) fn proxy_for(&self, url: &str) -> Option<String> {
        self.egress.proxy_for(&Target::parse(url).ok()?)
    }

    /// Asks for a document.
    pub(super) async fn get(&self, url: &str) -> Result<Response<Bytes>, String> {
        self.send(Method::GET, url, None, Bytes::new()).await
    }

    /// Posts a form, or JSON.
    pub(super) async fn post(
        &self,
        url: &str,
        kind: &'static str,
        body: String,
    ) -> Result<Response<Bytes>, String> {
        self.send(Method::POST, url, Some(kind), body.into()).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        kind: Option<&'static str>,
        body: Bytes,
    ) -> Result<Response<Bytes>, String> {
        let target = Target::parse(url).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        let agent = concat!("mcp-gateway-doctor/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        // An MCP endpoint asks of a POST that both are taken.
        let accept = "application/json, text/event-stream, text/html";
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let request = Request {
            method,
            target: &target,
            headers,
            body,
        };
        self.egress
            .fetch(&request, LIMITS)
            .await
            .map_err(|error| error.to_string())
    }
}
