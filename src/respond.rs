//! Answers from memory, and the end of a request: what every app of the gateway does alike.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_core::{
    apps::{HttpPersistentSettings, ReusedHttpStream},
    protocols::http::ServerSession,
};
use tokio::time::timeout;

/// How much of an unread body is read to keep a connection.
const DRAIN_LIMIT: usize = 64 * 1024;
/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends one whole answer and gives the connection back.
pub(crate) async fn respond(
    mut session: ServerSession,
    status: StatusCode,
    headers: &[(HeaderName, HeaderValue)],
    body: Bytes,
) -> Option<ReusedHttpStream> {
    let mut head = ResponseHeader::build_no_case(status, Some(headers.len() + 2)).ok()?;
    for (name, value) in headers {
        head.insert_header(name, value).ok()?;
    }
    head.insert_header(header::CONTENT_LENGTH, body.len())
        .ok()?;
    keep_if_drainable(&mut session);
    session.write_response_header(Box::new(head)).await.ok()?;
    let body = if session.req_header().method == Method::HEAD {
        Bytes::new()
    } else {
        body
    };
    session.write_response_body(body, true).await.ok()?;
    if !drain(&mut session).await {
        session.set_keepalive(None);
    }
    finish(session).await
}

/// Lets the connection live on when the body that nobody asked for can be read behind the answer.
///
/// To be called before the head of the answer is written, which says otherwise that the connection
/// closes: clients would need a new one after each challenge.
pub(crate) fn keep_if_drainable(session: &mut ServerSession) {
    let headers = &session.req_header().headers;
    // Who expects a 100 and gets an answer may never send the body, but the next request.
    let expects = headers.contains_key(header::EXPECT);
    let long = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .is_some_and(|length| length > DRAIN_LIMIT);
    session.set_close_on_response_before_downstream_finish(expects || long);
}

/// Gives the connection back for the next request, where there can be one.
///
/// What `ServerSession::finish` does, whose future has room for sessions of every kind.
pub(crate) async fn finish(mut session: ServerSession) -> Option<ReusedHttpStream> {
    let settings = HttpPersistentSettings::for_session(&session);
    session.finish_body().await.ok()?;
    let ServerSession::H1(session) = session else {
        return None;
    };
    let stream = session.reuse().await.ok().flatten()?;
    Some(ReusedHttpStream::from_reusable_stream(stream, settings))
}

/// Reads what is left of a body that nobody asked for, so that the connection can be kept and the
/// answer is not lost to a reset. Returns false when there is too much of it.
pub(crate) async fn drain(session: &mut ServerSession) -> bool {
    if session.is_body_done() {
        return true;
    }
    let read = async {
        let mut drained = 0;
        while drained <= DRAIN_LIMIT {
            match session.read_request_body().await {
                Ok(Some(chunk)) => drained += chunk.len(),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    };
    timeout(DRAIN_TIMEOUT, read).await.unwrap_or(false)
}
