//! Answers made from memory.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{Problem, Response};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(crate) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// How long a metadata document may be cached: short enough that a changed configuration reaches
/// every client within minutes, long enough that one sign-in reads it once.
pub(crate) const METADATA_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Makes an answer with a body.
pub(crate) fn body(
    status: StatusCode,
    content_type: HeaderValue,
    cache: HeaderValue,
    body: impl Into<Bytes>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, cache);
    response
}

/// Makes an answer without a body that nobody may keep.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// Answers a method that the endpoint does not serve, as RFC 9110 §15.5.6 asks.
pub(crate) fn method_not_allowed(allow: &'static str) -> Response {
    let mut response = body(
        StatusCode::METHOD_NOT_ALLOWED,
        JSON,
        NO_STORE,
        format!(
            r#"{{"error":"invalid_request","error_description":"this endpoint serves {allow}"}}"#
        ),
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// Builds the answer of a metadata endpoint.
pub(crate) fn metadata(document: &impl Serialize) -> Result<Response, Vec<Problem>> {
    match serde_json::to_vec(document) {
        Ok(json) => Ok(body(StatusCode::OK, JSON, METADATA_CACHE, json)),
        Err(error) => Err(vec![Problem::new(
            "",
            format!("cannot be written: {error}"),
        )]),
    }
}

/// Returns the media type of the body without its parameters; `None` without exactly one.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    value.split(';').next().map(str::trim)
}

/// Says whether the body is declared to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|essence| {
        let essence = essence.to_ascii_lowercase();
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// Says whether a header belongs to the connection or frames the message; the gateway sets those
/// itself, and a filter that could change them could split messages.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "host"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Reads a header name from the configuration.
pub(crate) fn header_name(at: &str, name: &str, problems: &mut Vec<Problem>) -> Option<HeaderName> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        problems.push(Problem::new(
            at,
            format!("expected a header name, found `{}`", name.escape_debug()),
        ));
        return None;
    };
    if is_framing(&parsed) {
        problems.push(
            Problem::new(
                at,
                format!("`{parsed}` frames the message or names the connection"),
            )
            .help("the gateway sets this header itself; leave it out"),
        );
        return None;
    }
    Some(parsed)
}

/// Reads a header and its value from the configuration.
pub(crate) fn header(
    at: &str,
    name: &str,
    value: &str,
    problems: &mut Vec<Problem>,
) -> Option<(HeaderName, HeaderValue)> {
    let parsed = header_name(at, name, problems);
    let Ok(value) = HeaderValue::from_str(value) else {
        problems.push(Problem::new(
            at,
            "the value holds a control character or one outside ASCII",
        ));
        return None;
    };
    parsed.map(|name| (name, value))
}
