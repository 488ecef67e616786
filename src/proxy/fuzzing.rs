//! What the fuzz targets of `fuzz/` see of this layer; no interface for programs.

use bytes::Bytes;
use http::{Method, request};
use pingora_core::protocols::Stream;

use super::{
    authenticate,
    jsonrpc::{Message, error_body},
    leg::Reader,
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

/// What is read of an upstream's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of the final answer.
    pub status: u16,
    /// Its content.
    pub body: Vec<u8>,
    /// Whether another request may follow on the connection.
    pub kept: bool,
}

/// Reads the answer to a request of this method; `None` when it breaks off or is refused.
pub async fn answer(upstream: Stream, method: &Method) -> Option<Answer> {
    let mut reader = Reader::new(upstream);
    let (head, mut end) = reader.head(method).await.ok()?;
    let mut body = vec![];
    while !end {
        let (data, last) = reader.piece().await.ok()?;
        body.extend_from_slice(&data);
        end = last;
    }
    Some(Answer {
        status: head.status.as_u16(),
        body,
        kept: reader.reuse().is_some(),
    })
}
