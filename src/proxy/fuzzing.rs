//! What the fuzz targets of `fuzz/` see of this layer; no interface for programs.

use bytes::Bytes;
use http::request;

use super::{
    authenticate,
    jsonrpc::{Message, error_body},
};

/// What is read of a JSON-RPC message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Whether it opens a session.
    pub is_initialize: bool,
    /// The id of an error answer, as JSON.
    pub id: String,
    /// An error answer to it.
    pub answer: Bytes,
}

/// Reads a body as a request to an MCP route is read; `None` when it is refused.
#[must_use]
pub fn peek(body: &Bytes) -> Option<Peek> {
    let message = Message::parse(body).ok()?;
    Some(Peek {
        is_initialize: message.is_initialize(),
        id: message.id().to_owned(),
        answer: error_body(message.id(), -1, "refused"),
    })
}

/// Returns the bearer token of a request, `None` when it has none that counts.
#[must_use]
pub fn bearer(head: &request::Parts) -> Option<&str> {
    authenticate::bearer(head).ok()
}
