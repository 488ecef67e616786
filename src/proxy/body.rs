//! Request bodies: held when a step asks for them, always with a limit and a deadline.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, header};
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::{deadline::until, failure::Failure};
use crate::{ingress::BODY_UNEXPECTED, snapshot::Snapshot};

/// The first allocation for a body that comes in pieces; what a client announces is not believed.
const FIRST_ALLOCATION: usize = 64 * 1024;

/// Reads the whole body, up to `limit` bytes.
///
/// A body that came in one piece is not copied. One that is large is given up when memory is short:
/// as many of them as there are connections would fit into no machine.
pub(super) async fn gather(
    session: &mut ServerSession,
    limit: usize,
    snapshot: &Snapshot,
) -> Result<Bytes, Failure> {
    if announced(session).is_some_and(|length| length > limit) {
        return Err(Failure::body_too_large(limit));
    }
    if session.is_body_empty() {
        return Ok(Bytes::new());
    }
    if session.req_header().headers.contains_key(header::EXPECT) {
        session
            .write_continue_response()
            .await
            .map_err(Failure::gone)?;
    }
    let limits = &snapshot.limits;
    let mut begun = None;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let received = first.len() + rest.len();
        let grace = Duration::from_secs((received / limits.body_rate.0.max(1)) as u64);
        let deadline = || {
            let begun = *begun.get_or_insert_with(Instant::now);
            begun + limits.body_grace.0 + grace
        };
        let read = until(deadline, session.read_request_body()).await;
        let chunk = match read {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(Failure::unreadable(error)),
            Err(_) => return Err(Failure::body_timeout()),
        };
        if received + chunk.len() > limit {
            return Err(Failure::body_too_large(limit));
        }
        if received + chunk.len() > FIRST_ALLOCATION && snapshot.pressure.is_high() {
            return Err(Failure::no_memory());
        }
        if first.is_empty() && rest.is_empty() {
            first = chunk;
        } else {
            if rest.is_empty() {
                rest.reserve(FIRST_ALLOCATION.max(first.len() + chunk.len()));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&chunk);
        }
    }
    let body = if rest.is_empty() {
        first
    } else {
        rest.freeze()
    };
    // HTTP/1.1 heads that announce one are refused long before; HTTP/2 need not announce it.
    if !body.is_empty() && matches!(session.req_header().method, Method::GET | Method::HEAD) {
        return Err(BODY_UNEXPECTED.into());
    }
    Ok(body)
}

/// What `Content-Length` says; the first layer has refused everything but one number.
fn announced(session: &ServerSession) -> Option<usize> {
    session
        .req_header()
        .headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
