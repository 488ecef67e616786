//! What a workload's port answers: health, metadata, and MCP behind its checks.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::auth::{Guard, admits_origin};
use super::disconnect::{Board, Watch};
use super::fault::{self, Fault, Faults};
use super::process::Process;
use super::streamable::Proxy;
use crate::clock::{Clock, rfc3339};
use crate::net::{Answer, Cut, lock};
use crate::record::{Log, Recorded};
use crate::reply::{self, ReadError};

/// Longest request body.
const BODY_LIMIT: usize = 8 << 20;

/// Which of ToolHive's proxies stands before the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A server on standard input and output: MCP is at `/mcp` and nowhere else.
    #[default]
    Stdio,
    /// A server that speaks HTTP itself: every path is passed on to it, with the caller's
    /// `Authorization`; sessions are its own, so that a handshake never adopts an id.
    Transparent,
}

/// One workload, as its listener sees it.
pub(super) struct Inner {
    pub(super) name: String,
    pub(super) replica: String,
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    pub(super) guard: Option<Guard>,
    pub(super) keep_alive: Duration,
    pub(super) request_timeout: Duration,
    pub(super) session_ttl: Duration,
    pub(super) queue: usize,
    pub(super) process: Mutex<Arc<Process>>,
    pub(super) generation: AtomicU32,
    pub(super) faults: Faults,
    pub(super) log: Log,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
}

impl Inner {
    /// Serves one request.
    pub(super) async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (recorded, outcome) = reply::read(request, BODY_LIMIT).await;
        self.log.push(recorded.clone());
        match recorded.path.as_str() {
            "/health" => return self.health(&recorded).await,
            "/metrics" => {
                return Ok(reply::go_error(
                    StatusCode::NOT_FOUND,
                    "Prometheus metrics are not enabled; start with \
                     --otel-enable-prometheus-metrics-path",
                ));
            }
            path if path.starts_with("/.well-known/") => return Ok(self.well_known(path)),
            "/mcp" => {}
            _ if self.kind == Kind::Transparent => {}
            _ => return Ok(reply::go_error(StatusCode::NOT_FOUND, "404 page not found")),
        }
        match outcome {
            Ok(()) => {}
            Err(ReadError::TooLarge) => {
                return Ok(reply::go_error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "Request Entity Too Large",
                ));
            }
            Err(ReadError::Broken) => return Err(Cut),
        }
        self.with_fault(&recorded).await
    }

    async fn with_fault(&self, request: &Recorded) -> Answer {
        match self.faults.take(false) {
            None => Ok(self.mcp(request).await),
            Some(Fault::Hang) => {
                let session = request.header("mcp-session-id").map(str::to_owned);
                let _watch = Watch::new(&self.board, request.method.clone(), session);
                std::future::pending().await
            }
            Some(Fault::SlowFirstByte(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(self.mcp(request).await)
            }
            Some(Fault::CutAfter(bytes)) => Ok(fault::cut_after(self.mcp(request).await, bytes)),
            Some(Fault::Torn) => Ok(fault::torn(self.mcp(request).await)),
            Some(Fault::Unauthorized) => Ok(match &self.guard {
                Some(guard) => guard.refuse_anyway(),
                None => reply::empty(StatusCode::UNAUTHORIZED),
            }),
            Some(Fault::Status(status)) => Ok(reply::empty(
                StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            )),
            // The last three are never taken for MCP.
            Some(Fault::Cut | Fault::Degraded | Fault::HealthHangs | Fault::ManagementHealth) => {
                Err(Cut)
            }
        }
    }

    async fn mcp(&self, request: &Recorded) -> Response<Body> {
        if !admits_origin(request, self.address) {
            return reply::json(
                StatusCode::FORBIDDEN,
                "application/json",
                &json!({
                    "error": {"code": -32_600, "message": "Origin not allowed"},
                    "jsonrpc": "2.0",
                }),
            );
        }
        if let Some(guard) = &self.guard
            && let Some(refusal) = guard.refuse(request).await
        {
            return refusal;
        }
        let process = Arc::clone(&lock(&self.process));
        let proxy = Proxy {
            process,
            board: Arc::clone(&self.board),
            request_timeout: self.request_timeout,
            keep_alive: self.keep_alive,
            transparent: self.kind == Kind::Transparent,
        };
        proxy.serve(request).await
    }

    async fn health(&self, request: &Recorded) -> Answer {
        if request.method != Method::GET {
            return Ok(reply::go_error(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
            ));
        }
        let timestamp = rfc3339(self.clock.now());
        let body = match self.faults.take(true) {
            Some(Fault::HealthHangs) => std::future::pending().await,
            Some(Fault::ManagementHealth) => {
                let mut response = reply::empty(StatusCode::NO_CONTENT);
                reply::set(
                    &mut response,
                    "x-toolhive-nonce",
                    "5f1d7a9c3b2e4d6f8091a2b3c4d5e6f7",
                );
                return Ok(response);
            }
            Some(Fault::Degraded) => format!(
                "{{\"status\":\"degraded\",\"timestamp\":\"{timestamp}\",\
                 \"transport\":\"streamable-http\",\
                 \"mcp\":{{\"available\":false,\"error\":\"connection refused\",\
                 \"last_checked\":\"{timestamp}\"}}}}\n"
            ),
            _ => format!(
                "{{\"status\":\"healthy\",\"timestamp\":\"{timestamp}\",\
                 \"transport\":\"streamable-http\"}}\n"
            ),
        };
        Ok(reply::typed(StatusCode::OK, "application/json", body))
    }

    fn well_known(&self, path: &str) -> Response<Body> {
        let not_found = || {
            reply::typed(
                StatusCode::NOT_FOUND,
                "application/json",
                "{\"error\":\"not_found\"}\n",
            )
        };
        let rest = path.strip_prefix("/.well-known/oauth-protected-resource");
        let is_metadata = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(guard) = self.guard.as_ref().filter(|_| is_metadata) else {
            return not_found();
        };
        let oidc = guard.oidc();
        let Some(resource) = &oidc.resource_url else {
            return reply::empty(StatusCode::NOT_FOUND);
        };
        let mut response = reply::json(
            StatusCode::OK,
            "application/json",
            &json!({
                "resource": resource,
                "authorization_servers": [oidc.issuer],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["openid"],
            }),
        );
        reply::set(&mut response, "access-control-allow-origin", "*");
        response
    }
}
