//! The first bytes of a request, read from the wire under a deadline. What they say is for others.

use http::StatusCode;
use pingora_core::server::ShutdownWatch;
use tokio::time::{Instant, timeout_at};

use super::wire::Wire;
use crate::ingress::{Limits, Refused};

/// Reads the first bytes of an HTTP/2 client (RFC 9113 §3.4); false when it sends none or others.
pub(super) async fn http2_preface(wire: &mut Wire) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    while wire.ahead().len() < PREFACE.len() {
        if !matches!(wire.read_ahead().await, Ok(n) if n > 0) {
            return false;
        }
    }
    wire.ahead().starts_with(PREFACE)
}

/// Reads until the empty line; returns the length of the head, or `None` when nothing came.
pub(super) async fn read_head(
    wire: &mut Wire,
    first: bool,
    limits: &Limits,
    shutdown: &ShutdownWatch,
) -> Result<Option<usize>, Refused> {
    let mut stop = shutdown.clone();
    // A request that came with the one before it has begun already.
    let begun = first || !wire.ahead().is_empty();
    let wait = if begun {
        limits.head_timeout
    } else {
        limits.idle_timeout
    };
    let mut until = Instant::now() + wait.0;
    let mut searched = 0;
    loop {
        if let Some(length) = find_end(wire.ahead(), &mut searched, limits.head_size.0)? {
            return Ok(Some(length));
        }
        let idle = wire.ahead().is_empty();
        let read = tokio::select! {
            biased;
            read = timeout_at(until, wire.read_ahead()) => read,
            _ = stop.wait_for(|stop| *stop), if idle => return Ok(None),
        };
        match read {
            Ok(Ok(n)) if n > 0 => {
                if idle {
                    until = Instant::now() + limits.head_timeout.0;
                }
            }
            Err(_) if !idle => {
                return Err(Refused {
                    status: StatusCode::REQUEST_TIMEOUT,
                    reason: "head_timeout",
                    description: "the request head took too long",
                });
            }
            _ => return Ok(None),
        }
    }
}

/// Looks for the end of a head in what was not searched before.
fn find_end(buffer: &[u8], searched: &mut usize, limit: usize) -> Result<Option<usize>, Refused> {
    // The end may straddle two reads.
    let from = searched.saturating_sub(3);
    let fresh = buffer.get(from..).unwrap_or_default();
    *searched = buffer.len();
    // The empty line counts without its carriage return, too: a head with bare line feeds would
    // never end otherwise, and is refused as soon as it does.
    let end = memchr::memchr_iter(b'\n', fresh).find_map(|at| match fresh.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    });
    if end.unwrap_or(buffer.len()) > limit {
        return Err(Refused {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            reason: "head_too_large",
            description: "the request head is too large",
        });
    }
    Ok(end)
}
