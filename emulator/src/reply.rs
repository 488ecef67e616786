//! Small responses, written once.

use std::io::Write;
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;

use crate::record::Recorded;

/// Why a request body could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is longer than allowed.
    TooLarge,
    /// The peer went away.
    Broken,
}

/// Reads a request whole, at most `limit` bytes of body.
pub(crate) async fn read(
    request: Request<Incoming>,
    limit: usize,
) -> (Recorded, Result<(), ReadError>) {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let (body, outcome) = match Limited::new(body, limit).collect().await {
        Ok(collected) => (collected.to_bytes(), Ok(())),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), Err(ReadError::TooLarge)),
        Err(_) => (Bytes::new(), Err(ReadError::Broken)),
    };
    let recorded = Recorded {
        at,
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    (recorded, outcome)
}

/// A response with a body of that type.
pub(crate) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE.as_str(), content_type);
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A plain text error as Go's `http.Error` writes it, with its line break.
pub(crate) fn go_error(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = typed(status, "text/plain; charset=utf-8", format!("{text}\n"));
    set(&mut response, "x-content-type-options", "nosniff");
    response
}

/// JSON in the order of the members of `value`.
pub(crate) fn json(
    status: StatusCode,
    content_type: &'static str,
    value: &impl Serialize,
) -> Response<Body> {
    // Serializing our own structs into memory does not fail; an empty body would show if it did.
    typed(
        status,
        content_type,
        serde_json::to_vec(value).unwrap_or_default(),
    )
}

/// Sets a header; a value that is not allowed in a header is left out.
pub(crate) fn set(response: &mut Response<Body>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_str(value),
    ) {
        response.headers_mut().insert(name, value);
    }
}

/// Compresses with gzip.
pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}
