//! MCP sessions at the edge: which backend a request belongs to, and the sealed ids that say so.
//!
//! Nothing is stored. A session id that a workload issues leaves sealed together with the address
//! of the workload, readable by every replica and of use only to the user and route it was made
//! for (MCP 2025-11-25, Streamable HTTP, Session Management).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, header, request};
use mcp_gateway_filters::Identity;
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::ServerSession;

use super::{
    call::Call,
    failure::Failure,
    jsonrpc::{self, Message},
};
use crate::{
    session::{Claim, Sealer},
    snapshot::{Proxy, Route},
    upstream::{Backend, Picked},
};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The first revision without sessions.
const STATELESS_SINCE: &str = "2026-07-28";

/// Where a request has to go.
#[derive(Default)]
pub(super) struct Pin {
    /// The backend that issued the session; any will do when it is missing.
    pub(super) backend: Option<Arc<Backend>>,
    /// The session id as that backend knows it.
    pub(super) id: Option<String>,
}

/// Reads the message of a POST with a JSON body; other requests have none.
pub(super) fn message<'a>(head: &request::Parts, body: &'a Bytes) -> Result<Message<'a>, Failure> {
    let is_json = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
    if head.method != Method::POST || !is_json {
        return Ok(Message::default());
    }
    Message::parse(body).map_err(|error| {
        Failure::rpc(
            StatusCode::BAD_REQUEST,
            "null",
            jsonrpc::PARSE_ERROR,
            &format!(
                "the body is not one JSON-RPC message: line {}, column {}",
                error.line(),
                error.column()
            ),
            "malformed_json",
        )
    })
}

/// Opens the session id of a request.
pub(super) fn pin(
    sealer: &Sealer,
    call: &Call,
    session: &ServerSession,
    route: &Route,
    proxy: &Proxy,
    message: &Message<'_>,
) -> Result<Pin, Failure> {
    let head = call.head(session);
    let mut ids = head.headers.get_all(SESSION).iter();
    let Some(id) = ids.next().filter(|_| proxy.sessions) else {
        return Ok(Pin::default());
    };
    // `initialize` opens a new session whatever the client still holds, and a workload would take
    // over an id that comes with it. Modern requests have none.
    if message.is_initialize() || is_stateless(head) {
        return Ok(Pin::default());
    }
    let opened = id
        .to_str()
        .ok()
        .filter(|_| ids.next().is_none())
        .and_then(|id| sealer.open(id, identity(call)?, &route.path).ok());
    let backend = opened
        .as_ref()
        .and_then(|opened| proxy.pool.find(&opened.backend));
    match (opened.as_ref(), backend) {
        (Some(opened), Some(backend)) => Ok(Pin {
            backend: Some(Arc::clone(backend)),
            id: Some(opened.id.clone()),
        }),
        _ => Err(session_gone(message)),
    }
}

/// Seals the session id of an answer.
pub(super) fn seal(
    sealer: &Sealer,
    call: &Call,
    route: &Route,
    picked: &Picked,
    head: &mut ResponseHeader,
) -> Result<(), Failure> {
    let Some(id) = head.headers.get(SESSION) else {
        return Ok(());
    };
    let outer = id.to_str().ok().and_then(|id| {
        let claim = Claim {
            backend: picked.backend().address(),
            id,
        };
        sealer.seal(&claim, identity(call)?, &route.path).ok()
    });
    let Some(outer) = outer else {
        return Err(Failure::rpc(
            StatusCode::BAD_GATEWAY,
            "null",
            jsonrpc::UPSTREAM_FAILED,
            "the server behind the gateway issued a session id that cannot be used",
            "session_id_unusable",
        ));
    };
    head.insert_header(SESSION, outer)
        .map_err(|_| Failure::internal("a sealed session id is no header value"))
}

/// The answer that makes a client open a new session.
pub(super) fn session_gone(message: &Message<'_>) -> Failure {
    Failure::rpc(
        StatusCode::NOT_FOUND,
        message.id(),
        jsonrpc::SESSION_NOT_FOUND,
        "Session not found",
        "session_gone",
    )
}

fn identity(call: &Call) -> Option<&Identity> {
    call.identity.as_deref()
}

fn is_stateless(head: &request::Parts) -> bool {
    head.headers
        .get(PROTOCOL_VERSION)
        .and_then(|version| version.to_str().ok())
        .is_some_and(|version| version.len() == STATELESS_SINCE.len() && version >= STATELESS_SINCE)
}
