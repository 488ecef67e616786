//! The one place where errors become answers.
//!
//! What the client is told and what the operator reads are two texts: the client gets a status, an
//! error code and a sentence; the reason is a metric label and stands in the access line.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use mcp_gateway_filters::{Refusal, Response};
use pingora_core::Error;

use super::jsonrpc;
use crate::ingress::{NO_MEMORY, Refused};

/// Why a request does not get the answer it asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client is told.
    Answered {
        /// What it gets.
        reply: Box<Response>,
        /// The metric's `reason`.
        reason: &'static str,
        /// What went wrong inside the gateway, when the request is not to blame.
        defect: Option<&'static str>,
    },
    /// The client left or broke its own request: there is nobody to tell.
    Gone(Box<Error>),
    /// An answer had begun and cannot be completed: it is cut, so that it does not look whole.
    Cut(&'static str),
}

impl Failure {
    /// The client left.
    pub(super) fn gone(error: Box<Error>) -> Self {
        Self::Gone(error.into_down())
    }

    /// The body could not be read: its framing was refused, or the client left.
    pub(super) fn unreadable(error: Box<Error>) -> Self {
        let io: Option<&std::io::Error> = error.root_cause().downcast_ref();
        let refused: Option<&Refused> = io.and_then(|io| io.get_ref()?.downcast_ref());
        match refused {
            Some(refused) => {
                Self::from(*refused).with(header::CONNECTION, HeaderValue::from_static("close"))
            }
            None => Self::gone(error),
        }
    }

    /// An OAuth error: JSON with `error` and `error_description` (RFC 6749 §5.2).
    pub(super) fn oauth(
        status: StatusCode,
        code: &'static str,
        description: &str,
        reason: &'static str,
    ) -> Self {
        let body = serde_json::json!({ "error": code, "error_description": description });
        Self::Answered {
            reply: Box::new(json(status, Bytes::from(body.to_string()))),
            reason,
            defect: None,
        }
    }

    /// A JSON-RPC error for the message with the id `id`, which is JSON itself.
    pub(super) fn rpc(
        status: StatusCode,
        id: &str,
        code: i32,
        message: &str,
        reason: &'static str,
    ) -> Self {
        Self::Answered {
            reply: Box::new(json(status, jsonrpc::error_body(id, code, message))),
            reason,
            defect: None,
        }
    }

    /// Adds a header to the answer.
    pub(super) fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        if let Self::Answered { reply, .. } = &mut self {
            reply.headers_mut().insert(name, value);
        }
        self
    }

    pub(super) fn not_found() -> Self {
        Self::oauth(
            StatusCode::NOT_FOUND,
            "not_found",
            "nothing is served under this path",
            "not_found",
        )
    }

    pub(super) fn method_not_allowed(allow: &HeaderValue) -> Self {
        Self::oauth(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request",
            "this path does not take this method",
            "method_not_allowed",
        )
        .with(header::ALLOW, allow.clone())
    }

    pub(super) fn body_too_large(limit: usize) -> Self {
        Self::oauth(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request",
            &format!("the request body is larger than the {limit} bytes taken here"),
            "body_too_large",
        )
    }

    pub(super) fn body_timeout() -> Self {
        Self::oauth(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request",
            "the request body took too long",
            "body_timeout",
        )
        .with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// There is no memory for the request; closing gives back what its connection holds.
    pub(super) fn no_memory() -> Self {
        Self::from(NO_MEMORY).with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// A defect of the gateway, never of the request.
    pub(super) fn internal(what: &'static str) -> Self {
        let mut failure = Self::oauth(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "the gateway could not answer",
            "internal",
        );
        if let Self::Answered { defect, .. } = &mut failure {
            *defect = Some(what);
        }
        failure
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let failure = Self::oauth(
            refused.status,
            refused.code(),
            refused.description,
            refused.reason,
        );
        match refused.retry_after() {
            Some(seconds) => failure.with(header::RETRY_AFTER, HeaderValue::from(seconds)),
            None => failure,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::oauth(
            refusal.status,
            refusal.code,
            &refusal.description,
            refusal.code,
        )
    }
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    reply
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
